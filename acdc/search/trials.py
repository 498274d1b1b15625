"""Try removals in the present circuit: at the cost of what they change, or by runs of the whole subgraph.

A trial removes several edges into one slot, one after the other; its results are the objectives after each.
"""

import copy
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from acdc.graph import Wire
from acdc.model.circuit_state import CircuitState
from acdc.model.spread import Spread
from acdc.task.behaviour import Behaviour, apply

TRIAL_BYTES = 256 * 2**20  # what the candidates of one trial may take
WIDEST = {"cpu": 16, "cuda": 256}  # most candidates of one trial


class Trials(Protocol):
    """The present circuit, what may be removed from it, and what becomes of it then.

    `names` are the candidates, edges or nodes, and `removed` which of them are gone.
    """

    names: tuple[str, ...]
    removed: np.ndarray

    def objective(self) -> float:
        """The objective of the present circuit, measured now."""

    def widest(self, candidates: np.ndarray) -> int:
        """How many of these candidates may be tried at once."""

    def measure(self, candidates: np.ndarray) -> np.ndarray:
        """Objectives with the first, the first two, ... of the candidates removed: edges into one slot, or one wire."""

    def remove(self, candidates: np.ndarray) -> None:
        """Remove edges into one slot, or one wire, for good."""

    def keep(self, candidate: int) -> None:
        """Keep one for good."""

    def is_read(self, writer: int) -> bool:
        """Whether an edge out of a component is kept."""

    def refresh(self, layer: int) -> float | None:
        """Compute the circuit anew from a layer on, below which all is clean; its objective, if that was done."""

    def edges(self) -> np.ndarray:
        """The edges of the present circuit, boolean [edges]."""

    def fork(self) -> "Trials":
        """Another of the same, to go on in another way."""


class WholeRuns:
    """Trials by runs of the whole subgraph: the slow way, for what the fast one does not cover."""

    def __init__(self, behaviour: Behaviour):
        self.behaviour = behaviour
        self.names = behaviour.graph.names
        self.removed = np.zeros(len(self.names), dtype=bool)
        self._read: set[int] = set()

    def _edges_left(self, removed: np.ndarray) -> np.ndarray:
        """Boolean [edges] of what is left without these candidates."""
        return ~removed

    def _objectives(self, removed: np.ndarray) -> np.ndarray:
        left = np.stack([self._edges_left(one) for one in removed])
        return self.behaviour.metric.sign * self.behaviour.measure(~left)[0].mean(axis=1)

    def objective(self) -> float:
        return float(self._objectives(self.removed[None])[0])

    def widest(self, candidates: np.ndarray) -> int:
        return WIDEST[self.behaviour.model.device.type]

    def measure(self, candidates: np.ndarray) -> np.ndarray:
        removed = np.repeat(self.removed[None], len(candidates), axis=0)
        for place, candidate in enumerate(candidates):
            removed[place:, candidate] = True
        return self._objectives(removed)

    def remove(self, candidates: np.ndarray) -> None:
        self.removed[candidates] = True

    def keep(self, candidate: int) -> None:
        writers, _ = self.behaviour.graph.ends
        if candidate < len(writers):
            self._read.add(int(writers[candidate]))

    def is_read(self, writer: int) -> bool:
        return writer in self._read

    def refresh(self, layer: int) -> float | None:
        return None

    def edges(self) -> np.ndarray:
        return self._edges_left(self.removed)

    def fork(self) -> "WholeRuns":
        other = copy.copy(self)
        other.removed, other._read = self.removed.copy(), set(self._read)
        return other


class NodeRuns(WholeRuns):
    """Trials of nodes: a removed one is ablated for all that read it, and reads nothing but ablated values itself.

    The latter matters under post-norms alone, where what a removed head computes still has a part in its layer's scale.
    """

    def __init__(self, behaviour: Behaviour):
        super().__init__(behaviour)
        self.names = tuple(writer.id for writer in behaviour.graph.writers)
        self.removed = np.zeros(len(self.names), dtype=bool)

    def _edges_left(self, removed: np.ndarray) -> np.ndarray:
        return self.behaviour.graph.between(~removed)

    def keep(self, candidate: int) -> None:
        pass


