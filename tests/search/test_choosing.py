"""Choosing from scores."""

import numpy as np
import pytest

from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph, Edge
from acdc.graph.masks import Mask
from acdc.graph.units import EdgeUnits, NodeUnits
from acdc.options import Choosing
from acdc.search.choosing import Ranking
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings

GRAPH = ComponentGraph(
    Anatomy(n_layers=2, n_heads=4, n_kv_heads=4, d_model=16, d_head=4, d_vocab=40, d_vocab_out=40, n_ctx=32)
)
SCORES = np.random.default_rng(0).normal(size=GRAPH.n_edges)


def test_threshold_takes_by_magnitude():
    choice = Ranking(EdgeUnits(GRAPH), SCORES).by_threshold(1.0)
    assert (choice.selected == (np.abs(SCORES) >= 1.0)).all()
    assert (choice.edges == GRAPH.prune(choice.selected)).all()


@pytest.mark.parametrize("n", [1, 3, 10, 40, GRAPH.n_edges])
def test_edges_counts_what_pruning_leaves(n):
    """The next edge of the ranking would leave more than n."""
    ranking = Ranking(EdgeUnits(GRAPH), SCORES)
    choice = ranking.by_edges(n)
    assert choice.edges.sum() <= n
    k = int(choice.selected.sum())
    assert k == GRAPH.n_edges or ranking.top(k + 1).edges.sum() > n
    assert choice.counts == {"selected": k, "after_pruning": int(choice.edges.sum())}


@pytest.mark.parametrize("n", [0, -1, GRAPH.n_edges + 1])
def test_impossible_sizes_are_refused(n):
    with pytest.raises(InputError, match="--edges"):
        Ranking(EdgeUnits(GRAPH), SCORES).by_edges(n)


def test_ties_follow_the_graph():
    assert Ranking(EdgeUnits(GRAPH), np.ones(GRAPH.n_edges)).top(5).selected[:5].all()


@pytest.mark.parametrize("target", [0.05, 0.5, 0.95, 1.0])
def test_faithfulness_is_reached_with_the_least_of_a_growing_measure(target):
    ranking = Ranking(EdgeUnits(GRAPH), SCORES)

    def share(removed: Mask) -> float:
        return 1 - removed.values.sum() / GRAPH.n_edges

    choice = ranking.by_faithfulness(target, share)
    assert share(choice.ablated) >= target
    assert share(ranking.top(int(choice.selected.sum()) - 1).ablated) < target


def greedily(scores: np.ndarray, pops: int) -> list[str]:
    """Written out: the best edge into the logits or into a component that an edge was taken out of, again and again."""
    reached, taken = {"logits"}, []
    for _ in range(pops):
        open_edges = [
            (abs(scores[i]), -i, name)
            for i, name in enumerate(GRAPH.names)
            if name not in taken and Edge.parse(name).reader.id.split("<")[0] in reached
        ]
        *_, best = max(open_edges)
        taken.append(best)
        reached.add(best.split("->")[0])
    return taken


@pytest.mark.parametrize("pops", [1, 5, 30, GRAPH.n_edges])
def test_greedy_goes_backwards_from_the_logits(pops):
    choice = Ranking(EdgeUnits(GRAPH), SCORES, Choosing.greedy).top(pops)
    assert set(GRAPH.ids(choice.selected)) == set(greedily(SCORES, pops))
    unread = choice.selected & ~choice.edges  # only what reads nothing may be pruned: all of it is read
    assert all(name.split("->")[0] != "input" for name in GRAPH.ids(unread))


def test_a_greedy_threshold_stops_at_the_first_smaller_score():
    ranking = Ranking(EdgeUnits(GRAPH), SCORES, Choosing.greedy)
    threshold = 0.8
    chosen = GRAPH.ids(ranking.by_threshold(threshold).selected)
    order = greedily(SCORES, len(chosen) + 1)
    assert set(order[:-1]) == set(chosen)
    assert all(abs(SCORES[GRAPH.index[name]]) >= threshold for name in chosen)
    assert abs(SCORES[GRAPH.index[order[-1]]]) < threshold


def test_what_helps_comes_before_what_hurts():
    ranking = Ranking(EdgeUnits(GRAPH), SCORES, Choosing.signed, helps=-SCORES)
    assert (ranking.top(7).selected == (np.sort(SCORES)[6] >= SCORES)).all()
    assert (ranking.by_threshold(0.8).selected == (SCORES <= -0.8)).all()
    helping = int((SCORES < 0).sum())
    assert (SCORES[ranking.top(helping).selected] < 0).all() and not ranking.top(helping + 1).selected[SCORES > 1].any()


