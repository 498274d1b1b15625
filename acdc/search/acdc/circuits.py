"""Circuits of edges, or of edges at spans, as a polish sees them: nodes and slots, what variants measure, and gradients
in a circuit's own run."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.variants import Variants, measure_variants
from acdc.behaviour.variants_at_spans import measure_variants_at_spans
from acdc.execution.required_positions import RequiredPositions
from acdc.execution.watched import WatchedRun
from acdc.execution.watched_at_spans import WatchedAtSpans
from acdc.graph.masks import EdgeMask, Mask, PositionalMask
from acdc.graph.units import PositionUnits
from acdc.options import Level
from acdc.task.metrics import Metric


class Watched(Protocol):
    """A circuit's run over a batch: `WatchedRun`, or `WatchedAtSpans`."""

    def gradients(self, value: Tensor, more: bool) -> Sequence[Tensor | None]: ...

    def own_effects(self, gradients: Sequence[Tensor | None], edges: np.ndarray) -> np.ndarray: ...

    def effects_of(self, values: Tensor, gradients: Sequence[Tensor | None], edges: np.ndarray) -> np.ndarray: ...


class Circuits(Protocol):
    """Boolean [edges] says what a circuit keeps. `ends`: of every edge its sender and its slot; `owned` [slots, nodes]:
    which nodes a slot belongs to; `inputs`: the first so many nodes, which read nothing."""

    behaviour: Behaviour

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]: ...

    @property
    def owned(self) -> np.ndarray: ...

    @property
    def inputs(self) -> int: ...

    def pruned(self, kept: np.ndarray) -> np.ndarray: ...

    def names(self, kept: np.ndarray) -> list[str]: ...

    def ablated(self, kept: np.ndarray) -> Mask:
        """All that is not in circuits, [candidates, edges]."""

    def variants(
        self, kept: np.ndarray, changed: Sequence[np.ndarray], metrics: Sequence[Metric]
    ) -> Iterator[np.ndarray]:
        """Metrics of a circuit with some edges toggled, some variants at a time: [metrics, variants, rows]."""

    def watch(self, place: int, kept: np.ndarray, edges: np.ndarray, columns: Tensor | None) -> tuple[Watched, Tensor]:
        """A circuit's run over one of the batches, by which effects of `edges` can be told, and its logits."""


class EdgeCircuits:
    """See `Circuits`."""

    def __init__(self, behaviour: Behaviour):
        self.behaviour = behaviour
        self.ends, self.owned = behaviour.graph.ends, behaviour.graph.owned
        self.inputs = len(behaviour.graph.embeddings)

    def pruned(self, kept: np.ndarray) -> np.ndarray:
        return self.behaviour.graph.prune(kept)

    def names(self, kept: np.ndarray) -> list[str]:
        return self.behaviour.graph.ids(kept)

    def ablated(self, kept: np.ndarray) -> EdgeMask:
        return EdgeMask(~kept)

    def variants(
        self, kept: np.ndarray, changed: Sequence[np.ndarray], metrics: Sequence[Metric]
    ) -> Iterator[np.ndarray]:
        return measure_variants(self.behaviour, Variants(kept, changed), metrics)

    def watch(
        self, place: int, kept: np.ndarray, edges: np.ndarray, columns: Tensor | None
    ) -> tuple[WatchedRun, Tensor]:
        behaviour, every = self.behaviour, kept | np.isin(np.arange(len(kept)), edges)
        required = RequiredPositions.of(behaviour.graph, every)
        run = WatchedRun(behaviour.model.components, required, behaviour.prompts[place], kept)
        return run, run.logits(columns)


class PositionalCircuits:
    """See `Circuits`. A node is a component at a span."""

    def __init__(self, behaviour: Behaviour):
        units = behaviour.units(Level.positions)
        assert isinstance(units, PositionUnits)
        self.behaviour, self._graph = behaviour, units.positional
        self.ends, self.owned = self._graph.ends, self._graph.owned
        self.inputs = len(behaviour.graph.embeddings) * len(self._graph.spans)

    def pruned(self, kept: np.ndarray) -> np.ndarray:
        return self._graph.prune(kept)

    def names(self, kept: np.ndarray) -> list[str]:
        return [self._graph.name(int(place)) for place in np.flatnonzero(kept)]

    def ablated(self, kept: np.ndarray) -> PositionalMask:
        return PositionalMask(~kept, self._graph)

    def variants(
        self, kept: np.ndarray, changed: Sequence[np.ndarray], metrics: Sequence[Metric]
    ) -> Iterator[np.ndarray]:
        yield measure_variants_at_spans(self.behaviour, self._graph, Variants(kept, changed), metrics)

    def watch(
        self, place: int, kept: np.ndarray, edges: np.ndarray, columns: Tensor | None
    ) -> tuple[WatchedAtSpans, Tensor]:
        batch, prompts = self.behaviour.batches[place], self.behaviour.prompts[place]
        run = WatchedAtSpans(self.ablated(kept[None]), self.behaviour.where(batch), prompts.ablated)
        return run, run.logits(self.behaviour.executor, batch.clean, batch.positions, columns)


def circuits_of(behaviour: Behaviour, level: Level) -> Circuits:
    """Those of edges, or of edges at spans."""
    return PositionalCircuits(behaviour) if level is Level.positions else EdgeCircuits(behaviour)
