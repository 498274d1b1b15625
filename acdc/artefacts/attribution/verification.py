"""What was measured of a traced graph by running the model: what is left of a logit with the kept nodes alone and
without them, and what setting single units to zero does, next to what the graph says."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from acdc.display import Tabled

FILE_NAME = "attribution-verification.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class KeptAlone(_Record):
    """A logit (less the mean of all, or less another) with some units ablated, which puts them at `others`: their mean
    at the same place over prompts of random tokens, zero, or their values on a corrupted prompt.

    `full`: nothing is ablated; `none`: all units are. `graph`: all but those of the kept graph, where a kept remainder
    keeps all units of its place. `units`: all but the kept units themselves, so many as `count` says. `without`: these
    alone are ablated. `random_units` and `random_without` are the same for as many units at each place, drawn at
    random, once for each number. What is one node for all MLPs at the first token is never ablated.
    """

    others: Literal["mean", "zero", "corrupted"]
    count: int
    full: float
    none: float
    graph: float
    units: float
    without: float
    random_units: tuple[float, ...]
    random_without: tuple[float, ...]

    def share(self, value: float) -> float | None:
        """How far a value is from that with all units ablated to that of the full model; None where these are equal."""
        return None if self.full == self.none else (value - self.none) / (self.full - self.none)


class UnitEffect(_Record):
    """How much less a logit is without a unit, which is set to zero: by the graph, and as was measured.

    `direct`: along paths through no other unit, by the graph, and `measured_direct` with all else held; `total`: along
    all paths, by the graph; `attention_held` and `nothing_held`: measured.
    """

    id: str
    direct: float
    measured_direct: float
    total: float
    attention_held: float
    nothing_held: float


class GraphVerification(Tabled, _Record):
    """Of one logit, by its node's id. `effects`: of the kept units of most influence, and of other kept ones, drawn at
    random; `rank_held` and `rank_free`: Spearman correlation of total effects by the graph with those measured, with
    attention held and with nothing held."""

    format: Literal["acdc-attribution-verification"] = "acdc-attribution-verification"
    version: Literal[1] = 1
    logit: str
    kept_alone: tuple[KeptAlone, ...]
    effects: tuple[UnitEffect, ...]
    rank_held: float | None
    rank_free: float | None

    def summary(self) -> str:
        ranks = (f"{value:.2f}" if value is not None else "-" for value in (self.rank_held, self.rank_free))
        return f"{self.logit}, rank correlation of effects {' and '.join(ranks)} (attention held and free)"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each unit that was set to zero: see `UnitEffect`."""
        return (effect.model_dump() for effect in self.effects)

    @property
    def largest_error(self) -> float | None:
        """The largest difference between a direct effect in the graph and as measured, as a share of the largest."""
        if not self.effects:
            return None
        largest = max(abs(effect.measured_direct) for effect in self.effects)
        worst = max(abs(effect.direct - effect.measured_direct) for effect in self.effects)
        return worst / largest if largest else worst
