"""Jobs on a simulated cluster of 4 nodes with 4 fake GPUs each: where they are placed, and nodes that are lost, added
and slow."""

import json
from collections import Counter
from contextlib import ExitStack

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'acdc[cluster]'")

from simulated import (  # noqa: E402
    CASES,
    GPUS,
    NODES,
    SLOW,
    Nap,
    SharedNap,
    Watching,
    artefacts,
    do,
    simulated_cluster,
)

from acdc.errors import InputError  # noqa: E402
from acdc.jobs.batch import run_jobs  # noqa: E402
from acdc.jobs.executors import InProcess  # noqa: E402
from acdc.jobs.jobs_file import make_jobs  # noqa: E402
from acdc.jobs.ray import pool  # noqa: E402
from acdc.jobs.ray.worker import Mailbox  # noqa: E402
from acdc.jobs.store import Status  # noqa: E402

REAL = [
    {"task": "ioi", "limit": 16, "threshold": 1.0},
    {"task": "induction", "limit": 16, "threshold": [0.5, 2.0]},
    {"task": "induction", "limit": 16, "method": "eap-ig-inputs", "edges": [9, 40]},
]


@pytest.fixture(scope="module")
def started():
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        try:
            found = stack.enter_context(simulated_cluster(patch))
        except RuntimeError as error:  # where another cluster starts at the same time, for one
            pytest.skip(f"Ray starts no cluster here: {' '.join(str(error).split())}")
        yield found


@pytest.fixture
def cluster(started):
    started.have(NODES)
    return started


@pytest.mark.thorough
def test_a_node_is_lost_and_one_added_and_the_bytes_are_the_same(cluster, tmp_path):
    """A worker has all four GPUs of a node, so that there are few processes: each node that is lost takes a worker."""
    jobs = make_jobs({"threads": 1}, REAL, tmp_path)
    run_jobs(jobs, tmp_path / "here", InProcess(), Watching())
    watch = Watching(at_start={NODES: lambda: (cluster.lose(cluster.nodes[0]), cluster.add())})
    ended = run_jobs(jobs, tmp_path / "there", cluster.pool(NODES, GPUS), watch)
    assert [job.status for job in ended] == [Status.done] * len(jobs)
    assert artefacts(tmp_path / "there") == artefacts(tmp_path / "here")


@pytest.mark.thorough
def test_every_worker_has_a_gpu_of_its_own(cluster, tmp_path):
    """One replica per GPU: as many workers as there are GPUs."""
    jobs = [Nap(f"n{i}", tmp_path / "naps", 4.0) for i in range(2 * NODES * GPUS)]
    seen = do(cluster.pool(NODES * GPUS, 1.0), tmp_path / "naps", jobs)
    places = {one["worker"]: (one["node"], *one["gpus"]) for one in seen}
    assert len(places) == len(set(places.values())) == NODES * GPUS
    assert Counter(node for node, _ in places.values()) == dict.fromkeys({node for node, _ in places.values()}, GPUS)


@pytest.mark.thorough
def test_workers_share_a_gpu_but_none_has_parts_of_two(cluster, tmp_path):
    workers = 8
    jobs = [Nap(f"n{i}", tmp_path / "naps", 2.0) for i in range(3 * workers)]
    seen = do(cluster.pool(workers, 0.5), tmp_path / "naps", jobs)
    places = {one["worker"]: (one["node"], *one["gpus"]) for one in seen}
    assert len(places) == workers and all(len(place) == 2 for place in places.values())
    assert max(Counter(places.values()).values()) <= 2


@pytest.mark.thorough
def test_workers_are_on_as_few_nodes_as_have_room(cluster, tmp_path):
    """They hold one model's weights together there."""
    jobs = [Nap(f"n{i}", tmp_path / "naps", 2.0) for i in range(2 * GPUS)]
    seen = do(cluster.pool(GPUS, 1.0), tmp_path / "naps", jobs)
    assert len({one["worker"] for one in seen}) == GPUS and len({one["node"] for one in seen}) == 1


@pytest.mark.thorough
def test_places_are_reserved_all_or_none(cluster, monkeypatch):
    """What somebody else's pool has is not waited for with the rest in hand."""
    monkeypatch.setattr(pool, "START_SECONDS", 3.0)
    ray = pool._import_ray(local=False)
    pool._connect(ray, NODES * GPUS, cluster.address)
    try:
        other = ray.remote(Mailbox).options(num_gpus=1).remote()
        ray.get(other.drain.remote())
        with pytest.raises(InputError, match="16 workers could not be placed within 3 s"):
            cluster.pool(NODES * GPUS, 1.0)._reserved(ray)
        assert ray.available_resources()["GPU"] == NODES * GPUS - 1
        assert len(cluster.pool(NODES * GPUS, 1.0, min_workers=9)._reserved(ray)) == 9
    finally:
        ray.shutdown()


@pytest.mark.thorough
def test_a_node_that_comes_later_gets_work(started, tmp_path):
    """Of jobs that wait, and of one that goes on."""
    started.have(1)
    folder = tmp_path / "naps"
    jobs = [Nap(f"n{i}", folder, 1.0) for i in range(4)] + [SharedNap("shared", folder, 120.0, parts=240)]
    seen = do(started.pool(2, GPUS, min_workers=1), folder, jobs, Watching(at_end={1: started.add}))
    first = seen[0]["node"]
    parts = Counter(one["node"] == first for one in seen if "part" in one)
    assert parts[True] > 1 and parts[False] > 1, "both nodes did parts of the one job"


@pytest.mark.thorough
def test_a_slow_node_does_less(cluster, tmp_path):
    """Of one job that four workers share, one on each node."""
    folder = tmp_path / "naps"
    warm = [Nap(f"n{i}", folder, 1.0) for i in range(NODES)]
    slow = {}

    def slow_down():
        first = json.loads((folder / "trace.jsonl").read_text().splitlines()[0])["node"]
        slow[first] = 5.0
        (folder / SLOW).write_text(json.dumps(slow))

    watch = Watching(at_end={1: slow_down})
    seen = do(cluster.pool(NODES, GPUS), folder, [*warm, SharedNap("shared", folder, 300.0, parts=150)], watch)
    parts = Counter(one["node"] for one in seen if "part" in one)
    (slow_node,) = slow
    assert sum(parts.values()) >= 150 and len(parts) == NODES
    assert parts[slow_node] < 0.5 * min(count for node, count in parts.items() if node != slow_node)


@pytest.mark.thorough
def test_a_node_is_lost_with_those_who_share(cluster, tmp_path):
    folder = tmp_path / "naps"
    jobs = [SharedNap("shared", folder, 160.0, parts=80), Nap("single", folder, 1.0)]
    watch = Watching(at_end={1: lambda: cluster.lose(cluster.nodes[-1])})
    seen = do(cluster.pool(NODES, GPUS), folder, jobs, watch)
    assert {one["part"] for one in seen if "part" in one} == set(range(80))


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_plan_tells_how_long_many_jobs_take(cluster, tmp_path, case):
    """Within 20 %; workers that sleep do not mind how few cores there are."""
    workers = NODES * GPUS // 2
    measured = case.measured(cluster, workers, 2.0, tmp_path / "naps")
    assert case.planned(workers) == pytest.approx(measured, rel=0.2)
