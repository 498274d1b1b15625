"""What is said of circuits that are empty or smaller than was asked for."""

import pytest

import acdc
from acdc.errors import AcdcWarning
from acdc.options import Level
from acdc.render.size import size_notes
from acdc.render.verdict import between
from acdc.search.discover import discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.verification.verify import verify


def search(trio, induction, method="acdc", **settings):
    return discover(trio, induction, DiscoverySettings(METHODS.find(method), limit=16, **settings))


def found(trio, induction, **settings):
    return search(trio, induction, **settings).circuit


def test_a_threshold_above_all_scores_is_said(trio, induction):
    circuit = found(trio, induction, method="eap", threshold=1e6)
    scores = search(trio, induction, method="eap", edges=5).scores
    (note,) = size_notes(circuit)
    assert note == (
        "The circuit is empty. No edge has a |score| of 1e+06 or more; the largest is "
        f"{max(map(abs, scores.values())):.4g}. Try a smaller --threshold."
    )


def test_what_acdc_removed_is_said(trio, induction):
    (note,) = size_notes(found(trio, induction, threshold=1e6))
    assert note.startswith(
        "The circuit is empty. No removal of an edge raised neg_logit_diff by the threshold of 1e+06"
    )
    (note,) = size_notes(found(trio, induction, threshold=1e6, level=Level.nodes))
    assert "No removal of a node" in note


def test_edges_on_no_path_are_said(trio, induction):
    """The strongest edges of all are none into the logits."""
    circuit = found(trio, induction, method="eap", edges=1)
    (note,) = size_notes(circuit)
    kept = int(circuit.method.selection["selected"])
    assert circuit.size == 0 and kept > 0
    assert note.startswith(
        f"The circuit is empty. Pruning removed all: the {kept} edges that the method kept were on no path"
    )
    assert "--edges" in note and "--choose greedy" in note


def test_an_empty_circuit_is_not_compared_with_random_ones(trio, induction):
    circuit = found(trio, induction, method="eap", threshold=1e6)
    report = verify(trio, induction, circuit)
    assert report.complete and report.random is None and report.faithfulness == pytest.approx(0.0)
    assert report.covers(report.scope)


def test_fewer_edges_than_asked_for_are_said_with_the_reason(trio, induction):
    fewer = 0
    for asked in range(20, 40):
        circuit = found(trio, induction, method="eap", edges=asked)
        size, expected = circuit.edges_effective, []
        if size < asked:
            why = f"the next edge of the ranking completes paths that make it more than {asked}"
            expected = [f"{size} edges instead of the {asked} asked for: {why}."]
        assert size_notes(circuit) == expected
        fewer += size < asked
    assert fewer


def test_edges_without_an_effect_are_not_chosen(trio, induction):
    """What the input writes at the answer is the same in both prompts: no such edge has an effect."""
    result = search(trio, induction, method="exact", edges=479)
    zero = {name for name, score in result.scores.items() if score == 0}
    circuit = result.circuit
    assert "input->logits" in zero and not zero & {edge.id for edge in circuit.edges}
    (note,) = size_notes(circuit)
    assert note.startswith(
        f"{circuit.edges_effective} edges instead of the 479 asked for: no other edge has a score other"
    )
    assert note.endswith("and a score of 0 is never chosen.") and circuit.method.selection["scored_zero"] == len(zero)
    with pytest.warns(AcdcWarning, match="instead of the 479 asked for"):
        acdc.discover(trio, induction, method="exact", edges=479, limit=16)


def test_ends_that_are_shown_alike_are_one():
    assert between([0.0, 0.0001]) == "0.0%" and between([0.1, 0.25, 0.2]) == "10.0% to 25.0%"
