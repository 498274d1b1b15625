"""What a circuit keeps or removes: edges, nodes, or single coordinates of what nodes write. One class for each level.

A mask of what is kept has the shape of the units' scores (`shape`). What is ablated has a form that models are run
with, boolean [edges], or [writers, d_model] where single coordinates are ablated for all that read them. What
embeddings write always stays: only the edges out of them are removed.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from acdc.errors import InputError
from acdc.graph.component_graph import ComponentGraph
from acdc.graph.ids import Coordinate
from acdc.options import Level


@dataclass(frozen=True)
class Choice:
    """Units that were chosen: a mask of them (`kept`), the edges of the graph that come with them, boolean [edges],
    before (`selected`) and after pruning to a fixpoint (`edges`), and all else in the form that is ablated (`ablated`).

    `listed`: the edges that the circuit records, which over nodes and coordinates are all between the kept components.
    """

    kept: np.ndarray
    selected: np.ndarray
    edges: np.ndarray
    ablated: np.ndarray
    listed: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        return {"selected": int(self.selected.sum()), "after_pruning": int(self.edges.sum())}


class Units(ABC):
    """All units of one level of a graph."""

    level: ClassVar[Level]
    singular: ClassVar[str]
    parts: ClassVar[Level]  # what verification removes from a circuit one by one

    def __init__(self, graph: ComponentGraph):
        self.graph = graph

    @property
    def plural(self) -> str:
        return self.level.value

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of scores and of masks of what is kept."""

    @property
    @abstractmethod
    def always(self) -> int:
        """So many of the first units, in the order of a flat mask, stay whatever is chosen."""

    @property
    def unscored(self) -> int:
        """So many of the first units are never candidates."""
        return 0

    @abstractmethod
    def names(self) -> Iterator[str]:
        """Ids of all candidates, in the order of a flat mask."""

    @property
    def count(self) -> int:
        """Number of candidates."""
        return math.prod(self.shape) - self.unscored

    @property
    def total(self) -> int:
        """Number of units that a circuit may lack."""
        return math.prod(self.shape) - self.always

    @abstractmethod
    def mask(self, ids: Iterable[str]) -> np.ndarray:
        """What is kept, [shape], where units of these ids are, besides what always stays. Raises InputError for an id
        that this graph lacks."""

    @abstractmethod
    def in_part(self, part: str) -> np.ndarray:
        """The units of one of a circuit's parts, boolean and of a shape that can be broadcast to `shape`."""

    @abstractmethod
    def edges(self, kept: np.ndarray) -> np.ndarray:
        """The edges of a circuit that keeps these units, boolean [edges]."""

    @abstractmethod
    def ablated(self, kept: np.ndarray) -> np.ndarray:
        """All that a circuit of these units ablates, in the form that models are run with."""

    @abstractmethod
    def own(self, kept: np.ndarray) -> np.ndarray:
        """What is in such a circuit and can be ablated, in the same form."""

    @abstractmethod
    def alone(self, places: np.ndarray) -> np.ndarray:
        """Candidates given by their places, each ablated alone: the form that models are run with, for each of them."""

    def choose(self, kept: np.ndarray) -> Choice:
        """The circuit of some units, with its dangling edges pruned away."""
        selected = self.edges(kept)
        edges = self.graph.prune(selected)
        return Choice(kept, selected, edges, ablated=~edges, listed=selected)

    def first(self, order: np.ndarray) -> np.ndarray:
        """What is kept where these of the removable units are, given by their places among these."""
        kept = np.zeros(self.shape, dtype=bool)
        flat = kept.reshape(-1)
        flat[: self.always] = True
        flat[self.always + order] = True
        return kept

    def placed(self, effects: np.ndarray) -> np.ndarray:
        """Scores [shape] of those of all candidates [count]; 0 for what is none."""
        return np.concatenate([np.zeros(self.unscored), effects]).reshape(self.shape)

    def by_name(self, scores: np.ndarray) -> dict[str, float]:
        """Score of every candidate by its id."""
        return dict(zip(self.names(), scores.reshape(-1)[self.unscored :].tolist(), strict=True))

    @abstractmethod
    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        """Scores [shape] that follow from those of units of a level."""

    @abstractmethod
    def listing(self, choice: Choice, scores: np.ndarray) -> dict[Level, dict[str, float]]:
        """What a circuit lists, by levels: ids with the scores that follow from those of units [shape]."""

    def _list_edges(self, choice: Choice, scores: np.ndarray) -> dict[str, float]:
        return {self.graph.names[i]: float(scores[i]) for i in np.flatnonzero(choice.listed)}

    def _list_nodes(self, kept: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        first, writers = len(self.graph.embeddings), self.graph.writers
        return {writers[i].id: float(scores[i]) for i in np.flatnonzero(kept) if i >= first}


class EdgeUnits(Units):
    """Edges, within-head edges included where these are removable."""

    level, singular, parts = Level.edges, "edge", Level.edges

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.graph.n_edges,)

    @property
    def always(self) -> int:
        return 0

    def names(self) -> Iterator[str]:
        return iter(self.graph.names)

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        return self.graph.mask(ids)

    def in_part(self, part: str) -> np.ndarray:
        return self.graph.mask([part])

    def edges(self, kept: np.ndarray) -> np.ndarray:
        return kept

    def ablated(self, kept: np.ndarray) -> np.ndarray:
        return ~kept

    def own(self, kept: np.ndarray) -> np.ndarray:
        return kept

    def alone(self, places: np.ndarray) -> np.ndarray:
        return np.arange(self.graph.n_edges) == places[:, None]

    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        assert level is Level.edges, f"scores of {level} are not those of single edges"
        return scores

    def choose(self, kept: np.ndarray) -> Choice:
        choice = super().choose(kept)
        return replace(choice, listed=choice.edges)

    def listing(self, choice: Choice, scores: np.ndarray) -> dict[Level, dict[str, float]]:
        return {Level.edges: self._list_edges(choice, scores)}


