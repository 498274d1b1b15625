"""A pool of Ray actors that do jobs, on this machine or on a cluster.

Each worker holds the model that it loaded last; the workers of a machine hold its weights together
(`acdc.jobs.ray.weights`), and none travel from one machine to another. On a cluster, the places of all workers that the
first job waits for are reserved at once (a placement group), on as few machines as have them: two pools that together
want more than there is cannot block each other, each holding a part. While there are more workers than jobs, several
share one job (`acdc.behaviour.workers`): whoever has nothing to do joins the job that fewest share in, and leaves it
when there is one that nobody does. A worker that dies is started anew, on another machine where its own is gone, and
its job given to the next that is free, which goes on where the files of the run end. On this machine all
sockets are bound to the loopback device alone.
"""

import fcntl
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from acdc.errors import InputError
from acdc.execution.machine import free_memory
from acdc.files import make_private
from acdc.jobs.job import Job
from acdc.jobs.pulse import Pulse
from acdc.jobs.ray.dispatcher import ATTEMPTS, POLL, START_SECONDS, Dispatcher, not_shared
from acdc.jobs.ray.internals import listens_on_the_network, read_settings_again
from acdc.jobs.ray.nodes import Node, fitting
from acdc.jobs.ray.worker import MAILBOX, Mailbox, Worker
from acdc.jobs.work import LOCKS, Outcome, Report
from acdc.words import count_of

# Read by Ray when it is imported: without the first, its servers listen on every network device.
_LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
_ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
SHARED_MEMORY = Path("/dev/shm")  # where Ray has its object store on Linux
LEAST_STORE_BYTES = 100 * 2**20  # of the store on this machine
MOST_STORE_SHARE = 0.3  # of the memory that is free; what is not used is not taken


class RayPool:
    """See `acdc.jobs.executors.JobExecutor`."""

    def __init__(
        self,
        workers: int,
        gpus_per_worker: float,
        address: str | None,
        threads: int,
        min_workers: int | None = None,
    ):
        """`threads`: of one evaluation; that many CPU cores are asked of a cluster for each worker. `min_workers`: with
        so many the first job begins, and the others join when the cluster has room for them; None for all."""
        self.workers, self.gpus, self.address, self.threads = workers, gpus_per_worker, address, threads
        self.least = workers if min_workers is None else min_workers

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
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        nodes = [Node(has.get("CPU", 0), has.get("GPU", 0)) for has in resources]
        most = fitting(nodes, self._cores, self.gpus)
        if most >= self.least:
            return
        where, gpus = "machine" if self.address is None else "cluster", sum(node.gpus for node in nodes)
        if self.gpus and max((node.gpus for node in nodes), default=0) < self.gpus:
            raise InputError(
                f"--gpus-per-worker {self.gpus:g} cannot be met: this {where} has {gpus:g} GPUs on "
                f"{count_of(len(nodes), 'machine')}"
            )
        cpus = sum(node.cpus for node in nodes)
        each = f"{self._cores:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
        has = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if self.gpus else "")
        option = "--workers" if self.least == self.workers else "--min-workers"
        raise InputError(
            f"{option} {self.least} with {each} each is more than this {where} has room for ({has}): "
            + (f"use {option} {most}" if most else "use fewer threads or --gpus-per-worker")
        )

    @property
    def _cores(self) -> float:
        """On this machine a worker is one unit of what `_connect` offers, however many threads it has."""
        return 1 if self.address is None else self.threads

    def _run(self, ray: Any, jobs: Sequence[Job], report: Report) -> Generator[Outcome, None, None]:
        mailbox = ray.remote(Mailbox).options(name=MAILBOX, num_cpus=0, max_restarts=-1).remote()
        options = {"num_cpus": self._cores, "num_gpus": self.gpus, "max_restarts": -1, "max_task_retries": 0}
        places = [] if self.address is None else self._reserved(ray)
        worker = ray.remote(Worker)
        pool = [
            worker.options(**options, **place).remote(self.workers)
            for place in places + [{}] * (self.workers - len(places))
        ]
        there, coming = _first_there(ray, pool, self.least)
        _check_shared(ray, there, jobs[0].folder)
        dispatcher = Dispatcher(ray, mailbox, jobs, there)
        for one in coming:
            dispatcher.back.expect([one], _shared_file(jobs[0].folder))
        pulse = Pulse(ray)
        while dispatcher.at_work:
            dispatcher.hand_out()
            ended = dispatcher.wait()
            pulse.check(at_once=not dispatcher.busy.keys().isdisjoint(ended))
            for method, arguments in _drained(ray, mailbox):
                if method == "started":
                    dispatcher.started(*arguments)
                getattr(report, method)(*arguments)
            yield from dispatcher.take_back(ended)

    def _reserved(self, ray: Any) -> list[dict[str, Any]]:
        """Options by which the workers that the first job waits for get places that are reserved together. Raises
        InputError where that many are not free for long."""
        from ray.util import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        each = {"CPU": self._cores, **({"GPU": self.gpus} if self.gpus else {})}
        group = placement_group([each] * self.least, strategy="PACK")
        if not ray.wait([group.ready()], timeout=START_SECONDS)[0]:
            raise InputError(
                f"{count_of(self.least, 'worker')} could not be placed within {START_SECONDS:.0f} s: others use the "
                "cluster; wait for them, or begin with fewer (--min-workers)"
            )
        return [
            {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=place)}
            for place in range(self.least)
        ]


