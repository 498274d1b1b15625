"""A Ray cluster of several nodes with fake GPUs on this machine, and jobs that stand in for real ones: they sleep, and
record where and when. What nodes and GPUs are is for Ray's scheduler alone; the machine has as many cores as it has."""

import fcntl
import json
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from sockets import free_ports

from acdc.behaviour.workers import share_out
from acdc.execution.work import Work
from acdc.jobs.batch import run_planned
from acdc.jobs.ray import dispatcher
from acdc.jobs.ray.pool import RayPool, _import_ray
from acdc.planning.throughput import JobLoad, schedule
from acdc.runs.run_directory import RUN_FILE

NODES, GPUS = 4, 4
STORE_BYTES = 80 * 2**20
PATIENCE = 600.0  # seconds for workers to start where much else runs
NODE_SECONDS, ATTEMPTS = 60.0, 5  # for a node to start, and how often that is tried
TOKEN = secrets.token_hex(32)  # Ray reads it once in a process
AGENTS = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
TRACE, SLOW = "trace.jsonl", "slow.json"


class Simulated:
    """The nodes that workers may be on; the head, which this process belongs to, has no room for any."""

    def __init__(self, ray_cluster):
        self._cluster, self.nodes = ray_cluster, []

    @property
    def address(self):
        return self._cluster.address

    def add(self):
        add = self._cluster.add_node
        self.nodes.append(persistently(lambda: add(num_cpus=GPUS, num_gpus=GPUS, **settings())))

    def lose(self, node):
        """Kill all of a node's processes."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def have(self, count):
        """Add nodes, or lose some, until there are so many."""
        while len(self.nodes) < count:
            self.add()
        while len(self.nodes) > count:
            self.lose(self.nodes[-1])

    def pool(self, workers, gpus, min_workers=None):
        return RayPool(workers, gpus, self.address, 1, min_workers)


@contextmanager
def simulated_cluster(monkeypatch):
    """One without nodes yet, bound to the loopback device, with a token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else workers starve where much else runs
    monkeypatch.setattr(dispatcher, "START_SECONDS", PATIENCE)
    monkeypatch.setattr("acdc.jobs.ray.pool.START_SECONDS", PATIENCE)
    ray = _import_ray(local=True)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    from ray._private import services
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(services, "get_node", patient(services.get_node))
    head = {"num_cpus": 0, "include_dashboard": False, "dashboard_port": free_ports(1)[0]}
    cluster = persistently(lambda: Cluster(initialize_head=True, head_node_args={**head, **settings()}))
    try:
        yield Simulated(cluster)
    finally:
        ray.shutdown()
        cluster.shutdown()


def persistently(start):
    """A node waits for its agents no longer than 15 seconds, and dies where these are slower."""
    for _ in range(ATTEMPTS):
        with suppress(Exception):  # Ray raises it bare
            return start()
    return start()


def patient(get_node):
    """Ray waits half a minute for a node that it starts, which is short where much else runs."""

    def wait_for(*arguments):
        until = time.monotonic() + NODE_SECONDS
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    return wait_for


def settings():
    """Of a node: ports are given, so that it need not wait until its agents have found some."""
    return {"object_store_memory": STORE_BYTES, **dict(zip(AGENTS, free_ports(len(AGENTS)), strict=True))}


@dataclass(frozen=True)
class Nap:
    """A job that takes so many seconds, and another so many for a model that its worker has not loaded. Results are its
    id alone, so they do not depend on who made them."""

    id: str
    folder: Path
    seconds: float
    loading: float = 0.0

    @property
    def name(self):
        return self.id

    @property
    def path(self):
        return self.folder / self.id

    @property
    def command(self):
        return f"nap {self.id}"

    def is_finished(self):
        return (self.path / "result").is_file()

    def do(self, progress, loaded, find_workers):
        began = time.time()
        if not getattr(loaded, "napped", False):
            sleep(self.folder, self.loading)
            loaded.napped = True
        self.work(find_workers)
        self.path.mkdir(exist_ok=True)
        (self.path / "result").write_text(self.id)
        note(self.folder, job=self.id, began=began, ended=time.time())

    def work(self, find_workers):
        sleep(self.folder, self.seconds)


@dataclass(frozen=True)
class SharedNap(Nap):
    """The same in parts that others may share in."""

    parts: int = 1

    @property
    def job(self):
        return Bound()

    def work(self, find_workers):
        bound_in_worker()
        items = [(str(self.folder), self.id, self.seconds / self.parts, part) for part in range(self.parts)]
        assert list(share_out(find_workers([0, 1]), None, nap_part, items)) == [*range(self.parts)]


