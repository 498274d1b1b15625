"""Two circuits compared."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval
from acdc.display import Tabled


class Overlap(BaseModel):
    """How many are in both, in the first alone and in the second alone; `jaccard`: those in both among all."""

    model_config = ConfigDict(frozen=True)

    both: int
    first: int
    second: int
    jaccard: float | None

    @classmethod
    def of(cls, first: set[str], second: set[str]) -> "Overlap":
        every, both = len(first | second), len(first & second)
        return cls(
            both=both, first=len(first) - both, second=len(second) - both, jaccard=both / every if every else None
        )


class Comparison(Tabled, BaseModel):
    """Of two circuits; `correlation`: Pearson's, of the scores of shared edges, None for fewer than three or where
    scores mean different things. Faithfulness is of the first circuit's metric and ablation, on `rows` rows that
    neither discovery used, of each circuit, their union and their intersection."""

    model_config = ConfigDict(frozen=True)

    edges: Overlap
    nodes: Overlap
    correlation: float | None
    metric: str
    ablation: str
    rows: int
    faithfulness: dict[str, Interval]
    only_first: list[str]
    only_second: list[str]

    def summary(self) -> str:
        own = self.edges
        return f"{own.both:,} edges in both, {own.first:,} only in the first, {own.second:,} only in the second"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each circuit (`first`, `second`, `union`, `intersection`): its faithfulness as `value`, with a 95%
        interval."""
        return ({"circuit": name} | span.model_dump() for name, span in self.faithfulness.items())
