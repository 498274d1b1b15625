"""Where parts stand in for each other, ACDC finds enough of them, and its complete variant all of them."""

import pytest

from acdc.benchmark.compiled import CompiledCase
from acdc.search.discover import discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings

TAU = 0.01


def circuit(prepared, method):
    settings = DiscoverySettings(
        METHODS[method], metric="kl", threshold=TAU, limit=len(prepared.task.rows), split_embeddings=True
    )
    return {edge.id for edge in discover(prepared.model, prepared.task, settings).circuit.effective}


@pytest.mark.parametrize("name", ["or-gate", "and-gate-off", "majority"])
def test_it_finds_what_acdc_leaves_out(tmp_path, name):
    prepared = CompiledCase("test", name).prepare(tmp_path, "cpu", None)
    truth = prepared.truths["resample"].edges
    assert circuit(prepared, "acdc") < truth
    assert circuit(prepared, "acdc-complete") == truth


@pytest.mark.parametrize("name", ["and-gate", "induction", "miniature-ioi"])
def test_without_redundancy_it_is_acdc(tmp_path, name):
    prepared = CompiledCase("test", name).prepare(tmp_path, "cpu", None)
    assert circuit(prepared, "acdc-complete") == circuit(prepared, "acdc") == prepared.truths["resample"].edges


def test_tests_of_all_rounds_are_told(tmp_path):
    """An edge that an early round removed and a later one kept is in the circuit, with the change of that test."""
    prepared = CompiledCase("test", "or-gate").prepare(tmp_path, "cpu", None)
    settings = DiscoverySettings(METHODS["acdc-complete"], metric="kl", threshold=TAU, limit=16, split_embeddings=True)
    result = discover(prepared.model, prepared.task, settings)
    kept = {test.candidate for test in result.decisions if test.kept}
    scores = {edge.id: edge.score for edge in result.circuit.edges}
    assert kept == set(scores) and all(score >= TAU for score in scores.values())
    assert len(result.decisions) > result.circuit.edges_total
    assert result.circuit.method.selection["objective"] == pytest.approx(0.0, abs=1e-9)
