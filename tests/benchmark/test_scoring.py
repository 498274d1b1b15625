"""Scores against loops that follow their definitions."""

from itertools import product

import numpy as np
import pytest

from acdc.benchmark.scoring import Agreement, Staircase, mean_over_models, widest_gap


def pessimistic_area(sizes, true):
    """The mean over false edges of the share of true ones that rank strictly above all that ranks like them."""
    return np.mean([[t > f for t in sizes[true]] for f in sizes[~true]])


def average_precision(sizes, true):
    at = [sizes >= size for size in sizes[true]]
    return np.mean([true[above].mean() for above in at])


@pytest.mark.parametrize("seed", range(20))
def test_areas_are_those_of_loops(seed):
    generator = np.random.default_rng(seed)
    sizes, true = generator.integers(0, 6, 30) / 5, generator.random(30) < 0.3
    true[:2] = True, False
    stairs = Staircase.of(sizes, true)
    assert stairs.auroc == pytest.approx(pessimistic_area(sizes, true))
    assert stairs.auprc == pytest.approx(average_precision(sizes, true))


def test_missing_edges_are_misses():
    """Nothing named at all is worth nothing, and so is what ranks all alike."""
    true = np.array([True, True, False, False])
    for sizes in (np.zeros(4), np.ones(4)):
        assert Staircase.of(sizes, true).auroc == 0.0
    perfect = Staircase.of(np.array([2.0, 1.0, 0.0, 0.0]), true)
    assert perfect.auroc == perfect.auprc == 1.0
    half = Staircase.of(np.array([1.0, 0.0, 0.0, 0.0]), true)
    assert half.auroc == 0.5


def test_without_two_kinds_there_is_no_curve():
    assert Staircase.of(np.ones(3), np.ones(3, dtype=bool)).auroc is None
    assert Staircase.of(np.ones(3), np.zeros(3, dtype=bool)).auprc is None


@pytest.mark.parametrize(("found", "true"), product([set(), {"a"}, {"a", "b"}, {"c"}], repeat=2))
def test_agreement(found, true):
    agreement = Agreement.of(found, true)
    hits = sum(edge in true for edge in found)
    assert agreement.precision == (hits / len(found) if found else 0)
    assert agreement.recall == (hits / len(true) if true else 0)
    assert agreement.f1 == pytest.approx(2 * hits / (len(found) + len(true)) if hits else 0)


def test_the_widest_gap_is_between_what_matters_and_what_does_not():
    sizes = np.array([2.0, 0.5, 0.02, 1e-9, 0.0])
    threshold = widest_gap(sizes)
    assert 2e-6 < threshold < 0.02
    noisy = np.array([2.0, 0.5, 0.02, 3e-5, 2e-5, 1e-5])
    assert 3e-5 < widest_gap(noisy) < 0.02
    assert widest_gap(np.zeros(3)) is None
    assert widest_gap(np.array([0.7, 0.7])) == pytest.approx(0.35)


def test_every_model_counts_the_same():
    interval = mean_over_models([0.0, 1.0, 1.0, 0.0, 0.5, 0.2, 0.5, 0.8])
    assert interval.value == 0.5
    assert 0.0 <= interval.low < 0.5 < interval.high <= 1.0
    alone = mean_over_models([0.3])
    assert alone.value == pytest.approx(0.3) and alone.low is None and alone.high is None
    assert mean_over_models([]) is None
    assert mean_over_models([0.1, 0.9, 0.4]) == mean_over_models([0.1, 0.9, 0.4])
