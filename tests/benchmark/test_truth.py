"""What the circuit of a compiled model is, against loops over its edges; published circuits by their counts."""

from itertools import combinations

import numpy as np
import pytest

from acdc.behaviour.behaviour import Behaviour
from acdc.benchmark.compiled import CompiledCase
from acdc.benchmark.published import PUBLISHED
from acdc.benchmark.truth import CHANGE, CHANGED, changes
from acdc.graph import Anatomy, ComponentGraph

GPT2 = Anatomy(12, 12, 12, 768, 64, 50257, 50257, 1024, learned_positions=True)
ATTENTION_ONLY = Anatomy(4, 8, 8, 512, 64, 48262, 48262, 1024, attn_only=True, learned_positions=True)


def prepare(tmp_path, name):
    prepared = CompiledCase("test", name).prepare(tmp_path, "cpu", None)
    return prepared, Behaviour(
        prepared.model, prepared.task, range(len(prepared.task.rows)), CHANGED, split_embeddings=True
    )


def ablate(behaviour, edges):
    return changes(behaviour, behaviour.graph.mask(edges)[None])[0] > CHANGE


@pytest.mark.parametrize(("name", "redundant"), [("and-gate", False), ("or-gate", True), ("and-gate-off", True)])
def test_the_truth_is_that_of_all_small_sets(tmp_path, name, redundant):
    """Every edge is in it that is in a set of at most two, no part of which changes anything alone, and no other."""
    prepared, behaviour = prepare(tmp_path, name)
    truth, names = prepared.truths["resample"], behaviour.graph.names
    single = {edge for edge in names if ablate(behaviour, [edge])}
    pairs = (pair for pair in combinations(sorted(set(names) - single), 2) if ablate(behaviour, pair))
    expected = single | ({edge for pair in pairs for edge in pair} if redundant else set())
    assert truth.redundant is redundant and truth.complete
    assert truth.edges == expected
    assert ablate(behaviour, set(names) - single) is np.bool_(redundant)


def test_no_copy_is_needed_and_all_are_true(tmp_path):
    prepared, behaviour = prepare(tmp_path, "majority")
    truth = prepared.truths["resample"]
    copies = {f"a0.h{head}->m0" for head in range(3)} | {f"tok_embed->a0.h{head}<v>" for head in range(3)}
    assert truth.redundant and truth.edges == copies | {"m0->logits"}
    assert not any(ablate(behaviour, [edge]) for edge in copies)


def test_the_truth_depends_on_the_ablation(tmp_path):
    """Positions carry nothing under resample ablation, as they are alike, and something under zero ablation."""
    prepared = CompiledCase("test", "induction", ablations=("resample", "zero")).prepare(tmp_path, "cpu", None)
    resample, zero = (prepared.truths[name].edges for name in ("resample", "zero"))
    assert zero - resample == {"pos_embed->a0.h0<q>", "pos_embed->a0.h0<k>"}
    assert resample <= zero


@pytest.mark.parametrize(
    ("name", "layers", "edges"),
    [("xproportion-zero", 2, 7), ("xproportion-resample", 2, 3), ("reverse-zero", 4, 11), ("reverse-resample", 4, 2)],
)
def test_circuits_of_tracr_have_their_edges(name, layers, edges):
    known = PUBLISHED[f"tracr-{name}"]
    graph = ComponentGraph(Anatomy(layers, 1, 1, 16, 8, 9, 9, 9, learned_positions=True), known.split_embeddings)
    assert graph.mask(known.edges(graph)).sum() == len(known.edges(graph)) == edges
    assert graph.prune(graph.mask(known.edges(graph))).sum() == edges


@pytest.mark.parametrize(
    ("name", "anatomy", "edges", "with_inner"),
    [("ioi", GPT2, 963, 1041), ("greater-than", GPT2, 235, 262), ("docstring", ATTENTION_ONLY, 24, 37)],
)
def test_published_circuits_have_their_edges(name, anatomy, edges, with_inner):
    graph = ComponentGraph(anatomy, direct_edges=True)
    found = PUBLISHED[name].edges(graph)
    slots = {edge.partition("->")[2] for edge in found}
    assert len(found) == graph.mask(found).sum() == edges
    assert edges + sum(inner.reader.id in slots for inner in graph.within_heads) == with_inner
    assert (
        graph.prune(graph.mask(found) | graph.mask(w.id for w in graph.within_heads))[: len(graph.edges)].sum()
    ) == edges
