"""Jobs on a simulated cluster of 4 nodes with 4 fake GPUs each: where they are placed, and nodes that are lost, added
and slow."""

import json
from collections import Counter

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'acdc[cluster]'")

from simulated import GPUS, NODES, SLOW, Nap, SharedNap, Watching, do, simulated_cluster  # noqa: E402

from acdc.jobs.batch import run_jobs  # noqa: E402
from acdc.jobs.executors import InProcess  # noqa: E402
from acdc.jobs.jobs_file import make_jobs  # noqa: E402
from acdc.jobs.store import Status  # noqa: E402
from acdc.runs.run_directory import RUN_FILE  # noqa: E402

REAL = [
    {"task": "ioi", "limit": 16, "threshold": 1.0},
    {"task": "induction", "limit": 16, "threshold": [0.5, 2.0]},
    {"task": "induction", "limit": 16, "method": "eap-ig-inputs", "edges": [9, 40]},
]


@pytest.fixture
def cluster(monkeypatch):
    with simulated_cluster(monkeypatch) as found:
        yield found


def artefacts(out):
    files = [path for run in out.glob(f"*/{RUN_FILE}") for path in run.parent.iterdir()]
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.name != RUN_FILE}


@pytest.mark.slow
def test_a_node_is_lost_and_one_added_and_the_bytes_are_the_same(cluster, tmp_path):
    """A worker has all four GPUs of a node, so that there are few processes: each node that is lost takes a worker."""
    jobs = make_jobs({"threads": 1}, REAL, tmp_path)
    run_jobs(jobs, tmp_path / "here", InProcess(), Watching())
    watch = Watching(at_start={NODES: lambda: (cluster.lose(cluster.nodes[0]), cluster.add())})
    ended = run_jobs(jobs, tmp_path / "there", cluster.pool(NODES, GPUS), watch)
    assert [job.status for job in ended] == [Status.done] * len(jobs)
    assert artefacts(tmp_path / "there") == artefacts(tmp_path / "here")