@pytest.mark.parametrize("quota", [0.1, 0.25, 0.5])
def test_a_quota_of_a_signed_circuit_hurts(quota):
    ranking = Ranking(EdgeUnits(GRAPH), SCORES, Choosing.signed, helps=SCORES, hurting=quota)
    for k in (1, 7, 20, 60):
        taken = SCORES[ranking.top(k).selected]
        hurting = int((taken < 0).sum())
        assert len(taken) == k and abs(hurting - quota * k) <= 1
        assert set(taken) == {*np.sort(SCORES)[::-1][: k - hurting], *np.sort(SCORES)[:hurting]}
    smallest = np.abs(SCORES[ranking.top(20).selected]).min()
    assert ranking.by_threshold(smallest * 1.0001).selected.sum() < 20


def test_a_quota_takes_no_score_of_zero():
    scores = np.where(np.arange(GRAPH.n_edges) % 3 == 0, SCORES, 0.0)
    ranking = Ranking(EdgeUnits(GRAPH), scores, Choosing.signed, helps=scores, hurting=0.1)
    assert (scores[ranking.top(ranking.candidates).selected] != 0).all()


@pytest.mark.parametrize("wrong", [{"hurting": 1.0, "choose": Choosing.signed}, {"hurting": -0.1}, {"hurting": 0.2}])
def test_what_is_no_quota_is_refused(wrong):
    with pytest.raises(InputError, match="--hurting"):
        DiscoverySettings(METHODS["eap"], **wrong).check()


def test_certain_signs_come_first():
    certain = np.random.default_rng(2).random(GRAPH.n_edges) < 0.4
    ranking = Ranking(EdgeUnits(GRAPH), SCORES, Choosing.signed, helps=SCORES, certain=certain)
    first = np.flatnonzero(certain & (SCORES > 0))
    assert set(np.flatnonzero(ranking.top(len(first)).selected)) == set(first)
    best = first[np.argsort(-SCORES[first])[:5]]
    assert set(np.flatnonzero(ranking.top(5).selected)) == set(best)
    then = np.flatnonzero(ranking.top(len(first) + 1).selected & ~ranking.top(len(first)).selected)
    others = np.where(certain & (SCORES > 0), -np.inf, SCORES)
    assert then.tolist() == [others.argmax()]


def test_nodes_that_help_come_first():
    scores = np.random.default_rng(1).normal(size=len(GRAPH.writers))
    kept = Ranking(NodeUnits(GRAPH), scores, Choosing.signed, helps=scores).top(3).kept
    assert set(np.flatnonzero(kept)) == {0, *(1 + np.argsort(-scores[1:])[:3])}


@pytest.mark.parametrize("choosing", Choosing)
def test_a_score_of_zero_is_never_chosen(choosing):
    """Nor do they crowd out others: a component that leads to the circuit by such edges alone is not reached."""
    scores = np.where(np.arange(GRAPH.n_edges) % 3 == 0, SCORES, 0.0)
    ranking = Ranking(EdgeUnits(GRAPH), scores, choosing)
    everything = ranking.by_edges(GRAPH.n_edges)
    assert everything.selected.any() and not everything.selected[scores == 0].any()
    assert ranking.is_spent(everything) and not ranking.is_spent(ranking.by_edges(5))
    least = ranking.by_faithfulness(1.0, lambda removed: 0.0)
    assert (least.selected == everything.selected).all(), "even all that may be chosen falls short"
    if choosing is Choosing.top:
        assert (everything.selected == (scores != 0)).all()
        assert ranking.top(GRAPH.n_edges).selected.all(), "a ranking over all sizes ends with the whole model"


@pytest.mark.parametrize("choosing", Choosing)
def test_scores_that_are_all_zero_give_an_empty_circuit(choosing):
    ranking = Ranking(EdgeUnits(GRAPH), np.zeros(GRAPH.n_edges), choosing)
    choices = ranking.by_edges(5), ranking.by_threshold(0.1), ranking.by_faithfulness(0.9, lambda removed: 0.0)
    assert not any(choice.selected.any() for choice in choices)


def test_nodes_are_chosen_by_their_scores():
    scores = np.random.default_rng(1).normal(size=len(GRAPH.writers))
    scores[0] = 99.0  # the input stays whatever its score
    choice = Ranking(NodeUnits(GRAPH), scores).by_threshold(0.5)
    assert choice.kept.tolist() == [True, *(np.abs(scores[1:]) >= 0.5).tolist()]
    assert (choice.selected == GRAPH.between(choice.kept)).all()
    assert Ranking(NodeUnits(GRAPH), scores).by_edges(20).edges.sum() <= 20
