"""Choosing from scores."""

import numpy as np
import pytest

from acdc.circuit.choose import Ranking
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph

GRAPH = ComponentGraph(
    Anatomy(n_layers=2, n_heads=4, n_kv_heads=4, d_model=16, d_head=4, d_vocab=40, d_vocab_out=40, n_ctx=32)
)
SCORES = np.random.default_rng(0).normal(size=GRAPH.n_edges)


def test_threshold_takes_by_magnitude():
    choice = Ranking(GRAPH, SCORES).by_threshold(1.0)
    assert (choice.selected == (np.abs(SCORES) >= 1.0)).all()
    assert (choice.edges == GRAPH.prune(choice.selected)).all()


@pytest.mark.parametrize("n", [1, 3, 10, 40, GRAPH.n_edges])
def test_edges_counts_what_pruning_leaves(n):
    """The next edge of the ranking would leave more than n."""
    ranking = Ranking(GRAPH, SCORES)
    choice = ranking.by_edges(n)
    assert choice.edges.sum() <= n
    k = int(choice.selected.sum())
    assert k == GRAPH.n_edges or ranking.top(k + 1).edges.sum() > n
    assert choice.counts == {"selected": k, "after_pruning": int(choice.edges.sum())}


@pytest.mark.parametrize("n", [0, -1, GRAPH.n_edges + 1])
def test_impossible_sizes_are_refused(n):
    with pytest.raises(InputError, match="--edges"):
        Ranking(GRAPH, SCORES).by_edges(n)


def test_ties_follow_the_graph():
    assert Ranking(GRAPH, np.ones(GRAPH.n_edges)).top(5).selected[:5].all()


@pytest.mark.parametrize("target", [0.05, 0.5, 0.95, 1.0])
def test_faithfulness_is_reached_with_the_least_of_a_growing_measure(target):
    ranking = Ranking(GRAPH, SCORES)

    def share(edges: np.ndarray) -> float:
        return edges.sum() / GRAPH.n_edges

    choice = ranking.by_faithfulness(target, share)
    assert share(choice.edges) >= target
    assert share(ranking.top(int(choice.selected.sum()) - 1).edges) < target
