"""Tests of what a circuit is claimed to be (after Shi et al. 2024, arXiv 2410.13032), exact on few rows.

Every test says what it would reject, and gives a p-value that is valid under its whole null: where the null is a range,
the largest over it. Ties count half to either side. Scores that do not vary are not testable, which is never a pass.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import ceil, comb, floor, log2

import numpy as np

from acdc.artefacts.verification.test_result import LEVEL, TestResult

TOGETHER = 6  # tests of one report
MARGIN = 0.1  # of the share of rows on which a circuit may score better than the model, about a half
PERMUTATIONS = 1000
QUANTILE = 0.9  # of random parts that a needed part must outdo
POWER_AT = 0.3  # further from a half than the margin: what a test should be able to see


def equivalence(circuit: np.ndarray, full: np.ndarray, noise: float = 0.0, margin: float = MARGIN) -> TestResult:
    """Of scores [rows] of circuit and full model: whether one is better too often for chance and a margin. Differences
    up to `noise` are ties."""
    wins, n = _wins(circuit - full, noise), len(full)
    if not n or np.all(np.abs(circuit - full) <= noise):
        return untestable("equivalence", n, "circuit and full model score the same on every row" if n else "no rows")
    return TestResult(
        name="equivalence",
        null=f"the circuit scores better than the full model on {0.5 - margin:.0%} to {0.5 + margin:.0%} of rows",
        speaks="against",
        measures="share of rows on which the circuit scores better, ties counted half",
        n=n,
        effect=wins / n,
        p=_outside(wins, n, margin),
        power=_power(n, 0.5 + margin + POWER_AT, lambda k: _outside(k, n, margin)),
        power_at=f"the circuit scores better on {0.5 + margin + POWER_AT:.0%} of rows",
    )


def indistinguishable(
    circuit: np.ndarray, full: np.ndarray, noise: float = 0.0, margin: float = 0.5 - QUANTILE / 2 + MARGIN
) -> TestResult:
    """The other way round: rejecting shows that neither scores better much more often than the other."""
    wins, n = _wins(circuit - full, noise), len(full)
    if not n or (np.ptp(circuit) == 0 and np.ptp(full) == 0):
        return untestable("indistinguishable", n, "scores do not vary over the rows" if n else "no rows")
    return TestResult(
        name="indistinguishable",
        null=f"either the circuit or the full model scores better on at least {0.5 + margin:.0%} of rows",
        measures="share of rows on which the circuit scores better, ties counted half",
        n=n,
        effect=wins / n,
        p=_inside(wins, n, margin),
        power=_power(n, 0.5, lambda k: _inside(k, n, margin)),
        power_at="each scores better on half of the rows",
    )


def independence(full: np.ndarray, complement: np.ndarray, seed: int, permutations: int = PERMUTATIONS) -> TestResult:
    """Of scores [rows]: whether what is left without the circuit still goes with what the model does (HSIC, Gaussian
    kernels as wide as the median distance, permutations)."""
    n = len(full)
    if n < 3 or np.ptp(full) == 0 or np.ptp(complement) == 0:
        reason = "fewer than three rows" if n < 3 else "scores do not vary over the rows"
        return untestable("independence", n, reason)
    ours, theirs = _centred_kernel(full), _centred_kernel(complement)
    found = float((ours * theirs).sum())
    generator, reached = np.random.default_rng(seed), 0
    for _ in range(permutations):
        order = generator.permutation(n)
        reached += float((ours * theirs[np.ix_(order, order)]).sum()) >= found * (1 - 1e-12)
    size = np.sqrt((ours**2).sum() * (theirs**2).sum())
    return TestResult(
        name="independence",
        null="with the circuit ablated, scores are independent of those of the full model",
        speaks="against",
        measures="HSIC between both scores, as a share of its maximum",
        n=n,
        effect=found / size if size else None,
        p=(1 + reached) / (1 + permutations),
    )


def outdoes(name: str, null: str, own: float, others: Sequence[float], measures: str, noise: float = 0.0) -> TestResult:
    """Whether a circuit's value is higher than those of others drawn at random as its null says. Differences up to
    `noise` are ties, which count half."""
    ahead, n = own - np.array(others, dtype=float), len(others)
    if np.all(np.abs(ahead) <= noise):
        return untestable(name, n, "all values are the same" if n else "there is nothing to compare with")
    return TestResult(
        name=name,
        null=null,
        measures=measures,
        n=n,
        effect=_wins(ahead, noise) / n,
        p=(1 + float((ahead <= noise).sum())) / (1 + n),
    )


def needed(
    effects: Sequence[float], others: Sequence[float], quantile: float = QUANTILE, noise: float = 0.0
) -> list[float]:
    """For each part's effect, the p-value of: it outdoes at most a share `quantile` of what random parts do.
    Differences up to `noise` are ties."""
    values, n = np.array(others, dtype=float), len(others)
    if not n:
        return [1.0] * len(effects)
    return [_at_least(floor(_wins(effect - values, noise)), n, quantile) for effect in effects]


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected so that the chance of any false rejection is at most the level (Holm 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def correct(results: Sequence[TestResult], level: float = LEVEL) -> list[TestResult]:
    """The same results with adjusted p-values, and whether each null is rejected at the level."""
    adjusted = iter(holm([result.p for result in results if result.testable and result.p is not None]))
    corrected = []
    for result in results:
        if result.testable:
            value = next(adjusted)
            result = result.model_copy(update={"adjusted": value, "rejected": value <= level})
        corrected.append(result)
    return corrected


def untestable(name: str, n: int, reason: str) -> TestResult:
    """A test that cannot be made, and why."""
    return TestResult(name=name, null="", measures="", n=n, testable=False, reason=reason)


def _wins(differences: np.ndarray, noise: float) -> float:
    return float((differences > noise).sum() + 0.5 * (np.abs(differences) <= noise).sum())


def _outside(wins: float, n: int, margin: float) -> float:
    """Chance, at most over all shares within the margin, to be as far from a half: it is largest at the margin."""
    distance = abs(wins - n / 2)
    high, low = _at_least(floor(n / 2 + distance), n, 0.5 + margin), _at_most(ceil(n / 2 - distance), n, 0.5 + margin)
    return min(1.0, high + low) if distance else 1.0


def _inside(wins: float, n: int, margin: float) -> float:
    """The larger of two one-sided p-values: of a share that is too high by the margin, and of one too low."""
    return max(_at_most(ceil(wins), n, 0.5 + margin), _at_least(floor(wins), n, 0.5 - margin))


def _power(n: int, share: float, p_value: Callable[[float], float]) -> float:
    """Chance to reject, at the strictest level of a correction over `TOGETHER` tests, where one side wins with this
    chance."""
    strictest = LEVEL / TOGETHER
    return float(sum(chance for wins, chance in enumerate(_chances(n, share)) if p_value(float(wins)) <= strictest))


@cache
def _chances(n: int, share: float) -> tuple[float, ...]:
    """Of each number of wins in n draws."""
    if share in (0.0, 1.0):
        return tuple(float(k == n * share) for k in range(n + 1))
    logs = [log2(comb(n, k)) + k * log2(share) + (n - k) * log2(1 - share) for k in range(n + 1)]
    return tuple(2.0**value for value in logs)


def _at_least(k: int, n: int, share: float) -> float:
    return min(1.0, sum(_chances(n, share)[max(k, 0) :]))


def _at_most(k: int, n: int, share: float) -> float:
    return min(1.0, sum(_chances(n, share)[: k + 1])) if k >= 0 else 0.0


def _centred_kernel(values: np.ndarray) -> np.ndarray:
    distances = np.abs(values[:, None] - values)
    some = distances[distances > 0]
    kernel = np.exp(-((distances / np.median(some)) ** 2) / 2)
    means = kernel.mean(axis=0)
    return kernel - means - means[:, None] + kernel.mean()
