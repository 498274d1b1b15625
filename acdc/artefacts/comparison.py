"""Two circuits compared."""

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval


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


class Comparison(BaseModel):
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
