"""Rivals of circuits whose replacements are known: programs with parts that do the same."""

import json
from pathlib import Path

import pytest

from acdc.artefacts.circuit import Circuit
from acdc.benchmark.compiled import CompiledCase
from acdc.errors import InputError
from acdc.model.load import load_model
from acdc.progress import silent
from acdc.runs.rivals import check_rivals, rival_circuits
from acdc.task.load import load_task

FOUND = ("--dtype", "float64", "--split-embeddings", "--verify", "none", "--limit", 12)


def rivals(acdc, program, count, *how):
    """Of a compiled program's circuit, found by a method: (the circuit's edges, its rivals)."""
    CompiledCase("suite", program).prepare(Path("case"), "cpu", None)
    inputs = ("--model", "case/plain", "--task", "case/task.jsonl")
    assert acdc("discover", *inputs, *FOUND, *how, "--out", "run").code == 0
    path = Path("run")
    record, circuit = check_rivals(path, count)
    model = load_model("case/plain", dtype="float64")
    found = rival_circuits(path, record, circuit, model, load_task("case/task.jsonl", model), count, silent)
    return {edge.id for edge in circuit.effective}, found


@pytest.mark.parametrize("how", [(), ("--polish",)], ids=str)
def test_the_other_branch_of_an_or_is_a_rival(acdc, how):
    """ACDC keeps one of two heads. The other does as well: the two circuits share what comes after both alone."""
    own, found = rivals(acdc, "or-gate", 2, *how)
    assert own in [{f"tok_embed->a0.h{head}<v>", f"a0.h{head}->m0", "m0->logits"} for head in (0, 1)]
    for rival in found.each:
        assert (rival.edges, rival.shared, rival.reaches) == (3, 1, True) and rival.jaccard == pytest.approx(1 / 5)
        assert rival.discovery == pytest.approx(1.0) and rival.faithfulness.value == pytest.approx(1.0)
    assert found.whole and found.rows == len(Circuit.load("run").task.verification)


def test_two_of_three_copies_have_rivals_that_share_one(acdc):
    """Any two of three heads are enough, so that one of two can be replaced, and one cannot."""
    own, found = rivals(acdc, "majority", 3)
    assert len(own) == 5
    assert {(rival.edges, rival.shared, rival.reaches) for rival in found.each} == {(5, 3, True)}


def test_where_nothing_can_be_replaced_the_rival_is_the_circuit(acdc):
    for number, program in enumerate(("and-gate", "two-back")):
        Path(f"{number}").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(f"{number}")
            own, found = rivals(acdc, program, 2)
        assert {(rival.excluded, rival.edges, rival.shared) for rival in found.each} == {(0, len(own), len(own))}
        assert all(rival.jaccard == 1.0 for rival in found.each)


def test_rivals_by_scores_are_as_large_as_it_takes(acdc):
    """As many edges of those that are left, in the order of the run's scores, as reach the target."""
    own, found = rivals(acdc, "majority", 1, "--method", "eap-ig-inputs", "--faithfulness", 0.99)
    (rival,) = found.each
    assert (len(own), rival.excluded, rival.edges, rival.shared, rival.reaches) == (5, 2, 5, 3, True)
    assert rival.jaccard == pytest.approx(3 / 7)


def test_what_has_no_rivals_is_refused(acdc):
    CompiledCase("suite", "or-gate").prepare(Path("case"), "cpu", None)
    inputs = ("--model", "case/plain", "--task", "case/task.jsonl")
    acdc("discover", *inputs, *FOUND, "--out", "run")
    with pytest.raises(InputError, match="--rivals 0 must be at least 1"):
        check_rivals(Path("run"), 0)
    acdc("discover", *inputs, *FOUND, "--method", "hybrid", "--out", "hybrid")
    with pytest.raises(InputError, match="--rivals works with acdc and with methods that score edges, not with hybrid"):
        check_rivals(Path("hybrid"), 1)
    acdc("discover", *inputs, *FOUND, "--level", "nodes", "--out", "nodes")
    with pytest.raises(InputError, match="it needs a circuit of edges, not of nodes"):
        check_rivals(Path("nodes"), 1)
    record = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps(record | {"kind": "minimise"}))
    with pytest.raises(InputError, match="--rivals repeats a discovery"):
        check_rivals(Path("run"), 1)
