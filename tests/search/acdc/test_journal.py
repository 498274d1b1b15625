"""A search that was cut off goes on in the middle and ends with the same bytes."""

import json
import random
from pathlib import Path

import pytest

from acdc.errors import DiskError
from acdc.model.load import load_model
from acdc.options import Level
from acdc.search.acdc.journal import Journal
from acdc.search.discover import discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.load import load_task

DEPENDS_ON = {"inputs": "these"}


@pytest.fixture(scope="module")
def trio32():
    return load_model("trio")


def run(model, settings, path, task="ioi"):
    with Journal(path, DEPENDS_ON) as journal:
        result = discover(model, load_task(task, model), settings, journal=journal)
    return result.circuit.model_dump_json(), result.decisions, result.work.evaluations


@pytest.mark.parametrize(
    "options",
    [
        {"method": "acdc"},
        pytest.param({"method": "acdc", "level": Level.nodes}, marks=pytest.mark.thorough),
        pytest.param({"method": "acdc", "direct_edges": True}, marks=pytest.mark.thorough),
        pytest.param({"method": "hybrid"}, marks=pytest.mark.thorough),
        {"method": "acdc", "options": {"polish": True}},
    ],
    ids=["acdc", "nodes", "direct-edges", "hybrid", "polish"],
)
def test_a_journal_cut_anywhere_leads_to_the_same_result(trio32, tmp_path, options):
    options = options | {"method": METHODS.find(options["method"])}
    settings = DiscoverySettings(metric="kl", threshold=0.01, limit=6, **options)
    path = tmp_path / "trials.jsonl"
    circuit, decisions, work = run(trio32, settings, path)
    whole = path.read_bytes()
    drawn = random.Random(0)
    for share in (0.1, 0.5, 0.9, 1.0):
        path.write_bytes(whole[: int(share * len(whole)) - drawn.randrange(3)])
        again, same_decisions, less = run(trio32, settings, path)
        assert (again, same_decisions) == (circuit, decisions)
        assert less < work or share < 0.5  # little is left of a short journal
        assert path.read_bytes() == whole


@pytest.mark.parametrize(("task", "limit", "threshold"), [("induction", 16, 0.001), ("ioi", 24, 0.0002)])
def test_numbers_do_not_depend_on_which_trials_were_made(trio32, tmp_path, task, limit, threshold):
    """Those of an earlier attempt are not made again, so that what they would leave behind is not there."""
    settings = DiscoverySettings(metric="kl", threshold=threshold, limit=limit)
    path = tmp_path / "trials.jsonl"
    circuit, decisions, _ = run(trio32, settings, path, task)
    lines = path.read_bytes().splitlines(keepends=True)
    for missing in (1, 4, 7):
        path.write_bytes(b"".join(lines[:-missing]))
        assert run(trio32, settings, path, task)[:2] == (circuit, decisions), missing


@pytest.mark.parametrize("screen", [0.0, 0.5])
def test_less_memory_than_before_changes_nothing(trio32, tmp_path, monkeypatch, screen):
    """Passes are narrower then than those that are recorded."""
    settings = DiscoverySettings(metric="kl", threshold=0.01, limit=6, options={"screen": screen})
    path = tmp_path / "trials.jsonl"
    _, decisions, _ = run(trio32, settings, path)
    whole = path.read_bytes()
    assert max(len(line.split(b",")) for line in whole.splitlines()) > 2
    monkeypatch.setattr("acdc.search.acdc.increments.room", lambda model: 1.0)
    assert run(trio32, settings, path)[1] == decisions and path.read_bytes() == whole


def test_a_journal_of_other_inputs_counts_for_nothing(tmp_path):
    path = tmp_path / "trials.jsonl"
    with Journal(path, {"inputs": "others"}) as journal:
        journal.add([1.0])
    with Journal(path, DEPENDS_ON) as journal:
        assert journal.recorded() is None
        journal.add([2.0, 3.0])
    with Journal(path, DEPENDS_ON) as journal:
        assert journal.recorded() == [2.0, 3.0]
        assert journal.recorded() is None


@pytest.mark.parametrize("line", [b"[1.0", b"not JSON\n", b"[true]\n", b"{}\n", b"[]\n", b"[1.0, null]\n"])
def test_what_is_no_trial_ends_what_is_taken_from_a_journal(tmp_path, line):
    path = tmp_path / "trials.jsonl"
    path.write_bytes(json.dumps(DEPENDS_ON).encode() + b"\n[1.0]\n" + line + b"[9.0]\n")
    with Journal(path, DEPENDS_ON) as journal:
        assert journal.recorded() == [1.0]
        assert journal.recorded() is None
        journal.add([2.0])
    assert path.read_bytes().endswith(b"\n[1.0]\n[2.0]\n")


def test_a_disk_that_refuses_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(DiskError), Journal(tmp_path / "trials.jsonl", DEPENDS_ON) as journal:
        journal._file.close()
        journal._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
        journal.add([1.0])


def test_a_journal_cut_at_any_byte_keeps_its_whole_trials(tmp_path):
    path, tester = tmp_path / "trials.jsonl", [[1.5], [2.25, -3.0], [float("inf"), 4e-300]]
    with Journal(path, DEPENDS_ON) as journal:
        for testing in tester:
            journal.add(testing)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Journal(path, DEPENDS_ON) as journal:
            kept = list(iter(journal.recorded, None))
            assert kept == tester[: max(0, whole[:length].count(b"\n") - 1)]
            for testing in tester[len(kept) :]:
                journal.add(testing)
        assert path.read_bytes() == whole
