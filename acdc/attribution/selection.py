"""Which units become nodes where there are too many: they are visited by their influence on the logits, in rounds.

Rows of the logits come first. Then, until there are enough, the rows of the unvisited units of most influence over the
rows so far are computed, and what they read counts. Of each row the largest shares are kept, which is enough for an
order; the rows of the graph are computed anew for the units that were chosen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.attribution.logits import Logits
from acdc.attribution.rows import ActiveUnits, Sources, Targets
from acdc.progress import Progress

BATCH = 64  # targets in one sweep
MOST_NUMBERS = 2**26  # of the rows of one sweep
KEPT = 2**15  # largest shares of a row


class _Visited:
    """Rows of visited targets, each as its largest shares, and the influence that they give to all units."""

    def __init__(self, units: int, like: Tensor):
        self._influence = like.new_zeros(units)
        self._rows: list[tuple[int, int, Tensor, Tensor]] = []  # layer, unit (-1: a logit), where, shares
        self._weights: list[float] = []

    def add(self, rows: Tensor, layer: int, unit: int, weight: float = 0.0) -> None:
        """`rows` [columns]: a target's row, units first."""
        size = rows.abs()
        total = size.sum().clamp(min=torch.finfo(rows.dtype).tiny)
        best = size[: len(self._influence)].topk(min(KEPT, len(self._influence)))
        self._rows.append((layer, unit, best.indices, best.values / total))
        self._weights.append(weight)

    def influence(self) -> Tensor:
        """Of every unit over the rows so far, [units]: targets before what they read."""
        self._influence.zero_()
        order = sorted(range(len(self._rows)), key=lambda number: -self._rows[number][0])
        for number in order:
            _, unit, where, share = self._rows[number]
            through = self._weights[number] if unit < 0 else self._influence[unit].item()
            self._influence.index_add_(0, where, share, alpha=through)
        return self._influence


def batch_size(sources: Sources) -> int:
    """How many rows are computed at once."""
    return max(1, min(BATCH, MOST_NUMBERS // sources.columns.total))


@torch.no_grad()
def select_units(sources: Sources, logits: Logits, most: int, progress: Progress) -> list[ActiveUnits]:
    """At most so many of the active units of some sources, by their influence on the logits."""
    columns, count = sources.columns, sources.columns.remainders
    visited = _Visited(count, sources.run.final)
    for start in range(0, len(logits), batch_size(sources)):
        part = torch.arange(start, min(start + batch_size(sources), len(logits)), device=sources.run.final.device)
        for number, row in zip(part.tolist(), sources.rows(logits.targets.pick(part)), strict=True):
            visited.add(row, columns.layers, -1, float(logits.weights[number]))
    chosen = torch.zeros(count, dtype=torch.bool, device=sources.run.final.device)
    with progress("choosing units", most, "units") as advance:
        while (left := most - int(chosen.sum())) > 0:
            influence = visited.influence().masked_fill(chosen, -1.0)
            best = influence.topk(min(left, batch_size(sources)))
            best_units = best.indices[best.values > 0]
            if not len(best_units):
                break
            chosen[best_units] = True
            if left > len(best_units):  # rows of the last ones would choose nothing more
                _visit(sources, visited, best_units.sort().values)
            advance(len(best_units))
    return _picked(sources, chosen)


def _visit(sources: Sources, visited: _Visited, units: Tensor) -> None:
    layers = [layer for layer in range(sources.columns.layers) for _ in range(_count(sources, layer, units))]
    rows = sources.rows(targets_of(sources, split(sources, units)))
    for row, layer, unit in zip(rows, layers, units.tolist(), strict=True):
        visited.add(row, layer, unit)


def _count(sources: Sources, layer: int, units: Tensor) -> int:
    place = sources.columns.of_layer(layer)
    return int(((units >= place.start) & (units < place.stop)).sum())


def split(sources: Sources, units: Tensor) -> list[Tensor]:
    """Columns of units, in their order, as places among the active ones of each layer."""
    places = (sources.columns.of_layer(layer) for layer in range(sources.columns.layers))
    return [units[(units >= place.start) & (units < place.stop)] - place.start for place in places]


def targets_of(sources: Sources, picked: Sequence[Tensor]) -> Targets:
    """Active units, picked by their places in each layer, as targets."""
    parts = [
        sources.targets(layer, active.pick(which))
        for layer, (active, which) in enumerate(zip(sources.active, picked, strict=True))
        if len(which)
    ]
    return Targets(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("layers", "positions", "vectors", "constants")
        )
    )


def _picked(sources: Sources, chosen: Tensor) -> list[ActiveUnits]:
    units = torch.nonzero(chosen)[:, 0]
    return [active.pick(which) for active, which in zip(sources.active, split(sources, units), strict=True)]
