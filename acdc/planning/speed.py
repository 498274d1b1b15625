"""How fast this machine makes passes, learnt from passes that were timed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True)
class Load:
    """The work of a pass: FLOPs of its products; `starting` them, in FLOPs (see `SlotCost.fixed`); and how many
    `numbers` it reads of what senders write."""

    flops: float = 0.0
    starting: float = 0.0
    numbers: float = 0.0

    def __add__(self, other: "Load") -> "Load":
        return Load(self.flops + other.flops, self.starting + other.starting, self.numbers + other.numbers)

    def __mul__(self, times: float) -> "Load":
        return Load(self.flops * times, self.starting * times, self.numbers * times)

    @property
    def parts(self) -> tuple[float, float, float]:
        return self.flops, self.starting, self.numbers


@dataclass(frozen=True)
class Speed:
    """Seconds `each` unit of the three parts of a load takes."""

    each: tuple[float, float, float]

    @classmethod
    def learnt(cls, loads: Sequence[Load], seconds: Sequence[float]) -> "Speed":
        """Non-negative least squares, with variances in proportion to the times, scaled to the total time: other work
        on the machine makes some passes slow and none fast, so a plain fit would come out too fast."""
        took = np.array(seconds)
        weights = 1 / np.sqrt(np.maximum(took, 1e-6))
        parts, wanted = np.array([load.parts for load in loads]) * weights[:, None], took * weights
        best, least = np.zeros(3), float(wanted @ wanted)
        for columns in (list(some) for count in (1, 2, 3) for some in combinations(range(3), count)):
            found, *_ = np.linalg.lstsq(parts[:, columns], wanted, rcond=None)
            off = float(np.square(parts[:, columns] @ found - wanted).sum())
            if (found >= 0).all() and off < least:
                best, least = np.zeros(3), off
                best[columns] = found
        fitted = parts @ best * np.sqrt(np.maximum(took, 1e-6))
        first, second, third = (best * took.sum() / max(fitted.sum(), 1e-12)).tolist()
        return cls((first, second, third))

    def seconds(self, load: Load) -> float:
        """How long a load takes."""
        return sum(part * each for part, each in zip(load.parts, self.each, strict=True))
