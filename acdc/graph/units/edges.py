"""Edges: what one component writes, for one slot that reads it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from acdc.graph.edge_names import EdgeIndex
from acdc.graph.masks import EdgeMask
from acdc.graph.units.base import Choice, Listing, Units
from acdc.options import Level


class EdgeUnits(Units):
    """Edges, within-head edges included where these are removable."""

    level, singular, plural, form = Level.edges, "edge", "edges", EdgeMask
    parts, lists, derived = Level.edges, (Level.edges,), ""
    are_edges = count_as_edges = True

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.graph.n_edges,)

    @property
    def always(self) -> int:
        return 0

    def names(self) -> Iterator[str]:
        return iter(self.graph.names)

    def name(self, place: int) -> str:
        return self.graph.names[place]

    def places(self) -> EdgeIndex:
        return self.graph.index

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        return self.graph.mask(ids)

    def in_part(self, part: str) -> np.ndarray:
        return self.graph.mask([part])

    def edges(self, kept: np.ndarray) -> np.ndarray:
        return kept

    def pruned(self, kept: np.ndarray) -> np.ndarray:
        return self.graph.prune(kept)

    def ablated(self, kept: np.ndarray) -> EdgeMask:
        return EdgeMask.one(~kept)

    def own(self, kept: np.ndarray) -> EdgeMask:
        return EdgeMask.one(kept)

    def alone(self, places: np.ndarray) -> EdgeMask:
        return EdgeMask(np.arange(self.graph.n_edges) == places[:, None])

    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        assert level is Level.edges, f"scores of {level} are not those of single edges"
        return scores

    def choose(self, kept: np.ndarray) -> Choice:
        choice = super().choose(kept)
        return replace(choice, listed=choice.edges)

    def listing(self, choice: Choice, scores: np.ndarray) -> Listing:
        return {Level.edges: self._list_edges(choice, scores)}
