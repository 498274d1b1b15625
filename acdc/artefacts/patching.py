"""Activation patching as a file: `patching.json`, the maps with everything that they depend on."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.circuit import ModelRecord
from acdc.display import Tabled
from acdc.errors import InputError

FILE_NAME = "patching.json"
Direction = Literal["denoise", "noise"]
CONVENTION = {
    "denoise": "the base run is that of the corrupted prompt, and the patch is from the clean one: 0 is the corrupted "
    "prompt's metric, 1 the clean one's",
    "noise": "the base run is that of the clean prompt, and the patch is from the corrupted one: 0 is the clean "
    "prompt's metric, 1 the corrupted one's",
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoiseRecord(_Record):
    """Causal tracing: Gaussian noise on a span's token embeddings, of `level` times `sigma`, the standard deviation of
    these embeddings; every number is a mean over `samples`. Attention and MLP outputs are restored in `window` layers
    together."""

    subject: str
    level: float
    sigma: float
    samples: int
    window: int


class PatchMap(Tabled, _Record):
    """One map: `metric` [rows][columns] with the patch, and `effect`, which is 0 for the base run and 1 for the run
    that the patch is from; None where they do not differ. `measured`: by column, how many of the task's rows have
    it."""

    site: str
    direction: Direction
    row_kind: str
    rows: list[str]
    column_kind: str
    columns: list[str]
    measured: list[int]
    metric: list[list[float | None]]
    effect: list[list[float | None]]

    @property
    def name(self) -> str:
        """Also of its files."""
        return f"{self.site}_{self.direction}"

    def summary(self) -> str:
        return f"{self.name}, {len(self.rows)} x {len(self.columns)}"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each cell: `row`, `column`, `metric` with the patch, and `effect`."""
        for row, column, metric, effect in self.cells():
            yield {"row": row, "column": column, "metric": metric, "effect": effect}

    def cells(self) -> Iterator[tuple[str, str, float | None, float | None]]:
        """(row, column, metric, effect)."""
        for row, metrics, effects in zip(self.rows, self.metric, self.effect, strict=True):
            yield from ((row, *rest) for rest in zip(self.columns, metrics, effects, strict=True))

    def strongest(self, count: int) -> list[tuple[str, float]]:
        """(cell, effect) of the largest effects."""
        known = [(self.cell(row, column), effect) for row, column, _, effect in self.cells() if effect is not None]
        return sorted(known, key=lambda cell: -abs(cell[1]))[:count]

    def cell(self, row: str, column: str) -> str:
        """What a cell is called: `3@end` is layer 3 at a place, `a3.h2` a head, `a3.h2@end` a head at a place."""
        return f"a{row}.{column}" if self.column_kind == "head" else f"{row}@{column}"


class PatchedTask(_Record):
    """Which rows; `spans_hash`: of their spans, where the columns are these."""

    name: str
    content_hash: str
    rows: list[str]
    spans_hash: str | None = None


class PatchRecord(Tabled, _Record):
    """`metric_clean` and `metric_corrupted`: means over the rows; under causal tracing the latter is with noise."""

    format: Literal["acdc-patching"] = "acdc-patching"
    version: Literal[1] = 1
    model: ModelRecord
    task: PatchedTask
    metric: str
    larger_is_better: bool
    metric_clean: float
    metric_corrupted: float
    convention: dict[str, str]
    noise: NoiseRecord | None
    seed: int
    dtype: str
    batch: dict[str, int | str]
    versions: dict[str, str]
    maps: list[PatchMap]

    def summary(self) -> str:
        maps = ", ".join(one.name for one in self.maps)
        return f"{self.task.name} in {self.model.name}, {self.metric}, {len(self.task.rows)} rows; maps {maps}"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each cell of each map: `map`, `direction`, and what `PatchMap.table` has."""
        for one in self.maps:
            yield from ({"map": one.site, "direction": one.direction} | cell for cell in one.table())

    def map(self, site: str, direction: Direction = "denoise") -> PatchMap:
        """Raises InputError for a map that was not made."""
        for one in self.maps:
            if (one.site, one.direction) == (site, direction):
                return one
        made = ", ".join(f"{one.site} ({one.direction})" for one in self.maps)
        raise InputError(f"there is no map of {site} ({direction}); there are {made}")
