"""The commands that look closer at circuits, as a user runs them."""

import json

import pytest

from acdc.circuit.circuit import Circuit

FOUND = ("discover", "--task", "induction", "--method", "eap", "--limit", "64")


@pytest.fixture
def run(acdc, tmp_path):
    assert acdc(*FOUND, "--edges", 40, "--out", "found").code == 0
    return tmp_path / "found"


def test_verify_minimise_and_diff(acdc, run, tmp_path):
    told = acdc("verify", "found", "--stability", 6)
    assert told.code == 0, told.err
    for words in (
        "recovers",
        "completeness",
        "minimality",
        "sufficiency",
        "speaks",
        "generalisation",
        "stability: 6",
        "CMD",
    ):
        assert words in told.out, words
    report = json.loads((run / "verification.json").read_text())
    assert report["rows"] == 64 and len(report["audit"]["tests"]) == 6
    assert report["stability"]["rows_each"] == 16
    again = acdc("verify", "found", "--json").json["verification"]
    assert again["audit"] == report["audit"]
    small = acdc("minimise", "found", "--out", "small", "--json")
    assert small.code == 0, small.err
    circuit, whole = Circuit.load(tmp_path / "small"), Circuit.load(run)
    assert {edge.id for edge in circuit.edges} < {edge.id for edge in whole.edges}
    assert circuit.method.selection["minimised_from"] == len(whole.edges)
    assert acdc("minimise", "found", "--out", "small", "--json").json["edges"] == len(circuit.edges)
    assert json.loads((tmp_path / "small/run.json").read_text())["kind"] == "minimise"
    found = acdc("diff", "found", "small", "--json").json
    assert found["edges"]["second"] == 0 and found["edges"]["both"] == circuit.edges_effective
    assert found["correlation"] == pytest.approx(1.0)
    assert found["faithfulness"]["union"] == found["faithfulness"]["first"]
    assert "in both" in acdc("diff", "found", "small").out


def test_circuits_of_different_models_are_compared_by_roles(acdc, run, tmp_path):
    """The bundled model against the trained induction model, whose roles are known."""
    from acdc.benchmark.trained import FOLDERS
    from acdc.benchmark.trained_cases import TrainedCase

    TrainedCase("induction").pose(tmp_path / "posed", "cpu", None)
    words = ("--model", FOLDERS["induction"], "--task", tmp_path / "posed/task.jsonl", "--metric", "kl")
    assert acdc("discover", *words, "--limit", 24, "--out", "known").code == 0
    refused = acdc("diff", "found", "known")
    assert refused.code == 2 and "acdc verify" in refused.err
    assert acdc("verify", "found").code == acdc("verify", "known").code == 0
    found = acdc("diff", "found", "known", "--json").json
    assert found["components"]["attends mostly: previous"][1] == ["a0.h0"]
    assert found["components"]["attends mostly: induction"][1] == ["a1.h0"]
    assert "roles in both" in acdc("diff", "found", "known").out


@pytest.mark.slow
def test_workers_find_the_same(acdc, run):
    pytest.importorskip("ray")
    assert acdc("verify", "found").code == 0
    alone = (run / "verification.json").read_bytes()
    assert acdc("verify", "found", "--workers", 2).code == 0
    assert (run / "verification.json").read_bytes() == alone


def test_what_cannot_be_compared(acdc, run):
    assert acdc("discover", "--method", "random", "--edges", 9, "--out", "other").code == 0
    outcome = acdc("diff", "found", "other")
    assert outcome.code == 2 and "other rows" in outcome.err
    assert acdc("minimise", "nowhere").code == 2
    assert acdc("verify", "found", "--stability", 1).code == 2
    nodes = ("--level", "nodes", "--edges", 60, "--out", "nodes")
    assert acdc(*FOUND, *nodes).code == 0
    outcome = acdc("minimise", "nodes")
    assert outcome.code == 2 and "circuits of edges" in outcome.err