class Bound:
    """What workers of a `SharedNap` bind: nothing, at once. In a worker it takes the place of models and behaviours, of
    which nothing but the work is asked."""

    settings = SimpleNamespace(threads=1)
    work = Work()

    def __eq__(self, other):
        return type(other).__name__ == "Bound"

    def __reduce__(self):
        return bound_in_worker, ()


def bound_in_worker():
    from acdc.jobs.ray import worker

    model = SimpleNamespace(components=SimpleNamespace(work=Work()))
    worker.Loaded.of = lambda self, job: (model, None)
    worker.bind = lambda model, task, settings, rows: Bound()
    return Bound()


def nap_part(behaviour, item):
    folder, job, seconds, part = item
    sleep(Path(folder), seconds)
    note(Path(folder), part_of=job, part=part)
    return part


def sleep(folder, seconds):
    """So many times as long on a slow node."""
    slow = folder / SLOW
    factors = json.loads(slow.read_text()) if slow.is_file() else {}
    time.sleep(seconds * factors.get(where()["node"], 1.0))


def where():
    import ray

    context = ray.get_runtime_context()
    gpus = [int(number) for number in context.get_accelerator_ids().get("GPU", [])]
    return {"node": context.get_node_id(), "gpus": gpus, "worker": context.get_actor_id()}


def note(folder, **what):
    with (folder / TRACE).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(what | where()) + "\n")


def noted(folder):
    """What jobs and parts of jobs have recorded, in the order in which they ended."""
    return [json.loads(line) for line in (folder / TRACE).read_text().splitlines()]


class Watching:
    """Does things when jobs start and end: `at_start`, `at_end` by how many have."""

    def __init__(self, at_start=None, at_end=None):
        self._at_start, self._at_end = at_start or {}, at_end or {}
        self.started_count = self.ended_count = 0

    def begins(self, jobs, finished):
        pass

    def started(self, job):
        self.started_count += 1
        self._at_start.get(self.started_count, lambda: None)()

    def at(self, job, stage):
        pass

    def ended(self, job, outcome):
        assert outcome.error is None, outcome.error
        self.ended_count += 1
        self._at_end.get(self.ended_count, lambda: None)()


def artefacts(out):
    """Contents of the files of all runs in a folder, but for the records that hold times."""
    files = [path for run in out.glob(f"*/{RUN_FILE}") for path in run.parent.iterdir()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.name != RUN_FILE}


def do(pool, folder, jobs: Sequence[Nap], watch=None):
    """Run stand-ins; what they have recorded, and whether each has left its result."""
    folder.mkdir(exist_ok=True)
    run_planned(jobs, folder, pool, watch or Watching())
    assert all((job.path / "result").read_text() == job.id for job in jobs)
    return noted(folder)


@dataclass(frozen=True)
class Case:
    """Jobs of known length: seconds of those that nobody shares, seconds and parts of one that others may share in, and
    seconds that each worker takes to load the model that they have."""

    name: str
    seconds: tuple[float, ...]
    shared: tuple[float, int] = (0.0, 0)
    loading: float = 0.0

    def jobs(self, folder):
        shared = [SharedNap("shared", folder, self.shared[0], parts=self.shared[1])] if self.shared[1] else []
        naps = [Nap(f"n{place}", folder, one, self.loading) for place, one in enumerate(self.seconds)]
        return [*shared, *naps]

    def planned(self, workers):
        """Seconds by the model."""
        shared = [JobLoad("m", 0.0, 0.0, self.shared[1], self.shared[0] / self.shared[1])] if self.shared[1] else []
        return schedule([*shared, *(JobLoad("m", self.loading, one) for one in self.seconds)], workers).seconds

    def measured(self, cluster, workers, gpus, folder):
        """Seconds from the start of the first job to the end of the last."""
        seen = do(cluster.pool(workers, gpus), folder, self.jobs(folder))
        jobs = [one for one in seen if "job" in one]
        return max(one["ended"] for one in jobs) - min(one["began"] for one in jobs)


MIXED = tuple(1 + 10 * (37 * place % 64) / 63 for place in range(64))
CASES = [
    Case("48 jobs of 5 s", (5.0,) * 48),
    Case("64 jobs of 1 to 11 s, in no order", MIXED),
    Case("the same, 6 s to load their model", MIXED, loading=6.0),
    Case("one job of 240 s in 120 parts, which all share", (), shared=(240.0, 120)),
    Case("20 jobs of 5 s beside one of 160 s in 80 parts", (5.0,) * 20, shared=(160.0, 80)),
]
