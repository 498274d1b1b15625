"""How many candidates ACDC tries in one pass: few where many are kept, as the results after a kept one are lost."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from acdc.search.acdc.passes import Expected, next_pass
from acdc.search.acdc.tester import PassCost

FIRST_SHARE, MEMORY = 0.25, 50  # of candidates that are kept: the first guess, and over how many tests it is learnt


@dataclass(frozen=True)
class Pace:
    """`share`: a moving average of how many candidates are kept."""

    share: float = FIRST_SHARE

    def width(self, cost: PassCost) -> int:
        """How many candidates to try together."""
        best = round((2 * cost.fixed / max(self.share, 1e-6)) ** 0.5)
        return max(1, min(best, cost.widest))

    def after(self, decided: int, kept: int) -> "Pace":
        """With so many more decisions taken in. A group of screened candidates that may not go counts as one kept."""
        fade = (1 - 1 / MEMORY) ** decided
        return Pace(fade * self.share + (1 - fade) * kept / decided)


def widths(kept: np.ndarray, expected: Expected, cost: PassCost, pace: Pace) -> Iterator[tuple[int, Pace]]:
    """(how many measurements each pass has, the pace after it) where candidates turn out to be `kept` or not, and all
    screened groups may go. Boolean [candidates]."""
    kept = kept & ~expected.screened
    while len(kept):
        wanted = next_pass(kept, expected, pace.width(cost))
        tested = [column - 1 for column in wanted.columns if not expected.screened[column - 1]]
        surprise = next((place for place in tested if kept[place] != (place in wanted.kept)), None)
        decided = len(wanted.tried) if surprise is None else surprise + 1
        pace = pace.after(sum(column <= decided for column in wanted.columns), surprise is not None)
        kept, expected = kept[decided:], expected.of(slice(decided, None))
        yield len(wanted.columns), pace
