"""Counts, ids and pruning of the graph, against closed formulae and networkx."""

import networkx as nx
import numpy as np
import pytest

from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph, Edge


def anatomy(layers=2, heads=4, kv=4, **more) -> Anatomy:
    return Anatomy(
        n_layers=layers,
        n_heads=heads,
        n_kv_heads=kv,
        d_model=16,
        d_head=4,
        d_vocab=40,
        d_vocab_out=40,
        n_ctx=32,
        **more,
    )


@pytest.mark.parametrize(
    ("shape", "edges"),
    [
        (anatomy(12, 12, 12), 32_491),  # GPT-2 small, as published
        (anatomy(5, 8, 4), 1_701),  # stories260k
        (anatomy(2, 4, 4, attn_only=True), 81),
        (anatomy(2, 4, 4), 110),
        (anatomy(2, 4, 4, parallel=True), 110 - 2 * 4),
    ],
)
def test_counts(shape, edges):
    graph = ComponentGraph(shape)
    assert graph.n_edges == len(graph.edges) == len({edge.id for edge in graph.edges}) == edges


def test_split_embeddings_add_one_edge_per_slot():
    shape = anatomy(learned_positions=True)
    assert ComponentGraph(shape, split_embeddings=True).n_edges == 110 + (2 * 12 + 2 + 1)
    with pytest.raises(InputError, match="learned position"):
        ComponentGraph(anatomy(), split_embeddings=True)


@pytest.mark.parametrize("shape", [anatomy(), anatomy(kv=2), anatomy(learned_positions=True)])
def test_ids_survive_parsing(shape):
    graph = ComponentGraph(shape, split_embeddings=shape.learned_positions)
    assert all(Edge.parse(edge.id) == edge for edge in graph.edges)


def test_ids_of_the_contract():
    grouped = ComponentGraph(anatomy(5, 8, 4)).index
    assert {"input->a0.h0<q>", "a3.h2->m4", "a1.h5->a2.kv1<v>", "m4->logits"} <= set(grouped)
    assert "a1.h5->a2.h1<v>" not in grouped
    assert not any(".kv" in name for name in ComponentGraph(anatomy()).index)


@pytest.mark.parametrize(
    "text", ["", "->", "input", "a1.h2->", "a1.h2->a2.h3<z>", "m1->a0.kv1<q>", "a1.h2 ->m3", "x->m1"]
)
def test_a_string_that_is_no_edge_is_refused(text):
    with pytest.raises(InputError, match="not an edge id"):
        Edge.parse(text)


def test_an_edge_of_another_model_is_refused():
    with pytest.raises(InputError, match="does not exist"):
        ComponentGraph(anatomy()).mask(["m7->logits"])


def test_edges_follow_the_residual_stream():
    """A writer is read only later: never by its own slot's layer, except an MLP reading its layer's heads."""
    for shape in (anatomy(), anatomy(parallel=True)):
        for edge in ComponentGraph(shape).edges:
            if edge.reader.id == "logits":
                continue
            same_layer = edge.writer.layer == edge.reader.layer
            assert edge.writer.layer <= edge.reader.layer
            assert not same_layer or (edge.writer.kind == "head" and edge.reader.kind == "mlp" and not shape.parallel)


@pytest.mark.parametrize("shape", [anatomy(), anatomy(kv=2), anatomy(parallel=True), anatomy(attn_only=True)])
def test_networkx_is_the_same_graph(shape):
    graph = ComponentGraph(shape)
    digraph = graph.to_networkx()
    candidates = {f"{u}->{v}" for u, v, wiring in digraph.edges(data="wiring") if not wiring}
    assert nx.is_directed_acyclic_graph(digraph)
    assert candidates == set(graph.index)


@pytest.mark.parametrize("shape", [anatomy(3), anatomy(3, kv=2), anatomy(3, parallel=True)])
@pytest.mark.parametrize("seed", range(5))
def test_pruning_keeps_what_lies_on_a_path_from_input_to_logits(shape, seed):
    """The fixpoint is the set of kept edges on a path from the input to the logits, wiring included."""
    graph = ComponentGraph(shape)
    kept = np.random.default_rng(seed).random(graph.n_edges) < 0.12
    digraph = graph.to_networkx()
    digraph.remove_edges_from([(e.writer.id, e.reader.id) for e, k in zip(graph.edges, kept, strict=True) if not k])
    from_input = nx.descendants(digraph, "input") | {"input"}
    to_logits = nx.ancestors(digraph, "logits") | {"logits"}
    expected = {
        edge.id
        for edge, k in zip(graph.edges, kept, strict=True)
        if k and edge.writer.id in from_input and edge.reader.id in to_logits
    }
    assert set(graph.ids(graph.prune(kept))) == expected


def test_pruning_nothing_and_everything():
    graph = ComponentGraph(anatomy())
    assert graph.prune(np.ones(graph.n_edges, dtype=bool)).all()
    assert not graph.prune(np.zeros(graph.n_edges, dtype=bool)).any()
