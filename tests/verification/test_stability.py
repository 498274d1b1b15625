"""Which edges other rows would give too: bounds and certificates against their definitions, and a planted discovery."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from acdc.verification.sampled_units import SampledUnits
from acdc.verification.stability import (
    CONFIDENCE,
    binomial_bounds,
    compare_repeats,
    measure_bootstraps,
    measure_stability,
    untouched,
)

ERROR = (1 - CONFIDENCE) / 2


@pytest.mark.parametrize("n", [1, 6, 20])
def test_bounds_are_where_what_was_seen_becomes_unlikely(n):
    for count in range(n + 1):
        low, high = binomial_bounds(count, n)
        if count:
            assert sum(comb(n, k) * low**k * (1 - low) ** (n - k) for k in range(count, n + 1)) == pytest.approx(ERROR)
        if count < n:
            assert sum(comb(n, k) * high**k * (1 - high) ** (n - k) for k in range(count + 1)) == pytest.approx(ERROR)
        assert (low == 0.0) == (count == 0) and (high == 1.0) == (count == n)
    assert binomial_bounds(10, 10)[0] == pytest.approx(ERROR ** (1 / 10))


@pytest.mark.parametrize("margin", [0.05, 0.2, 0.45])
def test_a_certificate_counts_subsets(margin):
    """Against a loop over all subsets: so many rows are in fewer than the margin, and one more is not."""
    rows, size = 9, 2

    def touched(changed):
        subsets = list(combinations(range(rows), size))
        return sum(any(row < changed for row in subset) for subset in subsets) / len(subsets)

    certified = untouched(rows, size, margin)
    assert touched(certified) < margin or certified == 0
    assert touched(certified + 1) >= margin


def test_repeats_are_compared_with_each_other_and_with_the_circuit():
    sets = {"seed 1": frozenset("abc"), "seed 2": frozenset("bcd"), "seed 3": frozenset()}
    found = compare_repeats(frozenset("ab"), sets)
    assert [(repeat.name, repeat.edges) for repeat in found.each] == [("seed 1", 3), ("seed 2", 3), ("seed 3", 0)]
    assert [repeat.jaccard for repeat in found.each] == pytest.approx([2 / 3, 1 / 4, 0.0])
    assert found.jaccard == pytest.approx((2 / 4 + 0 + 0) / 3)
    assert compare_repeats(frozenset("ab"), {"only": frozenset("ab")}).jaccard is None
    assert compare_repeats(frozenset(), {"x": frozenset(), "y": frozenset()}).jaccard is None


def test_repetitions_that_find_nothing_share_nothing():
    found = measure_stability(20, 6, 0, frozenset({"edge"}), lambda rows: frozenset())
    assert found.jaccard == 0.0 and [edge.id for edge in found.unstable] == ["edge"]


def test_stable_and_unstable_edges_are_told():
    """One is always found, one by the toss of a coin, one hardly ever, and one only in the circuit of all rows."""
    generator = np.random.default_rng(0)
    seen = []

    def find(rows):
        seen.append(tuple(rows))
        tossed = {name for name, chance in (("coin", 0.5), ("rare", 0.05)) if generator.random() < chance}
        return frozenset({"always"} | tossed)

    found = measure_stability(40, 60, 1, frozenset({"always", "coin", "gone"}), find)
    assert len(seen) == 60 == len(set(seen)) and all(len(set(rows)) == found.rows_each == 10 for rows in seen)
    assert [edge.id for edge in found.core] == ["always"] and found.core[0].frequency == 1.0
    assert [edge.id for edge in found.abstained] == ["coin"] and found.abstained[0].certified == 0
    assert [edge.id for edge in found.unstable] == ["gone"] and found.unstable[0].certified == found.core[
        0
    ].certified > 0
    assert 0.5 < found.jaccard < 1.0


def test_bootstraps_are_of_all_rows_and_shares_are_those_expected():
    """Each row gives an edge of its own, so that an edge is found where its row is drawn."""
    rows, seen = 20, []

    def find(places):
        seen.append(places)
        return frozenset(str(place) for place in places)

    circuit = frozenset(map(str, range(rows)))
    found = measure_bootstraps(SampledUnits.single(rows), 400, 3, circuit, find, averaged=True)
    assert all(len(places) == rows and places.min() >= 0 and places.max() < rows for places in seen)
    drawn = 1 - (1 - 1 / rows) ** rows
    assert found.count == 400 and found.sampling.rows == rows and found.averaged
    assert found.to_circuit[1] == pytest.approx(drawn, abs=0.01) and found.edges == pytest.approx(rows * drawn, abs=0.2)
    assert found.to_circuit[0] == min(len(set(places)) for places in seen) / rows
    assert list(found.frequencies.values()) == pytest.approx([drawn] * rows, abs=0.12)
    pairs = [len({*a} & {*b}) / len({*a} | {*b}) for a, b in combinations([places.tolist() for places in seen], 2)]
    assert found.jaccard == pytest.approx(np.mean(pairs)) and found.jaccard == pytest.approx(
        drawn / (2 - drawn), abs=0.01
    )


def test_bootstraps_follow_from_the_seed():
    def of(seed):
        return measure_bootstraps(
            SampledUnits.single(9), 10, seed, frozenset("a"), lambda rows: frozenset(map(str, rows)), averaged=False
        )

    assert of(1) == of(1) != of(2)


def test_circuits_that_do_not_depend_on_rows_are_stable():
    found = measure_bootstraps(
        SampledUnits.single(9), 10, 0, frozenset("ab"), lambda rows: frozenset("ab"), averaged=False
    )
    assert (found.jaccard, found.to_circuit, found.frequencies) == (1.0, (1.0, 1.0, 1.0), {"a": 1.0, "b": 1.0})
    empty = measure_bootstraps(SampledUnits.single(9), 10, 0, frozenset(), lambda rows: frozenset(), averaged=False)
    assert (empty.jaccard, empty.edges) == (1.0, 0.0)


def test_rows_that_belong_together_are_drawn_together():
    """Four units of two rows each: places come in pairs, as many as there are rows."""
    seen = []

    def find(places):
        seen.append(places.tolist())
        return frozenset()

    units = SampledUnits("prompt", np.array([0, 1, 2, 3, 3, 2, 1, 0]))
    found = measure_bootstraps(units, 20, 0, frozenset("a"), find, averaged=False)
    assert found.sampling.unit == "prompt" and found.sampling.units == 4
    for places in seen:
        assert len(places) == 8 and all(places.count(row) == places.count(7 - row) for row in range(4))
