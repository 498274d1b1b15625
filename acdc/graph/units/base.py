"""What all levels have in common.

A mask of what is kept has the shape of the units' scores (`Units.shape`). What is ablated is a `Mask`, in the form that
models are run with. What embeddings write always stays: only the edges out of them are removed.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np

from acdc.errors import InputError
from acdc.graph.component_graph import ComponentGraph
from acdc.graph.masks import EdgeMask, Mask
from acdc.options import Level

Listing = Mapping[Level, Mapping[str, float]]  # what a circuit lists, by levels: ids with scores


@dataclass(frozen=True)
class Choice:
    """Units that were chosen: a mask of them (`kept`), the edges of the graph that come with them, boolean [edges],
    before (`selected`) and after pruning to a fixpoint (`edges`), and all else in the form that is ablated (`ablated`).

    `listed`: the edges that the circuit records, which over nodes and coordinates are all between the kept components.
    `sizes`: how many edges were selected, and how many are left after pruning; at spans, of edges there.
    """

    kept: np.ndarray
    selected: np.ndarray
    edges: np.ndarray
    ablated: Mask
    listed: np.ndarray
    sizes: tuple[int, int]

    @property
    def size(self) -> int:
        """How many edges it has."""
        return self.sizes[1]

    @property
    def counts(self) -> dict[str, int]:
        return dict(zip(("selected", "after_pruning"), self.sizes, strict=True))


class Units(ABC):
    """All units of one level of a graph.

    `form`: in which they are ablated. `parts`: what verification removes from a circuit one by one. `lists`: the levels
    of which a circuit lists members. `derived`: how the scores of the others follow from those of the units, in words.
    `are_edges`: each unit is one edge, so that a mask of units is one of edges. `count_as_edges`: each is one edge, of
    the graph or at a span, and a circuit's size counts these. `keep_whole_edges`: a circuit of them is one of edges,
    each kept or removed as a whole. `have_spans`: they depend on the spans of the prompts. `have_neurons`: some are
    hidden neurons of MLPs, of which a graph does not say how many there are.
    `scores_embeddings`: what embeddings write has scores, though it always stays.
    """

    level: ClassVar[Level]
    singular: ClassVar[str]
    plural: ClassVar[str]
    form: ClassVar[type[Mask]]
    parts: ClassVar[Level]
    lists: ClassVar[tuple[Level, ...]]
    derived: ClassVar[str]
    are_edges: ClassVar[bool] = False
    count_as_edges: ClassVar[bool] = False
    keep_whole_edges: ClassVar[bool] = True
    have_spans: ClassVar[bool] = False
    have_neurons: ClassVar[bool] = False
    scores_embeddings: ClassVar[bool] = True

    def __init__(self, graph: ComponentGraph):
        self.graph = graph

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
        return 0 if self.scores_embeddings else self.always

    @abstractmethod
    def names(self) -> Iterator[str]:
        """Ids of all candidates, in the order of a flat mask."""

    def name(self, place: int) -> str:
        """The id of one candidate."""
        return next(islice(self.names(), place, None))

    @property
    def count(self) -> int:
        """Number of candidates."""
        return math.prod(self.shape) - self.unscored

    @property
    def total(self) -> int:
        """Number of units that a circuit may lack."""
        return math.prod(self.shape) - self.always

    @property
    def most_edges(self) -> int:
        """Of how many edges its largest circuit consists, as `Choice.size` counts them."""
        return self.graph.n_edges

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
    def ablated(self, kept: np.ndarray) -> Mask:
        """All that a circuit of these units ablates: a mask of one subgraph."""

    @abstractmethod
    def own(self, kept: np.ndarray) -> Mask:
        """What is in such a circuit and can be ablated: ablating it gives the circuit's complement."""

    @abstractmethod
    def alone(self, places: np.ndarray) -> Mask:
        """Candidates given by their places, each ablated alone."""

    def choose(self, kept: np.ndarray) -> Choice:
        """The circuit of some units, with its dangling edges pruned away."""
        selected = self.edges(kept)
        edges = self.graph.prune(selected)
        sizes = int(selected.sum()), int(edges.sum())
        return Choice(kept, selected, edges, ablated=EdgeMask.one(~edges), listed=selected, sizes=sizes)

    def pruned(self, kept: np.ndarray) -> np.ndarray:
        """The same without units that are on no path from the input to the logits, where a circuit drops these."""
        return kept

    def drawn_like(self, kept: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """What is kept of as many of the removable units, drawn at random, as a circuit keeps."""
        count = int(kept.sum()) - self.always
        return self.first(np.argsort(-generator.random(self.shape).reshape(-1)[self.always :], kind="stable")[:count])

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

    def candidates(self, scores: np.ndarray) -> np.ndarray:
        """Those of all candidates [count] of scores [shape]."""
        return scores.reshape(-1)[self.unscored :]

    def places(self) -> Mapping[str, int]:
        """The place of each candidate among them by its id."""
        return {name: place for place, name in enumerate(self.names())}

    def by_name(self, scores: np.ndarray) -> dict[str, float]:
        """Score of every candidate by its id."""
        return dict(zip(self.names(), self.candidates(scores).tolist(), strict=True))

    @abstractmethod
    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        """Scores [shape] that follow from those of units of a level."""

    @abstractmethod
    def listing(self, choice: Choice, scores: np.ndarray) -> Listing:
        """What a circuit lists, with the scores that follow from those of units [shape]."""

    def check_listing(self, listed: Listing) -> None:
        """Raises InputError where a circuit lists what none of these units does, or at one level what does not follow
        from what it lists at another."""
        for level, members in listed.items():
            if members and level not in self.lists:
                raise InputError(f"a circuit of {self.level} lists {level}")

    def _list_edges(self, choice: Choice, scores: np.ndarray) -> dict[str, float]:
        return {self.graph.names[i]: float(scores[i]) for i in np.flatnonzero(choice.listed)}

    def _list_nodes(self, kept: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        first, writers = len(self.graph.embeddings), self.graph.writers
        return {writers[i].id: float(scores[i]) for i in np.flatnonzero(kept) if i >= first}
