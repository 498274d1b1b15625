"""The actors of a pool: workers, which do jobs and parts of those of others, and the mailbox, by which they report and
by which a worker learns who shares in its job. Workers join and leave a job while it goes on."""

import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acdc.behaviour.batches import share_host_memory
from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.workers import WorkerLost
from acdc.errors import AcdcWarning, is_out_of_memory
from acdc.execution.threads import fixed_threads
from acdc.execution.work import Work
from acdc.jobs.job import Job, SharedJob
from acdc.jobs.ray.weights import NodeWeights, Shelf
from acdc.jobs.store import Stage
from acdc.jobs.work import Outcome, work_on
from acdc.runs.discovery import Loaded
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import bind

MAILBOX = "mailbox"  # the name of a pool's
LOOK_EVERY = 0.5  # seconds between two looks at who shares in a job


@dataclass(frozen=True)
class Team:
    """Who shares in a job: workers in the order in which they joined, and the places of those that have left."""

    joined: tuple[Any, ...] = ()
    left: frozenset[int] = frozenset()


@dataclass
class Mailbox:
    """Collects what workers report until it is drained, and knows who shares in which attempt at a job, and which
    weights there are; an actor."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    teams: defaultdict[str, Team] = field(default_factory=lambda: defaultdict(Team))
    shelf: Shelf = field(default_factory=Shelf)

    def put(self, method: str, arguments: tuple) -> None:
        self.events.append((method, arguments))

    def drain(self) -> list[tuple[str, tuple]]:
        events, self.events = self.events, []
        return events

    def set_team(self, attempt: str, team: Team) -> None:
        self.teams[attempt] = team

    def team(self, attempt: str) -> Team:
        return self.teams[attempt]

    def disband(self, attempt: str) -> None:
        self.teams.pop(attempt, None)

    def find_weights(self, node: str, key: str) -> list[Any]:
        return self.shelf.find(node, key)

    def make_room(self, node: str, size: int, room: float) -> None:
        self.shelf.make_room(node, size, room)

    def keep_weights(self, node: str, key: str, reference: list[Any], size: int) -> None:
        self.shelf.put(node, key, reference, size)


@dataclass(frozen=True)
class _ByMail:
    """A report that goes to a mailbox."""

    mailbox: Any

    def started(self, id: str) -> None:
        self.mailbox.put.remote("started", (id,))

    def at(self, id: str, stage: Stage) -> None:
        self.mailbox.put.remote("at", (id, stage))


@dataclass(frozen=True)
class _Answer:
    """What a member's work gave, and what it computed for it."""

    value: Any
    work: Work


class _Reply:
    """See `acdc.behaviour.workers.Reply`."""

    def __init__(self, ref: Any, work: Work):
        """`work`: of the process that asked, which counts what is computed for it."""
        self._ref, self._work = ref, work

    def ready(self, seconds: float = 0.0) -> bool:
        import ray

        return bool(ray.wait([self._ref], timeout=seconds)[0])

    def get(self) -> Any:
        import ray

        try:
            answer = ray.get(self._ref)
        except ray.exceptions.RayTaskError as error:
            if is_out_of_memory(error.cause):  # which the process that asked may have
                raise WorkerLost from None
            raise error.cause from None
        except ray.exceptions.RayError:
            raise WorkerLost from None
        self._work.add(answer.work)
        return answer.value


class _Gone:
    """A reply of a worker that has left."""

    def ready(self, seconds: float = 0.0) -> bool:
        return True

    def get(self) -> Any:
        raise WorkerLost


class _Roster:
    """The team of one attempt at a job, looked up again after a while. A mailbox that was started anew knows of nobody:
    then what was known before holds."""

    def __init__(self, mailbox: Any, attempt: str):
        self._mailbox, self._attempt = mailbox, attempt
        self._team, self._looked = Team(), float("-inf")

    def team(self) -> Team:
        import ray

        if time.monotonic() - self._looked >= LOOK_EVERY:
            self._looked = time.monotonic()
            try:
                found = ray.get(self._mailbox.team.remote(self._attempt))
            except ray.exceptions.RayError:
                return self._team
            if len(found.joined) >= len(self._team.joined):
                self._team = found
        return self._team


