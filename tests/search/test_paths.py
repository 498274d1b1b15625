"""Whole paths from the input to the logits, against all paths written out."""

from collections.abc import Iterator

import numpy as np
import pytest

from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph
from acdc.graph.units import EdgeUnits
from acdc.options import Choosing
from acdc.search.choosing import Ranking
from acdc.search.paths import by_paths


def graph(**shape) -> ComponentGraph:
    sizes = {"n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "d_model": 16, "d_head": 4}
    return ComponentGraph(Anatomy(**(sizes | shape), d_vocab=40, d_vocab_out=40, n_ctx=32))


GRAPHS = {
    "plain": graph(),
    "grouped": graph(n_heads=4),
    "parallel": graph(n_kv_heads=1, parallel=True),
    "attention": graph(attn_only=True),
}


def every_path(graph: ComponentGraph) -> list[list[int]]:
    """Places of the edges of each path from the input to the logits."""

    def back(reader) -> Iterator[list[int]]:
        for edge in graph.edges:
            if edge.reader == reader:
                place = graph.index[edge.id]
                if edge.writer in graph.embeddings:
                    yield [place]
                for slot in graph.readers:
                    if edge.writer in graph.owners(slot):
                        yield from ([*path, place] for path in back(slot))

    return list(back(graph.readers[-1]))


def one_by_one(graph: ComponentGraph, gains: np.ndarray, tiers: list[np.ndarray]) -> Iterator[tuple[float, set[int]]]:
    """(mean gain, new edges) of the best path, again and again; of those alike, the one with the fewest new edges."""
    paths, have = every_path(graph), set()
    for tier in tiers:
        while True:
            new = [[edge for edge in path if edge not in have] for path in paths]
            found = [(gains[some].mean(), -len(some), some) for some in new if some and tier[some].all()]
            if not found:
                break
            most = max(mean for mean, *_ in found)
            _, mean, best = max((fewest, mean, some) for mean, fewest, some in found if mean > most - 1e-12)
            have |= set(best)
            yield mean, set(best)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(("seed", "in_tiers"), [(0, False), (1, True), (2, False)])
def test_the_next_path_is_the_best_of_all(name, seed, in_tiers):
    graph = GRAPHS[name]
    gains, every = np.random.default_rng(seed).normal(size=graph.n_edges), np.ones(graph.n_edges, dtype=bool)
    tiers = [gains > 0, every] if in_tiers else [every]
    order, worth = by_paths(graph, gains, tiers)
    assert sorted(order.tolist()) == list(range(graph.n_edges))
    at = 0
    for mean, new in one_by_one(graph, gains, tiers):
        assert set(order[at : at + len(new)].tolist()) == new
        assert worth[at : at + len(new)] == pytest.approx(mean, abs=1e-12)
        at += len(new)
    assert at == graph.n_edges


@pytest.mark.parametrize("n", [5, 10, 20, 60])
def test_what_is_counted_is_effective(n):
    """The circuit of a whole path loses nothing by pruning, and no larger one has at most as many edges."""
    graph, gains = GRAPHS["grouped"], np.random.default_rng(3).normal(size=82)
    ranking = Ranking(EdgeUnits(graph), gains, Choosing.paths, gains)
    choice = ranking.by_edges(n)
    assert choice.edges.sum() <= n
    ends = np.cumsum([len(new) for _, new in one_by_one(graph, gains, [np.ones(82, dtype=bool)])])
    whole = ranking.top(int(ends[ends <= n].max()))
    assert (whole.edges == whole.selected).all() and (whole.edges <= choice.edges).all()


def test_a_threshold_ends_before_the_first_path_that_gains_less():
    graph, gains = GRAPHS["plain"], np.random.default_rng(4).normal(size=46)
    chosen = Ranking(EdgeUnits(graph), gains, Choosing.paths, gains).by_threshold(0.5).selected
    expected: set[int] = set()
    for mean, new in one_by_one(graph, gains, [np.ones(46, dtype=bool)]):
        if mean < 0.5:
            break
        expected |= new
    assert set(np.flatnonzero(chosen).tolist()) == expected and expected


def test_within_head_edges_have_no_place_in_a_path():
    shape = Anatomy(n_layers=1, n_heads=2, n_kv_heads=2, d_model=16, d_head=4, d_vocab=9, d_vocab_out=9, n_ctx=8)
    graph = ComponentGraph(shape, direct_edges=True)
    with pytest.raises(InputError, match="--direct-edges"):
        by_paths(graph, np.ones(graph.n_edges), [np.ones(graph.n_edges, dtype=bool)])


@pytest.mark.parametrize("ties", [True, False])
def test_a_language_models_graph_is_ordered(ties):
    """All of GPT-2 small's 32,491 edges, ties or not."""
    graph = ComponentGraph(
        Anatomy(n_layers=12, n_heads=12, n_kv_heads=12, d_model=768, d_head=64, d_vocab=9, d_vocab_out=9, n_ctx=8)
    )
    gains = np.zeros(graph.n_edges) if ties else np.random.default_rng(0).normal(size=graph.n_edges)
    order, worth = by_paths(graph, gains, [np.ones(graph.n_edges, dtype=bool)])
    assert len(set(order.tolist())) == graph.n_edges
    assert ties or worth[0] > worth[graph.n_edges // 2] > worth[-1]
