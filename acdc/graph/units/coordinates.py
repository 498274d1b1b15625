"""Coordinates of what components write into the residual stream."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from acdc.errors import InputError
from acdc.graph.ids import Coordinate
from acdc.graph.masks import CoordinateMask
from acdc.graph.units.base import Choice, Listing, Units
from acdc.options import Level


class CoordinateUnits(Units):
    """Coordinates of what components write [writers, d_model], each for all that read it."""

    level, singular, plural, form = Level.coordinates, "coordinate", "coordinates", CoordinateMask
    parts, lists = Level.nodes, (Level.edges, Level.nodes, Level.coordinates)
    derived = "a node has the sum over its listed coordinates, and an edge that of its sender"
    scores_embeddings = False
    keep_whole_edges = False

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.graph.writers), self.graph.anatomy.d_model

    @property
    def always(self) -> int:
        return len(self.graph.embeddings) * self.graph.anatomy.d_model

    def names(self) -> Iterator[str]:
        writers, width = self.graph.writers[len(self.graph.embeddings) :], self.graph.anatomy.d_model
        return (Coordinate(writer, index).id for writer in writers for index in range(width))

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        return self.graph.coordinates(ids)

    def in_part(self, part: str) -> np.ndarray:
        """All coordinates of a node."""
        return np.array([[writer.id == part] for writer in self.graph.writers])

    def edges(self, kept: np.ndarray) -> np.ndarray:
        return self.graph.between(np.any(kept, axis=1))

    def ablated(self, kept: np.ndarray) -> CoordinateMask:
        return CoordinateMask.one(~kept)

    def choose(self, kept: np.ndarray) -> Choice:
        return replace(super().choose(kept), ablated=self.ablated(kept))

    def own(self, kept: np.ndarray) -> CoordinateMask:
        own = kept.copy()
        own[: len(self.graph.embeddings)] = False
        return CoordinateMask.one(own)

    def alone(self, places: np.ndarray) -> CoordinateMask:
        cut = np.zeros((len(places), *self.shape), dtype=bool)
        cut.reshape(len(places), -1)[np.arange(len(places)), places + self.unscored] = True
        return CoordinateMask(cut)

    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        assert level is Level.coordinates, f"scores of {level} are not those of single coordinates"
        return scores

    def listing(self, choice: Choice, scores: np.ndarray) -> Listing:
        """A node has the sum over its kept coordinates, and an edge the score of its sender."""
        kept, (senders, _), writers = choice.kept, self.graph.ends, self.graph.writers
        nodes = np.array([math.fsum(row[own]) for own, row in zip(kept, scores, strict=True)])  # whatever their order
        places = zip(*np.nonzero(self.own(kept).values[0]), strict=True)
        return {
            Level.edges: self._list_edges(choice, nodes[senders]),
            Level.nodes: self._list_nodes(np.any(kept, axis=1), nodes),
            Level.coordinates: {Coordinate(writers[w], int(i)).id: float(scores[w, i]) for w, i in places},
        }

    def check_listing(self, listed: Listing) -> None:
        super().check_listing(listed)
        scores: dict[str, list[float]] = defaultdict(list)
        for name, score in listed[Level.coordinates].items():
            scores[Coordinate.parse(name).writer.id].append(score)
        if {name: math.fsum(found) for name, found in scores.items()} != listed[Level.nodes]:
            raise InputError("its nodes are not those of its coordinates, or have other scores than these add up to")