def _drained(ray: Any, mailbox: Any) -> list[tuple[str, tuple]]:
    """What has come by mail; a mailbox that died and is being started anew has lost it, and it was for show."""
    try:
        return ray.get(mailbox.drain.remote())
    except ray.exceptions.RayActorError:
        return []


def _first_there(ray: Any, pool: Sequence[Any], least: int) -> tuple[list[Any], list[Any]]:
    """(so many workers or more that are there, those that are not yet). Raises InputError where it takes long."""
    asked, there, until = {one.is_there.remote(): one for one in pool}, list[Any](), time.monotonic() + START_SECONDS
    deaths = 0
    while len(there) < least:
        found, _ = ray.wait([*asked], timeout=max(0.0, until - time.monotonic()))
        if not found:
            raise InputError(f"the workers did not start within {START_SECONDS:.0f} s")
        for question in found:
            one = asked.pop(question)
            try:
                ray.get(question)
                there.append(one)
            except ray.exceptions.RayActorError:  # it was killed; it is being started anew
                deaths += 1
                if deaths > ATTEMPTS * len(pool):
                    raise _died_starting() from None
                time.sleep(POLL)
                asked[one.is_there.remote()] = one
    return there, [*asked.values()]


def _shared_file(folder: Path) -> Path:
    return folder / LOCKS / "shared"


def _check_shared(ray: Any, pool: Sequence[Any], folder: Path) -> None:
    """Raises InputError where workers do not see the driver's files.

    They look for what was just written into a file that stays, so that a driver that is killed leaves nothing behind;
    the lock keeps drivers that share the folder out of each other's way.
    """
    path, text = _shared_file(folder), secrets.token_hex(8)
    make_private(path.parent)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        if not all(_answers(ray, pool, path, text)):
            raise not_shared(path)


def _answers(ray: Any, pool: Sequence[Any], path: Path, text: str) -> list[bool]:
    """What workers see. Raises InputError where they do not answer."""
    for _ in range(ATTEMPTS):
        try:
            return ray.get([one.sees.remote(path, text) for one in pool], timeout=START_SECONDS)
        except ray.exceptions.GetTimeoutError:
            raise InputError(f"the workers did not answer within {START_SECONDS:.0f} s") from None
        except ray.exceptions.RayActorError:  # one was killed; it is being started anew
            time.sleep(POLL)
    raise _died_starting()


def _died_starting() -> InputError:
    return InputError(f"the workers died {ATTEMPTS} times while starting: there may be too little memory for that many")


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
                room = {"num_cpus": workers, "object_store_memory": _store_bytes()}
                ray.init(address="local", include_dashboard=False, **room, **common)  # whatever else runs here
            else:
                ray.init(address=address, **common)
    except Exception as error:  # Ray raises it bare, as where its servers are slow to start
        raise InputError(f"Ray at {address or 'this machine'} cannot be used: {str(error).splitlines()[0]}") from None


def _store_bytes() -> int:
    """How large the store of weights on this machine may become: elsewhere than on Linux too small for most models,
    which each worker then has for itself."""
    free = free_memory(torch.device("cpu"))
    if free is None or not SHARED_MEMORY.is_dir():
        return LEAST_STORE_BYTES
    return max(LEAST_STORE_BYTES, int(min(MOST_STORE_SHARE * free, 0.9 * shutil.disk_usage(SHARED_MEMORY).free)))


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
