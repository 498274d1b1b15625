"""How many candidates ACDC tries in one pass: few where many are kept, as the results after a kept one are lost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


def widths(kept: Sequence[bool], cost: PassCost, pace: Pace) -> Iterator[tuple[int, Pace]]:
    """(how many candidates each pass has, the pace after it) where candidates turn out to be `kept` or not."""
    place = 0
    while place < len(kept):
        tried = kept[place : place + pace.width(cost)]
        decided = 1 + tried.index(True) if True in tried else len(tried)
        pace, place = pace.after(decided, tried[:decided].count(True)), place + decided
        yield len(tried), pace
