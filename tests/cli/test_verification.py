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
