"""What is ablated in each of several subgraphs, in the forms that a model can be run with."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from acdc.graph.component_graph import ComponentGraph
from acdc.graph.positional_graph import PositionalGraph
from acdc.options import Level


@dataclass(frozen=True, eq=False)
class Mask(ABC):
    """Subgraphs by what each ablates: boolean, with candidates along the first axis."""

    values: np.ndarray

    axes: ClassVar[int]
    level: ClassVar[Level]  # whose units the entries are

    def __post_init__(self) -> None:
        assert self.values.ndim == self.axes, f"{type(self).__name__} of shape {self.values.shape}"

    @classmethod
    def one(cls, values: np.ndarray) -> Self:
        """That of a single subgraph."""
        return cls(values[None])

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self.values)

    def __getitem__(self, candidates: slice) -> Self:
        return replace(self, values=self.values[candidates])

    @abstractmethod
    def first_layer(self, graph: ComponentGraph) -> int:
        """The first layer in which any of the subgraphs differs from the full model; the number of layers where none
        does, or only what the logits read."""


class EdgeMask(Mask):
    """Ablated edges [candidates, edges]: a slot reads the ablated value of a removed edge's sender."""

    axes, level = 2, Level.edges

    def first_layer(self, graph: ComponentGraph) -> int:
        touched = np.any(self.values, axis=0)
        layers = [g.layer for g in graph.groups if touched[g.start : g.stop].any()]
        layers += [
            inner.owner.layer for inner in itertools.compress(graph.within_heads, touched[-len(graph.within_heads) :])
        ]
        return min(layers, default=graph.anatomy.n_layers)


class CoordinateMask(Mask):
    """Ablated coordinates [candidates, writers, d_model] of what components write, each for all that read it."""

    axes, level = 3, Level.coordinates

    def first_layer(self, graph: ComponentGraph) -> int:
        """Embeddings stay whole."""
        touched = np.any(self.values, axis=(0, 2))
        return next((w.layer for w, cut in zip(graph.writers, touched, strict=True) if cut), graph.anatomy.n_layers)


class NeuronMask(Mask):
    """Ablated heads and hidden neurons [candidates, layers, heads + neurons of an MLP]."""

    axes, level = 3, Level.neurons

    def first_layer(self, graph: ComponentGraph) -> int:
        touched = np.flatnonzero(np.any(self.values, axis=(0, 2)))
        return int(touched[0]) if len(touched) else graph.anatomy.n_layers


@dataclass(frozen=True, eq=False)
class PositionalMask(Mask):
    """Ablated edges at the spans of prompts [candidates, edges] of a `graph` of these."""

    graph: PositionalGraph

    axes, level = 2, Level.positions

    def first_layer(self, graph: ComponentGraph) -> int:
        touched = np.any(self.values, axis=0)
        layers = (found.group.layer for found in self.graph.groups if touched[found.start : found.stop].any())
        return min(layers, default=graph.anatomy.n_layers)


def concatenate(masks: Sequence[Mask]) -> Mask:
    """The subgraphs of several masks of one form, in their order."""
    form = type(masks[0])
    assert all(type(mask) is form for mask in masks), "masks of different forms"
    return replace(masks[0], values=np.concatenate([mask.values for mask in masks]))
