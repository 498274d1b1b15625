"""Weights that all workers of a machine hold together: read once, and again where they are lost."""

import json
import sys

import pytest
import torch
from families import hugging_face

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'acdc[cluster]'")

from simulated import Watching, artefacts  # noqa: E402

from acdc.jobs.batch import run_jobs  # noqa: E402
from acdc.jobs.executors import InProcess  # noqa: E402
from acdc.jobs.jobs_file import make_jobs  # noqa: E402
from acdc.jobs.ray.pool import RayPool, _connect, _import_ray  # noqa: E402
from acdc.jobs.ray.weights import NodeWeights, Shelf  # noqa: E402
from acdc.jobs.ray.worker import MAILBOX, Mailbox, Worker  # noqa: E402
from acdc.jobs.store import Status  # noqa: E402
from acdc.model.load import load_model  # noqa: E402

GIVEN = {
    "a": torch.arange(12.0).reshape(3, 4),
    "half": torch.linspace(-1, 1, 7, dtype=torch.bfloat16),
    "one": torch.tensor(3.5, dtype=torch.float64),
    "none": torch.empty(0, 4),
}


class Reader:
    """A process that wants weights, and says when it has to read them."""

    def __init__(self, mailbox, log):
        self._store, self._log, self._held = NodeWeights(mailbox), log, {}

    def read(self, key):
        def given():
            with self._log.open("a") as file:
                file.write(f"{key}\n")
            return GIVEN

        self._held[key] = self._store.of(key, given)
        return self.shown(key)

    def shown(self, key):
        return shown(self._held[key])

    def room(self, *sizes):
        return [self._store.has_room(size) for size in sizes]


def shown(weights):
    return {name: (str(one.dtype), tuple(one.shape), one.double().tolist()) for name, one in weights.items()}


@pytest.fixture
def started():
    """Ray on this machine, as a pool starts it."""
    found = _import_ray(local=True)
    found.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    _connect(found, 8, None)
    yield found
    found.shutdown()


@pytest.fixture
def readers(started, tmp_path):
    mailbox = started.remote(Mailbox).options(name=MAILBOX, num_cpus=0).remote()
    return mailbox, [started.remote(Reader).remote(MAILBOX, tmp_path / "log") for _ in range(4)]


def test_one_process_reads_and_the_others_find(started, readers, tmp_path):
    mailbox, (*those, late) = readers
    log = tmp_path / "log"
    assert started.get([one.read.remote("first") for one in those]) == [shown(GIVEN)] * 3
    assert log.read_text().splitlines() == ["first"]
    assert started.get(those[1].read.remote("second")) == shown(GIVEN)
    assert started.get(those[0].read.remote("second")) == shown(GIVEN)
    # the one that has read goes; who has them goes on, and who comes later finds them or reads again
    started.kill(those[1])
    assert started.get(those[0].shown.remote("second")) == shown(GIVEN)
    assert started.get(late.read.remote("second")) == shown(GIVEN)
    assert set(log.read_text().splitlines()[1:]) == {"second"}
    # nobody knows any more what there is
    started.kill(mailbox)
    assert started.get(late.read.remote("third")) == shown(GIVEN)
    assert log.read_text().splitlines()[-1] == "third"


def test_what_there_is_room_for(started, readers):
    _, (one, *_) = readers
    (node,) = started.nodes()
    store = int(node["Resources"]["object_store_memory"])
    assert started.get(one.room.remote(0, store // 2, store)) == [True, True, False]


def test_only_what_was_used_last_is_kept():
    shelf = Shelf()
    for key, size in (("a", 3), ("b", 4), ("c", 5)):
        shelf.make_room("here", size, 8)
        shelf.put("here", key, [key.upper()], size)
    shelf.put("there", "a", ["other"], 1)
    assert shelf.find("here", "a") == shelf.find("here", "b") == []
    assert shelf.find("here", "c") == ["C"] and shelf.find("there", "a") == ["other"]
    shelf.make_room("here", 3, 8)
    shelf.put("here", "d", ["D"], 3)
    assert shelf.find("here", "c") == ["C"], "used later than d"
    shelf.make_room("here", 2, 8)
    assert shelf.find("here", "d") == [] and shelf.find("here", "c") == ["C"]


@pytest.fixture
def jobs(tmp_path):
    """Two, of a small LLaMA."""
    hugging_face("llama").float().save_pretrained(tmp_path / "m")
    rows = [[(7 * i + 3 * j) % 40 for j in range(6)] for i in range(12)]
    rows = [{"clean": r, "corrupted": [*r[:2], 39, *r[3:]], "correct": [r[0]], "incorrect": [r[1]]} for r in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = [{"method": "eap-ig-inputs", "edges": 30}, {"method": "acdc", "threshold": 0.01}]
    return make_jobs({"model": "m", "task": "rows.jsonl", "threads": 1, "batch-size": 3}, given, tmp_path)


def test_workers_of_a_pool_share(started, jobs):
    """By the name under which a pool has its mailbox."""
    mailbox = started.remote(Mailbox).options(name=MAILBOX, num_cpus=0).remote()
    workers = [started.remote(Worker).remote(2) for _ in range(2)]
    started.get([worker.load.remote(jobs[0]) for worker in workers])
    key = f"{load_model(jobs[0].model).content_hash} {torch.float32}"
    (node,) = started.nodes()
    (reference,) = started.get(mailbox.find_weights.remote(node["NodeID"], key))
    assert "model.embed_tokens.weight" in started.get(reference)


def test_files_of_jobs_are_the_same(jobs, tmp_path):
    """By workers that hold the weights together, two at one job, and by one process that has read them itself."""
    run_jobs(jobs, tmp_path / "here", InProcess(), Watching())
    ended = run_jobs(jobs, tmp_path / "there", RayPool(3, 0, None, 1), Watching())
    assert [(job.status, job.error) for job in ended] == [(Status.done, None)] * 2
    assert artefacts(tmp_path / "there") == artefacts(tmp_path / "here") and artefacts(tmp_path / "here")