class Increments:
    """Trials at the cost of the components that they reach through kept edges (`CircuitState`, `Spread`)."""

    def __init__(self, behaviour: Behaviour):
        self.behaviour, self.graph, self.names = behaviour, behaviour.graph, behaviour.graph.names
        self.removed = np.zeros(self.graph.n_edges, dtype=bool)
        self._states = [
            CircuitState(behaviour.executor, batch.clean, prompts.ablated, batch.positions)
            for batch, prompts in zip(behaviour.batches, behaviour.prompts, strict=True)
        ]
        self._unsettled: int | None = None  # a slot whose input has changed, while what reads it has not

    @torch.no_grad()
    def objective(self) -> float:
        self._settle()
        logits = len(self.graph.readers) - 1
        return float(self._objectives([state.input(logits)[:, 0] for state in self._states])[0])

    def _objectives(self, finals: Sequence[Tensor]) -> np.ndarray:
        """Mean objectives of what the logits read in each batch, [candidates * rows, d] each -> [candidates]."""
        behaviour, metric = self.behaviour, self.behaviour.metric
        values = np.empty((len(finals[0]) // len(behaviour.batches[0].index), len(behaviour.rows)))
        for batch, final in zip(behaviour.batches, finals, strict=True):
            answers = batch.answers.for_metrics([metric])
            columns = None if answers.columns is None else answers.columns.repeat(len(values), 1)
            logits = behaviour.model.components.unembed(final, columns).unflatten(0, (len(values), -1))
            values[:, list(batch.index)] = apply([metric], logits, answers)[0]
        return metric.sign * values.mean(axis=1)

    def widest(self, edges: np.ndarray) -> int:
        wide = WIDEST[self.behaviour.model.device.type]
        if self._wire(edges):
            return 1
        reader = int(self.graph.ends[1][edges[0]])
        numbers = [
            state.reach(reader) + 2 * len(state.answers) * self.behaviour.model.anatomy.d_vocab_out
            for state in self._states
        ]
        return max(1, min(wide, TRIAL_BYTES // (max(numbers) * self.behaviour.model.dtype.itemsize)))

    @torch.no_grad()
    def measure(self, edges: np.ndarray) -> np.ndarray:
        if wire := self._wire(edges):
            self._settle()
            return self._objectives([Spread(state, 1).from_cut(wire) for state in self._states])
        reader = self._open(edges)
        return self._objectives(
            [
                Spread(state, len(edges)).from_input(reader, state.input(reader) + self._removal(state, edges))
                for state in self._states
            ]
        )

    @torch.no_grad()
    def remove(self, edges: np.ndarray) -> None:
        self.removed[edges] = True
        if wire := self._wire(edges):
            self._settle()
            for state in self._states:
                if state.cone.needs[self.graph.writer_index[wire.owner]]:
                    spread = Spread(state, 1, record=True)
                    spread.from_cut(wire)
                    spread.commit()
        else:
            reader = self._open(edges)
            for state in self._states:
                if reader == len(self.graph.readers) - 1 or state.owners(reader):
                    state.inputs[reader] = state.input(reader) + self._removal(state, edges)[-1]
                    self._unsettled = reader

    def _wire(self, edges: np.ndarray) -> Wire | None:
        candidates = len(self.graph.edges)
        return self.graph.wires[edges[0] - candidates] if edges[0] >= candidates else None

    def _open(self, edges: np.ndarray) -> int:
        """The slot that the edges lead into; whatever was removed from another is settled first."""
        reader = int(self.graph.ends[1][edges[0]])
        if self._unsettled != reader:
            self._settle()
        return reader

    def _settle(self) -> None:
        """Follow what was removed from one slot down to the logits; while edges into it are tried that can wait."""
        reader, self._unsettled = self._unsettled, None
        for state in self._states if reader is not None else ():
            spread = Spread(state, 1, record=True)
            spread.from_input(reader, state.inputs[reader][None])
            spread.commit()

    def _removal(self, state: CircuitState, edges: np.ndarray) -> Tensor:
        writers, readers = self.graph.ends
        return state.removal(writers[edges].tolist(), int(readers[edges[0]]))

    def keep(self, edge: int) -> None:
        writers, readers = self.graph.ends
        if edge < len(writers):
            for state in self._states:
                state.keep(int(writers[edge]), int(readers[edge]))

    def is_read(self, writer: int) -> bool:
        return self._states[0].is_read(writer)

    @torch.no_grad()
    def refresh(self, layer: int) -> float | None:
        self._unsettled = None
        for state in self._states:
            state.refresh(self.removed, layer)
        return self.objective()

    def edges(self) -> np.ndarray:
        return ~self.removed

    def fork(self) -> "Increments":
        other = copy.copy(self)
        other.removed, other._states = self.removed.copy(), [state.fork() for state in self._states]
        return other
