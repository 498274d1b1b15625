"""Nodes: whole components."""

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np

from acdc.errors import InputError
from acdc.graph.masks import EdgeMask
from acdc.graph.units.base import Choice, Listing, Units
from acdc.options import Level


class NodeUnits(Units):
    """Components, each with all edges between it and the others that are kept."""

    level, singular, plural, form = Level.nodes, "node", "nodes", EdgeMask
    parts, lists = Level.nodes, (Level.edges, Level.nodes)
    derived = "an edge has that of its sender"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.graph.writers),)

    @property
    def always(self) -> int:
        return len(self.graph.embeddings)

    def names(self) -> Iterator[str]:
        return (writer.id for writer in self.graph.writers)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names())}

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        kept = self.first(np.arange(0))
        for name in ids:
            if name not in self._index:
                raise InputError(f"node {name!r} does not exist in this model")
            kept[self._index[name]] = True
        return kept

    def in_part(self, part: str) -> np.ndarray:
        return np.arange(len(self.graph.writers)) == self._index[part]

    def edges(self, kept: np.ndarray) -> np.ndarray:
        return self.graph.between(kept)

    def ablated(self, kept: np.ndarray) -> EdgeMask:
        return EdgeMask.one(~self.edges(kept))

    def own(self, kept: np.ndarray) -> EdgeMask:
        return EdgeMask.one(self.edges(kept))

    def alone(self, places: np.ndarray) -> EdgeMask:
        writers, _ = self.graph.ends
        return EdgeMask(writers == places[:, None])

    def drawn_like(self, kept: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        count = int(kept.sum()) - self.always
        places = generator.choice(np.arange(self.always, len(self.graph.writers)), count, replace=False)
        return self.first(places - self.always)

    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        """Those of edges are summed up over the edges out of a component: so linear estimates of both agree."""
        if level is Level.edges:
            writers, _ = self.graph.ends
            return np.bincount(writers, weights=scores, minlength=len(self.graph.writers))
        assert level is Level.nodes, f"scores of {level} are not those of whole nodes"
        return scores

    def listing(self, choice: Choice, scores: np.ndarray) -> Listing:
        """An edge has the score of its sender."""
        writers, _ = self.graph.ends
        edges = self._list_edges(choice, scores[writers])
        return {Level.edges: edges, Level.nodes: self._list_nodes(choice.kept, scores)}
