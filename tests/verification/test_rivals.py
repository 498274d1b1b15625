"""What a model can do without, against all subsets of what was planted."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from circuits import random_circuit

from acdc.errors import InputError, NothingToFind
from acdc.progress import silent
from acdc.verification.rivals import LEFT, STRONGEST_FIRST, Exclusion, find_rivals, orders


@dataclass(frozen=True)
class Planted:
    """Faithful while some edge of each group is kept; each group that is lost costs its share."""

    groups: tuple[tuple[int, ...], ...]
    unseen = None

    def faithfulness(self, kept):
        return sum(any(kept[edge] for edge in group) for group in self.groups) / len(self.groups)

    def interval(self, kept, seed):
        return None


@pytest.mark.parametrize("seed", range(6))
def test_nothing_more_can_be_left_out(seed):
    """What is left out is maximal: with any further edge a group would be lost, whatever the order."""
    generator = np.random.default_rng(seed)
    groups = tuple(tuple(generator.choice(12, size=generator.integers(1, 4), replace=False)) for _ in range(5))
    planted = Planted(groups)
    left_out = Exclusion(planted, 0.1, 1000)
    excluded = left_out.exclude(generator.permutation(12), 12)
    assert planted.faithfulness(~excluded) == 1.0 and left_out.whole
    for edge in np.flatnonzero(~excluded):
        assert planted.faithfulness(~(excluded | (np.arange(12) == edge))) < 1.0
    subsets = (set(some) for size in range(13) for some in combinations(range(12), size))
    possible = [some for some in subsets if all(set(group) - some for group in groups)]
    assert set(np.flatnonzero(excluded).tolist()) in possible


def test_earlier_edges_go_first():
    planted = Planted(((0, 1), (2,)))
    assert np.flatnonzero(Exclusion(planted, 0.1, 99).exclude(np.array([0, 1, 2]), 3)).tolist() == [0]
    assert np.flatnonzero(Exclusion(planted, 0.1, 99).exclude(np.array([1, 0, 2]), 3)).tolist() == [1]


def test_trials_are_bounded_and_halves_save_them():
    planted = Planted(((70,),))
    all_at_once = Exclusion(planted, 0.1, 99)
    assert all_at_once.exclude(np.arange(64), 80).sum() == 64 and all_at_once.trials == 1
    one_needed = Exclusion(Planted(((5,),)), 0.1, 99)
    assert one_needed.exclude(np.arange(64), 80).sum() == 63 and one_needed.trials == 13 and one_needed.whole
    spent = Exclusion(Planted(((5,),)), 0.1, 3)
    assert spent.exclude(np.arange(64), 80).sum() < 63 and spent.trials == 3 and not spent.whole


def test_only_a_part_of_the_gap_is_used():
    """One group of ten costs 0.1 of faithfulness: less than the gap, more than what leaving out may take of it."""
    planted = Planted(tuple((edge,) for edge in range(10)))
    assert LEFT * 0.15 < 0.1 < 0.15
    assert not Exclusion(planted, 0.15, 99).exclude(np.arange(10), 10).any()
    assert Exclusion(planted, 0.21, 99).exclude(np.arange(10), 10).sum() == 1


def test_rivals_are_what_is_found_among_the_others():
    """The circuit has one edge of a pair, and one that has no replacement."""
    circuit, _ = random_circuit(6)
    places = [circuit.graph.index[edge.id] for edge in circuit.effective]
    outside = int(np.flatnonzero(~circuit.kept)[0])
    planted = Planted(tuple((place,) for place in places[1:]) + ((places[0], outside),))
    asked = []

    def search(allowed, target):
        asked.append((allowed, target))
        kept = circuit.kept & allowed
        kept[outside] = not allowed[places[0]]
        return kept

    found = find_rivals(circuit, planted, 3, 99, search, silent)
    assert found.discovery == 1.0 and found.gap == pytest.approx(0.1) and found.whole and found.rows == 0
    assert [rival.order for rival in found.each] == [STRONGEST_FIRST, "random 1", "random 2"]
    for rival, (allowed, target) in zip(found.each, asked, strict=True):
        assert np.flatnonzero(~allowed).tolist() == [places[0]] and target == pytest.approx(0.9)
        assert (rival.excluded, rival.edges, rival.shared) == (1, len(places), len(places) - 1)
        assert rival.jaccard == pytest.approx((len(places) - 1) / (len(places) + 1))
        assert rival.reaches and rival.discovery == 1.0 and rival.faithfulness is None
    assert found.reaching == found.each


def test_a_search_that_finds_nothing_is_no_rival():
    circuit, _ = random_circuit(6)

    def search(allowed, target):
        raise NothingToFind("nothing")

    planted = Planted(tuple((circuit.graph.index[edge.id],) for edge in circuit.effective))
    (rival,) = find_rivals(circuit, planted, 1, 99, search, silent).each
    assert (rival.edges, rival.shared, rival.jaccard, rival.reaches) == (0, 0, 0.0, False)


def test_a_circuit_that_carries_little_has_no_rivals():
    circuit, _ = random_circuit(6)
    edge, outside = circuit.graph.index[circuit.effective[0].id], np.flatnonzero(~circuit.kept)[:2].tolist()
    with pytest.raises(InputError, match=r"the circuit's faithfulness is 33.3% on the rows of discovery: rivals"):
        find_rivals(circuit, Planted(((edge,), *((o,) for o in outside))), 1, 99, lambda a, t: a, silent)


def test_orders_are_those_of_the_seed():
    circuit, _ = random_circuit(8)
    (first, strongest), (_, drawn) = orders(circuit, 2)
    scores = {circuit.graph.index[edge.id]: abs(edge.score) for edge in circuit.effective}
    assert first == STRONGEST_FIRST and [scores[place] for place in strongest] == sorted(scores.values(), reverse=True)
    assert sorted(drawn) == sorted(strongest)
    assert drawn.tolist() == list(orders(circuit, 2))[1][1].tolist()
