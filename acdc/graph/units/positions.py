"""Edges at single positions of the prompts, or at spans of them that all rows have."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from acdc.errors import InputError
from acdc.graph.component_graph import ComponentGraph
from acdc.graph.masks import PositionalMask
from acdc.graph.positional_graph import PositionalGraph, parts_of
from acdc.graph.task_spans import TaskSpans
from acdc.graph.units.base import Choice, Listing, Units
from acdc.options import Level


class PositionUnits(Units):
    """Edges inside a span, and those that attention's keys and values carry from one to another: see
    `acdc.graph.positional_graph`."""

    level, singular, plural, form = Level.positions, "positional edge", "positional edges", PositionalMask
    parts, lists = Level.positions, (Level.edges, Level.positions)
    derived = "an edge has the sum over its listed positional edges"
    keep_whole_edges = False
    count_as_edges = have_spans = True

    def __init__(self, graph: ComponentGraph, spans: TaskSpans):
        """Raises InputError for a graph of too many edges."""
        super().__init__(graph)
        self.positional = PositionalGraph(graph, spans)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.positional.n_edges,)

    @property
    def always(self) -> int:
        return 0

    @property
    def most_edges(self) -> int:
        return self.positional.n_edges

    def names(self) -> Iterator[str]:
        return iter(self.positional.names)

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        return self.positional.mask(ids)

    def in_part(self, part: str) -> np.ndarray:
        return self.positional.mask([part])

    def edges(self, kept: np.ndarray) -> np.ndarray:
        return self.positional.edges(kept)

    def pruned(self, kept: np.ndarray) -> np.ndarray:
        return self.positional.prune(kept)

    def ablated(self, kept: np.ndarray) -> PositionalMask:
        return PositionalMask(~kept[None], self.positional)

    def own(self, kept: np.ndarray) -> PositionalMask:
        return PositionalMask(kept[None], self.positional)

    def alone(self, places: np.ndarray) -> PositionalMask:
        cut = np.zeros((len(places), self.positional.n_edges), dtype=bool)
        cut[np.arange(len(places)), places] = True
        return PositionalMask(cut, self.positional)

    def choose(self, kept: np.ndarray) -> Choice:
        left = self.pruned(kept)
        edges = self.edges(left)
        sizes = int(kept.sum()), int(left.sum())
        return Choice(kept, self.edges(kept), edges, ablated=self.ablated(left), listed=edges, sizes=sizes)

    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        assert level is Level.positions, f"scores of {level} are not those of edges at single positions"
        return scores

    def listing(self, choice: Choice, scores: np.ndarray) -> Listing:
        return self.list_kept(self.pruned(choice.kept), scores)

    def list_kept(self, kept: np.ndarray, scores: np.ndarray) -> Listing:
        """What a circuit of these edges lists, none of which dangles."""
        own = {self.positional.name(int(place)): float(scores[place]) for place in np.flatnonzero(kept)}
        edges = self._sums(own)
        order = sorted(edges, key=self.graph.index.__getitem__)
        return {Level.edges: {name: edges[name] for name in order}, Level.positions: own}

    def check_listing(self, listed: Listing) -> None:
        super().check_listing(listed)
        if self._sums(listed[Level.positions]) != listed[Level.edges]:
            raise InputError("its edges are not those of its positional edges, or have other scores than these add to")

    def _sums(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores of the edges that positional ones are parts of, whatever the order of these."""
        parts: dict[str, list[float]] = defaultdict(list)
        for name, score in scores.items():
            edge, *_ = parts_of(name) or (name,)
            parts[edge].append(score)
        return {name: math.fsum(found) for name, found in parts.items()}
