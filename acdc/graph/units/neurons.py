"""Attention heads and hidden neurons of MLPs."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from acdc.errors import InputError
from acdc.graph.component_graph import ComponentGraph
from acdc.graph.ids import Neuron, WriterKind
from acdc.graph.masks import NeuronMask
from acdc.graph.units.base import Choice, Listing, Units
from acdc.options import Level


class NeuronUnits(Units):
    """Heads as components, and of each MLP the neurons that its output projection reads: [embeddings, then of each
    layer its heads and its neurons].

    A neuron is ablated before the output projection, so that the projection's bias, and under post-norms the norm of
    the MLP's output, are those of the present run: an MLP without any of its neurons is no more than that bias and what
    ablated neurons write.
    """

    level, singular, plural, form = Level.neurons, "head or neuron", "heads and neurons", NeuronMask
    parts, lists = Level.neurons, (Level.edges, Level.nodes, Level.neurons)
    derived = "an MLP has the sum over its listed neurons, and an edge that of its sender"
    scores_embeddings = False
    keep_whole_edges = False
    have_neurons = True

    def __init__(self, graph: ComponentGraph, mlp_width: int):
        """`mlp_width`: how many neurons each MLP has."""
        super().__init__(graph)
        self.mlp_width = mlp_width
        self._heads = [w for w, one in enumerate(graph.writers) if one.kind is WriterKind.HEAD]
        self._mlps = [w for w, one in enumerate(graph.writers) if one.kind is WriterKind.MLP]
        assert len(self._mlps) == graph.anatomy.n_layers, "neurons of a model without MLPs"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.always + self.graph.anatomy.n_layers * self._width,)

    @property
    def _width(self) -> int:
        """Units of one layer."""
        return self.graph.anatomy.n_heads + self.mlp_width

    @property
    def always(self) -> int:
        return len(self.graph.embeddings)

    def names(self) -> Iterator[str]:
        shape = self.graph.anatomy
        for layer in range(shape.n_layers):
            yield from (f"a{layer}.h{head}" for head in range(shape.n_heads))
            yield from (Neuron(layer, index).id for index in range(self.mlp_width))

    def place(self, name: str) -> int:
        """Where a unit stands. Raises InputError for an id that this model lacks."""
        shape = self.graph.anatomy
        head = self._head_places.get(name)
        if head is not None:
            return head
        neuron = Neuron.parse(name)
        if neuron.layer >= shape.n_layers or neuron.index >= self.mlp_width:
            raise InputError(f"neuron {name!r} does not exist in this model")
        return self.always + neuron.layer * self._width + shape.n_heads + neuron.index

    @cached_property
    def _head_places(self) -> dict[str, int]:
        heads = (self.graph.writers[w] for w in self._heads)
        return {head.id: self.always + head.layer * self._width + head.head for head in heads}

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        kept = self.first(np.arange(0))
        for name in ids:
            kept[self.place(name)] = True
        return kept

    def in_part(self, part: str) -> np.ndarray:
        return np.arange(self.shape[0]) == self.place(part)

    def by_layer(self, values: np.ndarray) -> np.ndarray:
        """Values [..., units] as [..., layers, heads + neurons]."""
        return values[..., self.always :].reshape(*values.shape[:-1], self.graph.anatomy.n_layers, self._width)

    def joined(self, heads: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """Scores [units] of those of heads [layers, heads] and of neurons [layers, neurons]; 0 for embeddings."""
        return np.concatenate([np.zeros(self.always), np.concatenate([heads, neurons], axis=1).reshape(-1)])

    @property
    def are_heads(self) -> np.ndarray:
        """Boolean [units]."""
        found = np.zeros(self.shape, dtype=bool)
        self.by_layer(found)[:, : self.graph.anatomy.n_heads] = True
        return found

    def components(self, kept: np.ndarray) -> np.ndarray:
        """The writers of which anything is kept, boolean [writers]."""
        heads = self.graph.anatomy.n_heads
        own, writes = self.by_layer(kept), np.zeros(len(self.graph.writers), dtype=bool)
        writes[: self.always] = True
        writes[self._heads] = own[:, :heads].reshape(-1)
        writes[self._mlps] = own[:, heads:].any(axis=1)
        return writes

    def edges(self, kept: np.ndarray) -> np.ndarray:
        return self.graph.between(self.components(kept))

    def ablated(self, kept: np.ndarray) -> NeuronMask:
        return NeuronMask.one(~self.by_layer(kept))

    def own(self, kept: np.ndarray) -> NeuronMask:
        return NeuronMask.one(self.by_layer(kept))

    def alone(self, places: np.ndarray) -> NeuronMask:
        return NeuronMask(self.by_layer(np.arange(self.shape[0]) == places[:, None] + self.unscored))

    def choose(self, kept: np.ndarray) -> Choice:
        return replace(super().choose(kept), ablated=self.ablated(kept))

    def drawn_like(self, kept: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """As many heads and as many neurons: of all units, nearly all are neurons."""
        found, heads = self.first(np.arange(0)), self.are_heads
        for kind in (heads, ~heads & (np.arange(len(heads)) >= self.always)):
            found[generator.choice(np.flatnonzero(kind), int((kept & kind).sum()), replace=False)] = True
        return found

    def of(self, level: Level, scores: np.ndarray) -> np.ndarray:
        assert level is Level.neurons, f"scores of {level} are not those of single neurons"
        return scores

    def listing(self, choice: Choice, scores: np.ndarray) -> Listing:
        names = list(self.names())
        own = {names[i - self.always]: float(scores[i]) for i in np.flatnonzero(choice.kept) if i >= self.always}
        nodes = self._node_scores(own)
        senders, _ = self.graph.ends
        each = np.array([nodes.get(writer.id, 0.0) for writer in self.graph.writers])
        order = [writer.id for writer in self.graph.writers if writer.id in nodes]
        return {
            Level.edges: self._list_edges(choice, each[senders]),
            Level.nodes: {name: nodes[name] for name in order},
            Level.neurons: own,
        }

    def check_listing(self, listed: Listing) -> None:
        super().check_listing(listed)
        if self._node_scores(listed[Level.neurons]) != listed[Level.nodes]:
            raise InputError("its nodes are not those of its neurons, or have other scores than these add up to")

    def _node_scores(self, own: Mapping[str, float]) -> dict[str, float]:
        """Of the components of some units, whatever the order of these."""
        scores: dict[str, list[float]] = defaultdict(list)
        for name, score in own.items():
            scores[name.partition(".n")[0]].append(score)
        return {name: math.fsum(found) for name, found in scores.items()}
