"""Bootstrapped scores: is the sign of a score certain, or due to a few rows? (Nikankin et al. 2025, arXiv 2510.25786)

The rows are drawn anew with replacement, and the mean score over the drawn rows is taken, many times. A sign is certain
when it holds in at least 95% of them. What is held is a sum for each of these resamples, whatever the number of rows.
"""

from collections.abc import Callable

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError, NothingToFind
from acdc.progress import Progress, silent
from acdc.search.options import SearchOptions
from acdc.search.registry import Method

MOST_HELD = 4 * 2**30  # bytes of sums
CERTAIN = 0.95  # the share of resamples in which a certain sign holds


def certain_signs(
    behaviour: Behaviour, method: Method, options: SearchOptions, resamples: int, progress: Progress
) -> np.ndarray:
    """Whose scores by a method have a certain sign, boolean of the shape of the level's units. Each row is scored once
    more, alone; a row on which nothing has an effect counts as 0."""
    units, rows = behaviour.units(options.level), len(behaviour.rows)
    if (held := 8 * resamples * units.count) > MOST_HELD:
        raise InputError(
            f"--bootstrap {resamples} would hold {held / 2**30:.1f} GiB of sums for {units.count:,} {units.plural}: at "
            f"most {MOST_HELD // (8 * units.count)} resamples fit"
        )
    with progress("bootstrap", rows, "rows") as advance:

        def of_row(row: int) -> np.ndarray | None:
            advance(1)
            try:
                found = method.run(behaviour.alone(row), options, silent)
            except NothingToFind:
                return None
            assert isinstance(found, Scores)  # of a method that gives means over rows
            return units.of(found.level, found.values)

        return signs_that_hold(of_row, rows, resamples, options.seed)


def signs_that_hold(of_row: Callable[[int], np.ndarray | None], rows: int, resamples: int, seed: int) -> np.ndarray:
    """Which means over rows keep their sign in at least `CERTAIN` of the resamples, boolean of the shape of a row's
    scores; None stands for a row whose scores are all 0, and not all may be."""
    drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=resamples)
    sums: np.ndarray | None = None
    for row in range(rows):
        scores = of_row(row)
        if scores is None:
            continue
        if sums is None:
            sums = np.zeros((resamples, *scores.shape))
        for resample in np.flatnonzero(drawn[:, row]).tolist():
            sums[resample] += drawn[resample, row] * scores
    assert sums is not None  # else all rows together would have no scores either
    positive, negative = (sums > 0).mean(axis=0), (sums < 0).mean(axis=0)
    return np.maximum(positive, negative) >= CERTAIN
