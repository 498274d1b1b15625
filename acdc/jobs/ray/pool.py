"""A pool of Ray actors that do jobs, on this machine or on a cluster.

Each worker holds the model that it loaded last, from its files: no weights travel. While there are more workers than
jobs, several share one job (`acdc.behaviour.workers`). A worker that dies is started anew
and its job given to the next that is free, which goes on where the files of the run end. On this machine all sockets
are bound to the loopback device alone.
"""

import fcntl
import os
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acdc.behaviour.batches import share_host_memory
from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.workers import WorkerLost
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.execution.work import Work
from acdc.files import make_private
from acdc.jobs.job import Job, SharedJob
from acdc.jobs.pulse import Pulse
from acdc.jobs.ray.internals import listens_on_the_network, read_settings_again
from acdc.jobs.store import Stage
from acdc.jobs.work import LOCKS, Outcome, Report, work_on
from acdc.runs.discovery import Loaded
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import bind

# Read by Ray when it is imported: without the first, its servers listen on every network device.
_LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
_ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
OBJECT_STORE_BYTES = 100 * 2**20  # nothing large goes through it
POLL = 0.3  # seconds
ATTEMPTS = 3  # at a job whose worker died
START_SECONDS = 120.0  # that the workers may take to be there


@dataclass
class _Mailbox:
    """Collects what workers report until it is drained; an actor."""

    events: list[tuple[str, Any]] = field(default_factory=list)

    def put(self, method: str, arguments: tuple) -> None:
        self.events.append((method, arguments))

    def drain(self) -> list[tuple[str, tuple]]:
        events, self.events = self.events, []
        return events


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

    def ready(self) -> bool:
        import ray

        return bool(ray.wait([self._ref], timeout=0)[0])

    def get(self) -> Any:
        import ray

        try:
            answer = ray.get(self._ref)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError:
            raise WorkerLost from None
        self._work.add(answer.work)
        return answer.value


@dataclass(frozen=True)
class _Members:
    """See `acdc.behaviour.workers.Workers`: workers that have a job's behaviour on some rows."""

    workers: tuple[Any, ...]
    job: DiscoveryJob
    rows: tuple[int, ...]
    work: Work

    @property
    def size(self) -> int:
        return len(self.workers)

    def ask(self, member: int, work: Callable[..., Any], *arguments: Any) -> _Reply:
        return _Reply(self.workers[member].assist.remote(self.job, self.rows, work, arguments), self.work)


class _Worker:
    """Does jobs, one at a time, and parts of those of others; an actor."""

    def __init__(self, workers: int) -> None:
        """`workers`: of the pool, all of which may be on this machine."""
        share_host_memory(workers)
        self._loaded = Loaded()
        self._bound: tuple[tuple[DiscoveryJob, tuple[int, ...]], Behaviour] | None = None

    def is_there(self) -> None:
        """Answers."""

    def sees(self, path: Path, text: str) -> bool:
        """Whether it has the run directories where the driver has them."""
        return path.is_file() and path.read_text() == text

    def work_on(self, job: Job, mailbox: Any, members: Sequence[Any]) -> Outcome:
        self._bound = None

        def workers(rows: Sequence[int]) -> _Members:
            assert isinstance(job, SharedJob)  # no other asks for the workers
            return _Members(tuple(members), job.job, tuple(rows), self._loaded.of(job.job)[0].components.work)

        return work_on(job, _ByMail(mailbox), self._loaded, workers)

    def assist(self, job: DiscoveryJob, rows: tuple[int, ...], work: Callable[..., Any], arguments: tuple) -> _Answer:
        """work(behaviour, *arguments), with the behaviour of a job on some rows."""
        model, task = self._loaded.of(job)
        with fixed_threads(job.settings.threads):
            if self._bound is None or self._bound[0] != (job, rows):
                self._bound = None  # before the next one takes as much memory
                self._bound = (job, rows), bind(model, task, job.settings, rows)
            behaviour = self._bound[1]
            before = behaviour.work
            return _Answer(work(behaviour, *arguments), behaviour.work - before)