class _Members:
    """See `acdc.behaviour.workers.Workers`: workers that have a job's behaviour on some rows. One that joins counts
    from when it has loaded the model and bound the rows."""

    may_come = True

    def __init__(self, roster: _Roster, job: DiscoveryJob, rows: Sequence[int], work: Work):
        self._roster, self._job, self._rows, self._work = roster, job, tuple(rows), work
        self._binding: dict[int, _Reply] = {}  # by place in the team
        self._bound: list[int] = []  # places in the team, in the order in which they came
        self._unable: set[int] = set()  # places of those without the memory for it, or the files: the job does without
        self._look()

    def _look(self) -> None:
        team = self._roster.team()
        asked = {*self._binding, *self._bound, *self._unable}
        for place, worker in enumerate(team.joined):
            if place not in asked and place not in team.left:
                self._binding[place] = self._ask(worker, _nothing, ())
        for place in [place for place, reply in self._binding.items() if reply.ready()]:
            try:
                self._binding.pop(place).get()
            except WorkerLost:
                pass  # where it is started anew, it binds the rows when it is first asked for anything
            except Exception as error:
                self._unable.add(place)
                reason = str(error).strip().rpartition("\n")[2]
                warnings.warn(f"a worker does not share in this job: {reason}", AcdcWarning, stacklevel=2)
                continue
            self._bound.append(place)

    @property
    def size(self) -> int:
        self._look()
        return len(self._bound)

    def ask(self, member: int, work: Callable[..., Any], *arguments: Any) -> "_Reply | _Gone":
        team, place = self._roster.team(), self._bound[member]
        return _Gone() if place in team.left else self._ask(team.joined[place], work, arguments)

    def _ask(self, worker: Any, work: Callable[..., Any], arguments: tuple) -> _Reply:
        return _Reply(worker.assist.remote(self._job, self._rows, work, arguments), self._work)


def _nothing(behaviour: Behaviour) -> None:
    """Asked of a worker so that it binds the behaviour."""


class Worker:
    """Does jobs, one at a time, and parts of those of others; an actor."""

    def __init__(self, workers: int) -> None:
        """`workers`: of the pool, all of which may be on this machine. The mailbox is found by its name, as a worker
        that is started anew might not get a handle that it was given."""
        share_host_memory(workers)
        self._loaded = Loaded(NodeWeights(MAILBOX))
        self._bound: tuple[tuple[DiscoveryJob, tuple[int, ...]], Behaviour] | None = None

    def is_there(self) -> None:
        """Answers."""

    def sees(self, path: Path, text: str | None) -> bool:
        """Whether it has the run directories where the driver has them: a file, and in it a text unless that may be
        another driver's by now."""
        return path.is_file() and text in (None, path.read_text())

    def work_on(self, job: Job, mailbox: Any, attempt: str) -> Outcome:
        self._bound = None
        roster = _Roster(mailbox, attempt)

        def workers(rows: Sequence[int]) -> _Members:
            assert isinstance(job, SharedJob)  # no other asks for the workers
            return _Members(roster, job.job, rows, self._loaded.of(job.job)[0].components.work)

        return work_on(job, _ByMail(mailbox), self._loaded, workers)

    def load(self, job: DiscoveryJob) -> None:
        """Load the model of a job that it will share in, while whoever does the job does the same. What cannot be
        loaded is told when it is asked for."""
        try:
            self._loaded.of(job)
        except Exception:
            self._loaded.forget()

    def assist(self, job: DiscoveryJob, rows: tuple[int, ...], work: Callable[..., Any], arguments: tuple) -> _Answer:
        """work(behaviour, *arguments), with the behaviour of a job on some rows."""
        if self._bound is None or self._bound[0] != (job, rows):
            self._bound = None  # before the next one takes as much memory
            model, task = self._loaded.of(job)
            with fixed_threads(job.settings.threads_in(model.anatomy)):
                self._bound = (job, rows), bind(model, task, job.settings, rows)
        behaviour = self._bound[1]
        with fixed_threads(job.settings.threads_in(behaviour.model.anatomy)):
            before = behaviour.work
            return _Answer(work(behaviour, *arguments), behaviour.work - before)
