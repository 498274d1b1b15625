"""Tests reject as often as their level allows, and no more, where their null holds; and see what is there."""

from math import comb

import numpy as np
import pytest

from acdc.artefacts.verification.test_result import LEVEL
from acdc.verification import statistics
from acdc.verification.statistics import MARGIN, QUANTILE, correct, holm

DATASETS = 500
# one-sided 99.9 % bound of a binomial share with LEVEL: chance of more is below a thousandth
BOUND = next(
    k
    for k in range(DATASETS)
    if sum(comb(DATASETS, i) * LEVEL**i * (1 - LEVEL) ** (DATASETS - i) for i in range(k + 1)) >= 0.999
)
ROWS = 64


def rejections(p_value, datasets=DATASETS):
    return sum(p_value(np.random.default_rng(seed)) <= LEVEL for seed in range(datasets))


def signs(generator, share, n=ROWS):
    """Scores of a circuit that beats the model with a chance, and of the model."""
    return np.where(generator.random(n) < share, 1.0, -1.0), np.zeros(n)


def with_ties(generator, share):
    """The same, alike on an odd number of rows."""
    circuit, full = signs(generator, share, 48)
    circuit[:3] = 0.0
    return circuit, full


NULLS = {
    "equivalence, inside": lambda g: statistics.equivalence(*signs(g, 0.5)).p,
    "equivalence, at its edge": lambda g: statistics.equivalence(*signs(g, 0.5 + MARGIN)).p,
    "equivalence, at its other edge": lambda g: statistics.equivalence(*signs(g, 0.5 - MARGIN)).p,
    "equivalence, at its edge, with ties": lambda g: statistics.equivalence(*with_ties(g, 0.5 + MARGIN)).p,
    "indistinguishable, at its edge": lambda g: statistics.indistinguishable(*signs(g, 0.65), margin=0.15).p,
    "independence": lambda g: statistics.independence(g.normal(size=24), g.normal(size=24), 0, 199).p,
    "independence, few values": lambda g: statistics.independence(*g.integers(0, 2, (2, 24)).astype(float), 0, 199).p,
    "outdoes": lambda g: statistics.outdoes("", "", g.normal(), g.normal(size=99), "").p,
    "outdoes, ties": lambda g: statistics.outdoes("", "", g.integers(3), g.integers(0, 3, 99), "").p,
    "needed, at its edge": lambda g: statistics.needed([QUANTILE], g.random(100))[0],
    "Holm, any of ten": lambda g: min(holm(g.random(10).tolist())),
}
# these have a null whose edge was simulated and enough distinct p-values to come near the level
SHARP = {
    "equivalence, at its edge": 0.4,
    "indistinguishable, at its edge": 0.4,
    "independence": 0.6,
    "outdoes": 0.6,
    "needed, at its edge": 0.4,
    "Holm, any of ten": 0.6,
}


@pytest.mark.parametrize("name", NULLS)
def test_no_test_rejects_more_often_than_its_level_allows(name):
    found = rejections(NULLS[name])
    assert found <= BOUND
    if name in SHARP:
        assert found >= SHARP[name] * LEVEL * DATASETS


def test_power_grows_with_rows_and_is_what_simulation_finds():
    powers = [statistics.equivalence(*signs(np.random.default_rng(1), 0.9, n)).power for n in (8, 16, 32, 64, 128)]
    assert powers == sorted(powers) and powers[-1] > 0.999
    share = 0.5 + MARGIN + statistics.POWER_AT
    strictest = LEVEL / statistics.TOGETHER
    seen = (statistics.equivalence(*signs(np.random.default_rng(seed), share, 32)).p for seed in range(DATASETS))
    found = sum(p <= strictest for p in seen) / DATASETS
    assert found == pytest.approx(powers[2], abs=3.3 * (powers[2] * (1 - powers[2]) / DATASETS) ** 0.5)


@pytest.mark.parametrize(
    "see",
    [
        lambda g: statistics.independence((x := g.normal(size=40)), x**2, 0, 199).p,
        lambda g: statistics.outdoes("", "", 10.0, g.normal(size=99), "").p,
        lambda g: statistics.needed([2.0], g.random(100))[0],
        lambda g: statistics.indistinguishable(*signs(g, 0.5, 256)).p,
    ],
    ids=["independence", "outdoes", "needed", "indistinguishable"],
)
def test_they_see_what_is_there(see):
    assert rejections(see, 50) >= 45


def test_rounding_decides_no_comparison_with_random_circuits():
    """The same circuit, drawn again and measured in another batch, differs in its last digits."""
    others, rounded = [0.5, 1.0, 1.0, 2.0], [0.5, 1.0 - 1e-9, 1.0 + 1e-9, 2.0]
    exact = statistics.outdoes("", "", 1.0, others, "")
    assert (exact.effect, exact.p) == (0.5, 0.8)
    assert statistics.outdoes("", "", 1.0, rounded, "", noise=1e-6) == exact
    assert statistics.needed([1.0], rounded, noise=1e-6) == statistics.needed([1.0], others)


@pytest.mark.parametrize("rows", [1, 5, 12])
def test_p_values_are_sums_over_all_outcomes(rows):
    """Against a loop over all strings of wins and losses at the edge of the null."""
    for wins in range(rows + 1):
        scores = np.array([1.0] * wins + [-1.0] * (rows - wins))
        if not wins:
            continue
        share = 0.5 + MARGIN
        chance = sum(
            comb(rows, k) * share**k * (1 - share) ** (rows - k)
            for k in range(rows + 1)
            if abs(k - rows / 2) >= abs(wins - rows / 2)
        )
        expected = 1.0 if wins == rows / 2 else chance
        assert statistics.equivalence(scores, np.zeros(rows)).p == pytest.approx(min(1.0, expected))


def test_what_does_not_vary_is_not_testable():
    alike, varied = np.ones(8), np.arange(8.0)
    results = [
        statistics.equivalence(alike, alike),
        statistics.equivalence(alike + 1e-9, alike, noise=1e-6),
        statistics.indistinguishable(alike, alike),
        statistics.independence(alike, varied, 0),
        statistics.outdoes("sufficiency", "", 1.0, [1.0, 1.0], ""),
        statistics.outdoes("sufficiency", "", 1.0, [1.0 - 1e-9, 1.0 + 1e-9], "", noise=1e-6),
        statistics.outdoes("sufficiency", "", 1.0, [], ""),
    ]
    for result in correct([*results, statistics.equivalence(varied + 1, varied)]):
        assert result.testable is (result.p is not None)
        if not result.testable:
            assert result.reason and not result.rejected and result.adjusted is None


def test_ties_count_half():
    result = statistics.equivalence(np.array([1.0, 0.0, 0.0, -1.0]), np.zeros(4))
    assert result.effect == 0.5 and result.p == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
