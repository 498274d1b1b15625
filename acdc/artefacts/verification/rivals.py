"""Other circuits that do the same: found by searching again without as many of a circuit's edges as possible."""

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval


class Rival(BaseModel):
    """A circuit found without some edges of the first. `order`: in which these were left out one after another.
    `excluded`: how many of them the model could do without together. `edges`: its size; `shared`: how many of them the
    first circuit has too; `jaccard`: those among the edges of either. `discovery`: faithfulness on the discovery rows,
    which says whether it `reaches` the target; `faithfulness`: on unseen rows, None where there are none."""

    model_config = ConfigDict(frozen=True)

    order: str
    excluded: int
    edges: int
    shared: int
    jaccard: float
    discovery: float
    reaches: bool
    faithfulness: Interval | None


class Rivals(BaseModel):
    """`edges` and `discovery`: size and faithfulness of the first circuit. A rival reaches the target where its own is
    at most `gap` from 1. `trials`: subgraphs that were measured to see what the model can do without; `whole`: whether
    that was asked of all edges, or the budget ended before."""

    model_config = ConfigDict(frozen=True)

    edges: int
    discovery: float
    gap: float
    rows: int
    trials: int
    whole: bool
    each: list[Rival]

    @property
    def reaching(self) -> list[Rival]:
        """Those that reach the target, the one with the smallest overlap first."""
        return sorted((rival for rival in self.each if rival.reaches), key=lambda rival: rival.jaccard)
