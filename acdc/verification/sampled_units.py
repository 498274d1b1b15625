"""What intervals and tests take for independent: rows, or where several rows share one, prompts or groups.

Rows with the same clean prompt, such as one for each of its positions, say nearly the same: together they are one unit.
So are rows of one group. Groups of which there are few, such as templates, are no sample: no interval can be had from
them, so rows are resampled inside of them, and results hold for these groups alone.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acdc.artefacts.verification.sampling import FEWEST_UNITS, Sampling, Unit
from acdc.task.rows import Row


@dataclass(frozen=True)
class SampledUnits:
    """`of_row` [rows]: the number of each row's unit, by first appearance; `unit`: what one is. `too_few`: groups that
    rows share, but of which there are too few to resample them."""

    unit: Unit
    of_row: np.ndarray
    too_few: int = 0

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "SampledUnits":
        """The units that some rows make up."""
        groups = {row.group for row in rows if row.group is not None}
        shared = len(groups) < sum(row.group is not None for row in rows)
        by_group = shared and len(groups) >= FEWEST_UNITS
        of_row = _together(rows, by_group)
        unit: Unit = "group" if by_group else "row" if len(set(of_row)) == len(rows) else "prompt"
        return cls(unit, np.array(of_row), len(groups) if shared and not by_group else 0)

    @classmethod
    def single(cls, rows: int) -> "SampledUnits":
        """So many rows, each by itself."""
        return cls("row", np.arange(rows))

    @property
    def count(self) -> int:
        return int(self.of_row.max(initial=-1)) + 1

    @cached_property
    def sizes(self) -> np.ndarray:
        """Rows of each unit."""
        return np.bincount(self.of_row, minlength=self.count)

    def means(self, values: np.ndarray) -> np.ndarray:
        """The mean of each unit's rows: [rows] -> [units]."""
        if self.unit == "row":
            return values
        return np.bincount(self.of_row, weights=values, minlength=self.count) / self.sizes

    @property
    def record(self) -> Sampling:
        return Sampling(unit=self.unit, units=self.count, rows=len(self.of_row), too_few_groups=self.too_few)


def _together(rows: Sequence[Row], by_group: bool) -> list[int]:
    """The unit of each row: rows are in one that share a prompt or, if asked for, a group."""
    import networkx as nx  # here, as pages and tables that show intervals need none of it

    graph = nx.Graph()
    for place, row in enumerate(rows):
        keys: list[Hashable] = [("prompt", row.clean)]
        keys += [("group", row.group)] if by_group and row.group is not None else []
        graph.add_edges_from((place, key) for key in keys)
    units = {node: unit for unit, nodes in enumerate(nx.connected_components(graph)) for node in nodes}
    return [units[place] for place in range(len(rows))]
