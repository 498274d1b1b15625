"""Who does what in a pool: jobs that wait, those that are done by somebody, and workers that are free, gone or back."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from acdc.errors import InputError
from acdc.jobs.job import Job, SharedJob
from acdc.jobs.ray.worker import Team
from acdc.jobs.work import Outcome

POLL = 0.3  # seconds
ATTEMPTS = 3  # at a job whose worker died
START_SECONDS = 120.0  # that the workers may take to be there
AGAIN = 1.0  # seconds after which a worker that is gone is asked again whether it is there
MOST_BOUNCES = 64  # times that a job may be given to a worker that turns out to be gone already


@dataclass
class _Task:
    """An attempt at a job, and the workers at it: whoever does it, and those that share in it by their places.
    `bounces`: how often the job was given to a worker that was gone already, which is no attempt. `started`: whether
    the leader has said that it does it."""

    job: Job
    attempt: int = 1
    bounces: int = 0
    leader: Any = None
    team: Team = field(default_factory=Team)
    started: bool = False

    @property
    def name(self) -> str:
        return f"{self.job.id} {self.attempt} {self.bounces}"

    @property
    def next(self) -> "_Task | None":
        """What is to be tried after its worker died; None where it was tried often enough."""
        if not self.started and self.bounces < MOST_BOUNCES:
            return _Task(self.job, self.attempt, self.bounces + 1)
        return _Task(self.job, self.attempt + 1) if self.attempt < ATTEMPTS else None

    @property
    def members(self) -> dict[int, Any]:
        """By place."""
        return {place: one for place, one in enumerate(self.team.joined) if place not in self.team.left}


class Dispatcher:
    """The jobs and the workers of one pool."""

    def __init__(self, ray: Any, mailbox: Any, jobs: Sequence[Job], there: Sequence[Any]):
        """`there`: workers that have answered."""
        self._ray, self._mailbox = ray, mailbox
        self._waiting = deque(_Task(job) for job in jobs)
        self._idle = deque(there)
        self.busy: dict[Any, _Task] = {}  # by the outcome that is waited for
        self.back = Returning(ray)

    @property
    def at_work(self) -> bool:
        """Whether a job is not over."""
        return bool(self._waiting or self.busy)

    def wait(self) -> list[Any]:
        """What has ended or answered meanwhile."""
        awaited = [*self.busy, *self.back.asked]
        if not awaited:
            time.sleep(POLL)
            return []
        return list(self._ray.wait(awaited, timeout=POLL)[0])

    def started(self, id: str) -> None:
        """Record that somebody works on a job."""
        for task in self.busy.values():
            task.started |= task.job.id == id

    def hand_out(self) -> None:
        """Give jobs that wait to workers that are free; if there are not enough, some that share in others are called
        back. What is free then shares in others."""
        while self._waiting and self._idle:
            task = self._waiting.popleft()
            task.leader = self._idle.popleft()
            self.busy[task.leader.work_on.remote(task.job, self._mailbox, task.name)] = task
        while self.back.called < len(self._waiting) and self._call_back():
            pass
        shared = [task for task in self.busy.values() if isinstance(task.job, SharedJob)]
        while self._idle and shared:
            task, one = min(shared, key=lambda task: len(task.members)), self._idle.popleft()
            assert isinstance(task.job, SharedJob)
            one.load.remote(task.job.job)
            self._set_team(task, replace(task.team, joined=(*task.team.joined, one)))

    def _call_back(self) -> bool:
        """Call a worker back from the job that most share in, when it has done what it was asked for; whether there is
        one."""
        task = max(self.busy.values(), key=lambda task: len(task.members), default=None)
        if task is None or not task.members:
            return False
        place = max(task.members)
        self.back.expect([task.members[place]], called=True)
        self._set_team(task, replace(task.team, left=task.team.left | {place}))
        return True

    def _set_team(self, task: _Task, team: Team) -> None:
        task.team = team
        self._mailbox.set_team.remote(task.name, team)

    def take_back(self, ended: Sequence[Any]) -> Iterator[Outcome]:
        """The outcomes of jobs that have ended, whose workers are free when they answer; a job whose worker died waits
        again. Raises InputError where all workers have been gone for long."""
        self._idle.extend(self.back.there(ended))
        if not (self._idle or self.busy):
            self.back.check()
        for ref in filter(self.busy.__contains__, ended):
            task = self.busy.pop(ref)
            self._mailbox.disband.remote(task.name)
            self.back.expect([task.leader, *task.members.values()])
            try:
                yield self._ray.get(ref)
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.OutOfMemoryError) as error:
                if again := task.next:
                    self._waiting.append(again)
                else:
                    yield self._given_up(task, isinstance(error, self._ray.exceptions.OutOfMemoryError))

    def _given_up(self, task: _Task, short: bool) -> Outcome:
        reason = "(out of memory: use a smaller batch-size or limit)" if short else "(killed, or out of memory)"
        return Outcome(task.job.id, f"its worker died {ATTEMPTS} times {reason}", 0.0)


@dataclass(frozen=True)
class _Expected:
    """A worker that was asked whether it is there, and sees a file where that is in question; `called`: back from a job
    that it shared in."""

    worker: Any
    file: Path | None
    called: bool


class Returning:
    """Workers that have ended a job, or are not there yet, until they answer: one that died must be started anew before
    it can be asked for anything, and until then whatever it is asked for fails at once."""

    def __init__(self, ray: Any):
        self._ray, self._since = ray, 0.0
        self.asked: dict[Any, _Expected] = {}  # by the question
        self._gone: list[tuple[float, _Expected]] = []  # with the time at which to ask again

    @property
    def called(self) -> int:
        """How many are on their way from jobs that they shared in."""
        return sum(one.called for one in self.asked.values())

    def expect(self, workers: Sequence[Any], file: Path | None = None, called: bool = False) -> None:
        """Ask workers whether they are there; `file`: and see one that they share with this process."""
        self._since = time.monotonic()
        for one in workers:
            self._ask(_Expected(one, file, called))

    def _ask(self, one: _Expected) -> None:
        question = one.worker.is_there.remote() if one.file is None else one.worker.sees.remote(one.file, None)
        self.asked[question] = one

    def there(self, ended: Sequence[Any]) -> list[Any]:
        """Workers that have answered; others are asked again, after a while. Raises InputError for one that does not
        see its file."""
        found, now = [], time.monotonic()
        for question in filter(self.asked.__contains__, ended):
            one = self.asked.pop(question)
            try:
                if self._ray.get(question) is False and one.file is not None:
                    raise not_shared(one.file)
                found.append(one.worker)
            except self._ray.exceptions.RayActorError:
                self._gone.append((now + AGAIN, one))
        due, self._gone = [g for g in self._gone if g[0] <= now], [g for g in self._gone if g[0] > now]
        for _, one in due:
            self._ask(one)
        return found

    def check(self) -> None:
        """Raises InputError where no worker has come back for long."""
        if time.monotonic() - self._since > START_SECONDS:
            raise InputError(f"no worker has come back in {START_SECONDS:.0f} s after its death; run the command again")


def not_shared(file: Path) -> InputError:
    """What to raise where a worker does not see a file in the folder of locks."""
    folder = file.parent.parent
    return InputError(f"{folder} is not on a file system that all machines of the cluster share: use --out")
