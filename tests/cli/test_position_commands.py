"""Circuits at positions as users find, verify, show and compare them."""

import json

import pytest

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError

FIND = ("discover", "--task", "ioi", "--level", "positions", "--limit", "4", "--verify", "quick")


def test_a_circuit_at_spans(acdc, tmp_path):
    found = acdc(*FIND, "--method", "peap", "--edges", "39", "--out", "a")
    assert found.code == 0 and "39 of 8,481 positional edges" in found.out
    circuit = Circuit.load(tmp_path / "a")
    assert circuit.size == len(circuit.positions) == 39 and circuit.spans.names[-1] == "end"
    assert {edge.id for edge in circuit.edges} == {edge.id for edge in circuit.effective}
    scores = json.loads((tmp_path / "a/scores.json").read_text())["positions"]
    assert len(scores) == 8481 and all(scores[edge.id] == edge.score for edge in circuit.positions)
    page = (tmp_path / "a/report.html").read_text()
    assert ">By position<" in page and "input@S1-" in page
    shown = acdc("show", "a")
    assert shown.code == 0 and "positional edge " in shown.out
    assert acdc(*FIND, "--method", "peap", "--edges", "39", "--out", "a").code == 0  # there already

    assert acdc(*FIND, "--method", "eap", "--edges", "30", "--out", "b").code == 0
    compared = acdc("diff", "a", "b", "--json").json
    assert compared["edges"]["first"] + compared["edges"]["both"] == 39
    cannot = "cannot hold a circuit of positions, which keeps parts of what edges carry"
    for words, told in (
        (("export", "a", "--format", "eap-ig", "--out", "a.json"), cannot),
        (("export", "a", "--format", "edge-pruning", "--out", "a.json"), cannot),
        (("verify", "a", "--rivals", "1"), "needs a circuit of edges, not of positions"),
    ):
        refused = acdc(*words)
        assert refused.code == 2 and told in refused.err

    small = acdc("minimise", "a", "--out", "small", "--json")
    assert small.code == 0 and 0 < Circuit.load(tmp_path / "small").size < 39
    left = {edge.id: edge.score for edge in Circuit.load(tmp_path / "small").positions}
    assert left.items() <= {edge.id: edge.score for edge in circuit.positions}.items()
    assert Circuit.load(tmp_path / "small").method.selection["minimised_from"] == 39

    record = json.loads((tmp_path / "b/circuit.json").read_text())
    for name, damage, told in (
        ("spans", None, "no spans"),
        ("positions", record["positions"][1:], "positional edges"),
        ("spans", record["spans"] | {"names": ["rest"]}, "span"),
    ):
        (tmp_path / "damaged.json").write_text(json.dumps(record | {name: damage}))
        with pytest.raises(InputError, match=f"is damaged: .*{told}"):
            Circuit.load(tmp_path / "damaged.json")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--method", "hisp"), "--level positions works only with"),
        (("--method", "eap", "--choose", "greedy"), "works only with methods that score edges"),
        (("--direct-edges",), "--direct-edges works only with --level edges"),
    ],
)
def test_what_positions_do_not_go_with_is_refused(acdc, words, told):
    refused = acdc("discover", "--task", "ioi", "--level", "positions", "--limit", "2", *words)
    assert refused.code == 2 and told in " ".join(refused.err.split())


def test_rows_of_several_lengths_without_spans_are_refused(acdc, tmp_path):
    rows = [{"clean": [1, 2, 3], "corrupted": [1, 4, 3], "correct": [5]}]
    rows.append({"clean": [1, 2, 3, 3], "corrupted": [1, 4, 3, 3], "correct": [5]})
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = acdc("discover", "--task", "t.jsonl", "--level", "positions", "--method", "eap", "--metric", "nll")
    assert refused.code == 2 and "need rows of one length, or spans" in refused.err