class RayPool:
    """See `acdc.jobs.executors.JobExecutor`."""

    def __init__(self, workers: int, gpus_per_worker: float, address: str | None, threads: int):
        """`threads`: of one evaluation; that many CPU cores are asked of a cluster for each worker."""
        self.workers, self.gpus, self.address, self.threads = workers, gpus_per_worker, address, threads

    def run(self, jobs: Sequence[Job], report: Report) -> Generator[Outcome, None, None]:
        if not jobs:
            return
        ray = _import_ray(local=self.address is None)
        _connect(ray, self.workers, self.address)
        try:
            self._check_resources(ray)
            yield from self._run(ray, jobs, report)
        finally:
            ray.shutdown()

    def _check_resources(self, ray: Any) -> None:
        """Raises InputError for what would stay pending for ever."""
        there = ray.cluster_resources()
        if self.gpus and there.get("GPU", 0) < self.gpus:
            raise InputError(
                f"--gpus-per-worker {self.gpus:g} cannot be met: this {self._where} has {there.get('GPU', 0):g} GPUs"
            )
        for kind, each in (("GPU", self.gpus), ("CPU", self._cores)):
            if each * self.workers > there.get(kind, 0):
                fitting = int(there.get(kind, 0) / each)
                raise InputError(
                    f"--workers {self.workers} with {each:g} {kind}s each is more than this {self._where} has "
                    f"({there.get(kind, 0):g}): use --workers {fitting}"
                )

    @property
    def _where(self) -> str:
        return "machine" if self.address is None else "cluster"

    @property
    def _cores(self) -> float:
        """On this machine a worker is one unit of what `_connect` offers, however many threads it has."""
        return 1 if self.address is None else self.threads

    def _run(self, ray: Any, jobs: Sequence[Job], report: Report) -> Generator[Outcome, None, None]:
        mailbox = ray.remote(_Mailbox).options(num_cpus=0, max_restarts=-1).remote()
        worker = ray.remote(_Worker).options(
            num_cpus=self._cores, num_gpus=self.gpus, max_restarts=-1, max_task_retries=0
        )
        pool = [worker.remote(self.workers) for _ in range(self.workers)]
        pulse = Pulse(ray)
        _check_shared(ray, pool, jobs[0].folder)
        waiting, busy = deque((job, 1) for job in jobs), dict[Any, tuple[list[Any], Job, int]]()
        idle, back = deque(pool), _Returning(ray)
        while waiting or busy:
            while waiting and idle:
                share = max(1, len(idle) // len(waiting))
                (job, attempt), team = waiting.popleft(), [idle.popleft() for _ in range(share)]
                busy[team[0].work_on.remote(job, mailbox, team[1:])] = team, job, attempt
            ended, _ = ray.wait([*busy, *back.asked], timeout=POLL)
            pulse.check(at_once=not busy.keys().isdisjoint(ended))
            idle.extend(back.there(ended))
            if not (idle or busy):
                back.check()
            for method, arguments in _drained(ray, mailbox):
                getattr(report, method)(*arguments)
            for ref in filter(busy.__contains__, ended):
                team, job, attempt = busy.pop(ref)
                back.expect(team)
                outcome = _outcome(ray, ref, job, attempt)
                if outcome is None:
                    waiting.append((job, attempt + 1))
                else:
                    yield outcome


class _Returning:
    """Workers that have ended a job, until they answer: one that died must be started anew before it can be asked for
    anything, and until then whatever it is asked for fails at once."""

    def __init__(self, ray: Any):
        self._ray, self._since = ray, 0.0
        self.asked: dict[Any, Any] = {}  # worker by the question whether it is there

    def expect(self, workers: Sequence[Any]) -> None:
        self._since = time.monotonic()
        self.asked |= {worker.is_there.remote(): worker for worker in workers}

    def there(self, ended: Sequence[Any]) -> list[Any]:
        """Workers that have answered; others are asked again, after a while."""
        found, lost = [], []
        for question in filter(self.asked.__contains__, ended):
            worker = self.asked.pop(question)
            try:
                self._ray.get(question)
                found.append(worker)
            except self._ray.exceptions.RayActorError:
                lost.append(worker)
        if lost:
            time.sleep(POLL)
            self.asked |= {worker.is_there.remote(): worker for worker in lost}
        return found

    def check(self) -> None:
        """Raises InputError where no worker has come back for long."""
        if time.monotonic() - self._since > START_SECONDS:
            raise InputError(f"no worker has come back in {START_SECONDS:.0f} s after its death; run the command again")


def _drained(ray: Any, mailbox: Any) -> list[tuple[str, tuple]]:
    """What has come by mail; a mailbox that died and is being started anew has lost it, and it was for show."""
    try:
        return ray.get(mailbox.drain.remote())
    except ray.exceptions.RayActorError:
        return []


def _outcome(ray: Any, ref: Any, job: Job, attempt: int) -> Outcome | None:
    """A job's outcome; None where its worker died and it is to be tried again."""
    try:
        return ray.get(ref)
    except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
        if attempt < ATTEMPTS:
            return None
        short = isinstance(error, ray.exceptions.OutOfMemoryError)
        reason = "(out of memory: use a smaller batch-size or limit)" if short else "(killed, or out of memory)"
        return Outcome(job.id, f"its worker died {ATTEMPTS} times {reason}", 0.0)


def _check_shared(ray: Any, pool: Sequence[Any], folder: Path) -> None:
    """Raises InputError where workers do not see the driver's files.

    They look for what was just written into a file that stays, so that a driver that is killed leaves nothing behind;
    the lock keeps drivers that share the folder out of each other's way.
    """
    path, text = folder / LOCKS / "shared", secrets.token_hex(8)
    make_private(path.parent)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        if not all(_answers(ray, pool, path, text)):
            raise InputError(f"{folder} is not on a file system that all machines of the cluster share: use --out")


def _answers(ray: Any, pool: Sequence[Any], path: Path, text: str) -> list[bool]:
    """What workers that have just been started see. Raises InputError where they do not answer."""
    for _ in range(ATTEMPTS):
        try:
            return ray.get([one.sees.remote(path, text) for one in pool], timeout=START_SECONDS)
        except ray.exceptions.GetTimeoutError:
            raise InputError(f"the workers did not start within {START_SECONDS:.0f} s") from None
        except ray.exceptions.RayActorError:  # one was killed; it is being started anew
            continue
    raise InputError(f"the workers died {ATTEMPTS} times while starting: there may be too little memory for that many")


def _import_ray(local: bool) -> Any:
    """Raises InputError where Ray is not installed, or was imported without what keeps it to this machine."""
    os.environ.update(_ALWAYS | (_LOCAL if local else {}))
    try:
        import ray
    except ImportError:
        raise InputError("--workers needs Ray: install acdc with the extra 'cluster'") from None
    if local and listens_on_the_network(ray):
        raise InputError("Ray was imported before, and would listen on every network device: do not import it yourself")
    # Where it was imported before, as to ask a cluster, it would start servers that want a token and show them none.
    read_settings_again(ray)
    return ray


def _connect(ray: Any, workers: int, address: str | None) -> None:
    """Start Ray on this machine with room for so many workers, or connect to a cluster."""
    common = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        with _own_handler():
            if address is None:
                room = {"num_cpus": workers, "object_store_memory": OBJECT_STORE_BYTES}
                ray.init(address="local", include_dashboard=False, **room, **common)  # whatever else runs here
            else:
                ray.init(address=address, **common)
    except Exception as error:  # Ray raises it bare, as where its servers are slow to start
        raise InputError(f"Ray at {address or 'this machine'} cannot be used: {str(error).splitlines()[0]}") from None


@contextmanager
def _own_handler() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, in whose place Ray puts one that exits without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        signal.signal(signal.SIGTERM, own)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, own)