class NodeUnits(Units):
    """Components, each with all edges between it and the others that are kept."""

    level, singular, parts = Level.nodes, "node", Level.nodes

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

    def ablated(self, kept: np.ndarray) -> np.ndarray:
        return ~self.edges(kept)

    def own(self, kept: np.ndarray) -> np.ndarray:
        return self.edges(kept)

    def alone(self, places: np.ndarray) -> np.ndarray:
        writers, _ = self.graph.ends
        return writers == places[:, None]

    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        """Those of edges are summed up over the edges out of a component: so linear estimates of both agree."""
        if level is Level.edges:
            writers, _ = self.graph.ends
            return np.bincount(writers, weights=scores, minlength=len(self.graph.writers))
        assert level is Level.nodes, f"scores of {level} are not those of whole nodes"
        return scores

    def listing(self, choice: Choice, scores: np.ndarray) -> dict[Level, dict[str, float]]:
        """An edge has the score of its sender."""
        writers, _ = self.graph.ends
        edges = self._list_edges(choice, scores[writers])
        return {Level.edges: edges, Level.nodes: self._list_nodes(choice.kept, scores)}


class CoordinateUnits(Units):
    """Coordinates of what components write [writers, d_model], each for all that read it."""

    level, singular, parts = Level.coordinates, "coordinate", Level.nodes

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.graph.writers), self.graph.anatomy.d_model

    @property
    def always(self) -> int:
        return len(self.graph.embeddings) * self.graph.anatomy.d_model

    @property
    def unscored(self) -> int:
        return self.always

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

    def ablated(self, kept: np.ndarray) -> np.ndarray:
        return ~kept

    def choose(self, kept: np.ndarray) -> Choice:
        return replace(super().choose(kept), ablated=self.ablated(kept))

    def own(self, kept: np.ndarray) -> np.ndarray:
        own = kept.copy()
        own[: len(self.graph.embeddings)] = False
        return own

    def alone(self, places: np.ndarray) -> np.ndarray:
        cut = np.zeros((len(places), *self.shape), dtype=bool)
        cut.reshape(len(places), -1)[np.arange(len(places)), places + self.unscored] = True
        return cut

    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        assert level is Level.coordinates, f"scores of {level} are not those of single coordinates"
        return scores

    def listing(self, choice: Choice, scores: np.ndarray) -> dict[Level, dict[str, float]]:
        """A node has the sum over its kept coordinates, and an edge the score of its sender."""
        kept, (senders, _), writers = choice.kept, self.graph.ends, self.graph.writers
        nodes = np.array([math.fsum(row[own]) for own, row in zip(kept, scores, strict=True)])  # whatever their order
        places = zip(*np.nonzero(self.own(kept)), strict=True)
        return {
            Level.edges: self._list_edges(choice, nodes[senders]),
            Level.nodes: self._list_nodes(np.any(kept, axis=1), nodes),
            Level.coordinates: {Coordinate(writers[w], int(i)).id: float(scores[w, i]) for w, i in places},
        }


_KINDS: Sequence[type[Units]] = (EdgeUnits, NodeUnits, CoordinateUnits)


def units_of(graph: ComponentGraph, level: Level) -> Units:
    """The units of a level of a graph."""
    return {kind.level: kind for kind in _KINDS}[level](graph)
