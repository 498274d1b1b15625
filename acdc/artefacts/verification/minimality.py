"""Whether a circuit has parts that it does not need."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval


class MinimalityLevel(StrEnum):
    """How minimal a circuit is, from the weakest claim to the strongest."""

    none = "none"
    quasi = "quasi-minimal"
    local = "locally minimal"
    subset = "subset-minimal"


class Part(BaseModel):
    """An edge of the circuit: by how much the objective gets worse without it, in the metric's unit, positive where it
    is needed; `p`: corrected chance of as much if it did no more than most random edges beside the circuit."""

    model_config = ConfigDict(frozen=True)

    id: str
    worse: Interval
    needed: bool
    p: float


class Minimality(BaseModel):
    """`level`: what has been shown for the mean over rows; `tolerance` in the metric's unit; `outside`: the 90 %
    quantile of what removing random other edges does that were added to the circuit."""

    model_config = ConfigDict(frozen=True)

    level: MinimalityLevel
    subsets_tried: int
    tolerance: float
    parts: list[Part]
    outside: float | None

    @property
    def needed(self) -> int:
        return sum(part.needed for part in self.parts)


TOLERANCE = 0.001  # share of the metric's range
