"""Bootstrap intervals over rows, or what several of them share: how far a number would move with others of the kind."""

from collections.abc import Callable

import numpy as np

from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.sampling import FEWEST_UNITS
from acdc.verification.sampled_units import SampledUnits

RESAMPLES = 2000
COVERAGE = 0.95
Z = 1.959964  # of the normal distribution, for that coverage


class Bootstrap:
    """Resamples of so many rows or of units of several, drawn once, so that all numbers of a report are of the same.

    Whole units are drawn, as many as there are, and means are over all of their rows (Davison & Hinkley 1997, 3.8).
    Resamples of few units hardly differ from each other, and their interval would look sure of itself: it is None."""

    def __init__(self, units: SampledUnits | int, seed: int, resamples: int = RESAMPLES):
        self.units = SampledUnits.single(units) if isinstance(units, int) else units
        count = self.units.count
        drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
        times = np.stack([np.bincount(sample, minlength=count) for sample in drawn])
        times = np.ascontiguousarray(times[:, self.units.of_row])
        self._shares = times / times.sum(axis=1, keepdims=True)

    def of(self, statistic: Callable[..., np.ndarray], *values: np.ndarray) -> Interval:
        """`statistic` of the means of values [rows] each; it takes and gives arrays over resamples, nan where it is not
        defined."""
        own = float(statistic(*(np.array([one.mean()]) for one in values))[0])
        spread = statistic(*(self._shares @ one for one in values))
        spread = spread[np.isfinite(spread)]
        if not np.isfinite(own) or not len(spread) or self.units.count < FEWEST_UNITS:
            return Interval(low=None, value=own if np.isfinite(own) else None, high=None)
        low, high = np.quantile(spread, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        return Interval(low=float(low), value=own, high=float(high))


def wilson(hits: int, trials: int) -> Interval:
    """A share with its 95 % interval, of independent trials (Wilson 1927, J. Am. Stat. Assoc. 22)."""
    share, z2 = hits / trials, Z * Z / trials
    centre = (share + z2 / 2) / (1 + z2)
    half = float(np.sqrt(z2 * share * (1 - share) + z2 * z2 / 4)) / (1 + z2)
    return Interval(low=max(0.0, centre - half), value=share, high=min(1.0, centre + half))


def mean(values: np.ndarray) -> np.ndarray:
    """The statistic that is a mean."""
    return values


def recovered(circuit: np.ndarray, full: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """The statistic that is a recovered fraction, nan where full and empty are alike."""
    span = full - empty
    alike = np.abs(span) <= 1e-6 * np.maximum(np.abs(full), np.abs(empty))
    return np.divide(circuit - empty, span, out=np.full_like(span, np.nan), where=~alike)
