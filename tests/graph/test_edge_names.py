"""Names, edges and positions that are made when asked for, against plain lists of all of them."""

import tracemalloc

import numpy as np
import pytest

from acdc.graph import ATTENTION_SLOTS, Anatomy, ComponentGraph, Edge, WriterKind


def anatomy(layers=3, heads=4, kv=2, **more) -> Anatomy:
    return Anatomy(layers, heads, kv, d_model=16, d_head=4, d_vocab=40, d_vocab_out=40, n_ctx=32, **more)


GRAPHS = {
    "plain": ComponentGraph(anatomy(kv=4)),
    "grouped": ComponentGraph(anatomy()),
    "parallel": ComponentGraph(anatomy(parallel=True)),
    "attention only": ComponentGraph(anatomy(attn_only=True)),
    "split": ComponentGraph(anatomy(learned_positions=True), split_embeddings=True),
    "wires": ComponentGraph(anatomy(), direct_edges=True),
}


def spelled_out(graph: ComponentGraph) -> list[str]:
    """All ids in order, from what a slot can read: all earlier layers' writers, for an MLP also its layer's heads."""
    shape, names = graph.anatomy, []

    def before(layer: int, own_heads: bool) -> list[str]:
        found = ["tok_embed", "pos_embed"] if graph.split_embeddings else ["input"]
        for earlier in range(layer):
            found += [f"a{earlier}.h{head}" for head in range(shape.n_heads)]
            found += [] if shape.attn_only else [f"m{earlier}"]
        return found + [f"a{layer}.h{head}" for head in range(shape.n_heads)] * own_heads

    for layer in range(shape.n_layers):
        for kind in "qkv":
            shared = shape.grouped and kind != "q"
            slots = [f"kv{h}" for h in range(shape.n_kv_heads)] if shared else [f"h{h}" for h in range(shape.n_heads)]
            names += [f"{sender}->a{layer}.{slot}<{kind}>" for slot in slots for sender in before(layer, False)]
        if not shape.attn_only:
            names += [f"{sender}->m{layer}" for sender in before(layer, not shape.parallel)]
    names += [f"{sender}->logits" for sender in before(shape.n_layers, False)]
    for layer in range(shape.n_layers) if graph.direct_edges else ():
        for kind in "qkv":
            shared = shape.grouped and kind != "q"
            for head in range(shape.n_heads):
                slot = f"kv{head // shape.group_size}" if shared else f"h{head}"
                names.append(f"a{layer}.{slot}<{kind}>->a{layer}.h{head}")
    return names


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_names_by_position_and_positions_by_name(graph):
    names = spelled_out(graph)
    assert list(graph.names) == names and len(graph.names) == graph.n_edges == len(names)
    assert [graph.names[i] for i in range(len(names))] == names
    assert [graph.names[i] for i in np.arange(-len(names), 0)] == names
    assert graph.names[3:40:3] == tuple(names[3:40:3]) and graph.names[-5:] == tuple(names[-5:])
    assert [graph.index[name] for name in names] == list(range(len(names)))
    assert list(graph.index) == names and dict(graph.index.items()) == {name: i for i, name in enumerate(names)}
    with pytest.raises(IndexError):
        graph.names[len(names)]


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_edges_and_their_ends(graph):
    edges = [Edge.parse(name) for name in spelled_out(graph)[: len(graph.edges)]]
    assert list(graph.edges) == edges == [graph.edges[i] for i in range(len(edges))]
    assert len(graph.edges) + len(graph.within_heads) == graph.n_edges
    writers, readers = graph.ends
    assert [graph.writers[w] for w in writers] == [edge.writer for edge in edges]
    assert [graph.readers[r] for r in readers] == [edge.reader for edge in edges]


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_what_is_no_edge_of_a_graph_has_no_position(graph):
    """Ends that exist and are not joined, other spellings of an edge, and no edge at all."""
    names = set(spelled_out(graph))
    ends = {*(w.id for w in graph.writers), *(r.id for r in graph.readers), "", "a9.h0", "a0.h9<q>"}
    tried = {f"{left}->{right}" for left in ends for right in ends}
    tried |= {"", "->", "input", "a00.h1->logits", "a٠.h1->logits", " a0.h1->logits", "a0.h1->logits->logits"}
    assert {name for name in tried if name in graph.index} == names
    assert {name for name in tried if name in graph.names} == names
    with pytest.raises(KeyError):
        graph.index["m9->logits"]


def test_graphs_with_the_same_edges_have_equal_names():
    again = ComponentGraph(anatomy(), direct_edges=True)
    assert again.names == GRAPHS["wires"].names and again.names != GRAPHS["grouped"].names
    different = [a.names == b.names for a in GRAPHS.values() for b in GRAPHS.values() if a is not b]
    assert not any(different)
    assert again.index == GRAPHS["wires"].index
    assert dict.fromkeys(spelled_out(again)).keys() == again.index.keys() != GRAPHS["grouped"].index.keys()


def test_wires_follow_the_edges():
    graph = GRAPHS["wires"]
    for inner in graph.within_heads:
        assert inner.reader.kind in ATTENTION_SLOTS and inner.owner.kind is WriterKind.HEAD
        place = graph.within_head_start(inner.owner.layer, inner.reader.kind) + inner.owner.head
        assert graph.index[inner.id] == place and graph.names[place] == inner.id


def test_an_edge_takes_a_few_bytes():
    """Not its name, not an object, not a dictionary's entry: two numbers of four bytes, and what grows with the
    components and not with the edges."""
    shape = Anatomy(32, 32, 8, d_model=4096, d_head=128, d_vocab=128_256, d_vocab_out=128_256, n_ctx=8192)
    tracemalloc.start()
    try:
        graph = ComponentGraph(shape)
        edges, names, index, ends = graph.edges, graph.names, graph.index, graph.ends
        assert edges[-1].id == names[-1] and index[names[-1]] == graph.n_edges - 1 == len(ends[0]) - 1
        assert names[1000:1003] == graph.names[1000:1003]
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert graph.n_edges == 805_681
    assert kept < 12 * graph.n_edges and peak < 20 * graph.n_edges
