"""From what was measured, row by row, to maps of effects."""

from dataclasses import dataclass, field

import numpy as np

from acdc.artefacts.patching import Direction, PatchMap
from acdc.errors import NothingToFind
from acdc.patching.plan import Plan
from acdc.patching.settings import PatchSettings
from acdc.patching.sites import ABOUT, Site, units
from acdc.task.metrics import recovered_fraction


@dataclass(frozen=True)
class Measured:
    """The metric by row: of patched runs [layers, units, places, rows] by map, NaN where a row lacks the place, and of
    the plain clean and corrupted runs [2, rows]."""

    maps: dict[tuple[Site, Direction], np.ndarray]
    ends: np.ndarray = field(repr=False)

    @classmethod
    def empty(cls, plan: Plan, settings: PatchSettings) -> "Measured":
        anatomy, rows, found = plan.model.anatomy, len(plan.rows), dict[tuple[Site, Direction], np.ndarray]()
        for site in plan.sites:
            shape = anatomy.n_layers, len(units(site, anatomy)), len(plan.places_of(site).names), rows
            found |= {(site, direction): np.zeros(shape) for direction in settings.directions}
        return cls(found, np.zeros((2, rows)))

    def means(self, metric: str, other: str) -> tuple[float, float]:
        """The metric of the clean and of the corrupted prompts. Raises NothingToFind where these are alike; `other`
        says what the latter are."""
        clean, corrupted = (float(values.mean()) for values in self.ends)
        if recovered_fraction(clean, clean, corrupted) is None:
            raise NothingToFind(f"metric {metric!r} is {clean:.6g} on the clean prompts and on {other} alike")
        return clean, corrupted

    def drawn(self, plan: Plan) -> list[PatchMap]:
        return [_map(plan, site, way, values, self.ends) for (site, way), values in self.maps.items()]


def _map(plan: Plan, site: Site, direction: Direction, values: np.ndarray, ends: np.ndarray) -> PatchMap:
    """A map of layers by places, of layers by heads, or of heads by places."""
    anatomy, places = plan.model.anatomy, plan.places_of(site)
    there = ~np.isnan(values[0, 0])  # [places, rows]
    metric, effect = np.nanmean(values, axis=-1), _effect(values, there, ends[::-1] if direction == "denoise" else ends)
    layers, heads = [str(layer) for layer in range(anatomy.n_layers)], units(site, anatomy)
    if ABOUT[site].slot is not None and len(places.names) == 1:
        rows, columns, kinds = layers, tuple(heads), ("layer", "head")
        metric, effect, there = metric[:, :, 0], effect[:, :, 0], there.repeat(len(heads), axis=0)
    else:
        by_head = ABOUT[site].slot is not None
        rows = [f"a{layer}.{head}" for layer in layers for head in heads] if by_head else layers
        columns, kinds = places.names, ("head" if by_head else "layer", places.kind)
        metric, effect = (one.reshape(-1, len(columns)) for one in (metric, effect))
    return PatchMap(
        site=site.value,
        direction=direction,
        row_kind=kinds[0],
        rows=rows,
        column_kind=kinds[1],
        columns=list(columns),
        measured=there.sum(axis=1).tolist(),
        metric=_finite(metric),
        effect=_finite(effect),
    )


def _effect(values: np.ndarray, there: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """[layers, units, places], of means over the rows that have a place [places, rows]; `ends`: the metric of the base
    runs and of those that patches are from [2, rows]."""
    low, high = (np.array([end[has].mean() for has in there]) for end in ends)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.nanmean(values, axis=-1) - low) / (high - low)


def _finite(values: np.ndarray) -> list[list[float | None]]:
    return [[float(value) if np.isfinite(value) else None for value in row] for row in values]
