"""Try removals at the cost of the components that they reach through kept edges (`CircuitState`, `Spread`)."""

import copy
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from acdc.graph import Wire, WriterKind
from acdc.model.circuit_state import CircuitState
from acdc.model.cone import Need
from acdc.model.open_slot import OpenSlot
from acdc.model.spread import Spread
from acdc.search.trials import WIDEST, TrialCost
from acdc.task.behaviour import Behaviour, apply

TRIAL_BYTES = 256 * 2**20  # what the candidates of one trial may take
CALL_FLOPS = 2e7  # what starting the products of one component costs, in FLOPs
FILL_ROWS = 20  # a product of few rows takes as long as if it had so many more
MLP_SHARE, HEAD_SHARE = 16, 0.6  # FLOPs of an MLP and of a head for one position, in squares of the residual width


class Increments:
    """See `acdc.search.trials.Trials`. Each batch of rows has a state of its own."""

    def __init__(self, behaviour: Behaviour):
        self.behaviour, self.graph, self.names = behaviour, behaviour.graph, behaviour.graph.names
        self.removed = np.zeros(self.graph.n_edges, dtype=bool)
        self._states = [
            CircuitState(behaviour.executor, batch.run_clean, partial(behaviour.prompts.__getitem__, place))
            for place, batch in enumerate(behaviour.batches)
        ]
        self._cost: TrialCost | None = None  # of trials of the open slot
        self._slots: list[OpenSlot] = []  # by state, where the open receiver is a slot of something needed

    @torch.no_grad()
    def objective(self) -> float:
        if self._slots:
            finals = [Spread(slot.state, 1).from_input(slot.reader, slot.present()[None]) for slot in self._slots]
        else:
            finals = [state.input(len(self.graph.readers) - 1)[:, 0] for state in self._states]
        return float(self._objectives(finals)[0])

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

    @torch.no_grad()
    def open(self, candidates: np.ndarray, others: np.ndarray) -> None:
        self._settle()
        self._cost = None
        if self._wire(np.concatenate([candidates, others])) is not None:
            if len(others):
                self.remove(others)
            return
        self.removed[others] = True
        reader = int(self.graph.ends[1][np.concatenate([candidates, others])[0]])
        if reader == len(self.graph.readers) - 1 or self._states[0].owners(reader):
            senders = self._senders(candidates)
            self._slots = [OpenSlot(state, reader, senders, removes=len(others) > 0) for state in self._states]

    def cost(self, candidates: np.ndarray) -> TrialCost:
        if self._wire(candidates) is not None:
            return TrialCost(1, 1.0, ahead=False)
        if self._cost is None:
            costs = [self._slot_cost(slot.state, slot.reader) for slot in self._slots]
            numbers, fixed, each = (max(c[0] for c in costs), sum(c[1] for c in costs), sum(c[2] for c in costs))
            fitting = TRIAL_BYTES // (numbers * self.behaviour.model.dtype.itemsize)
            widest = max(1, min(WIDEST[self.behaviour.model.device.type], fitting))
            self._cost = TrialCost(widest, fixed / each)
        return self._cost

    def _slot_cost(self, state: CircuitState, reader: int) -> tuple[int, float, float]:
        """(numbers that a candidate brings with it, FLOPs of a trial besides its candidates, FLOPs of a candidate)."""
        shape, columns = self.graph.anatomy, self.behaviour.batches[0].answers.for_metrics([self.behaviour.metric])
        unembedded = shape.d_vocab_out if columns.columns is None else columns.columns.shape[1]
        reached = state.reached(reader)
        everywhere = sum(state.cone.needs[writer] == Need.EVERYWHERE for writer in reached)
        numbers = shape.d_model * state.rows * (len(reached) + int(everywhere + 3) * state.length)
        per_row, rows = 2.0 * shape.d_model * unembedded, state.rows
        fixed, each = CALL_FLOPS + FILL_ROWS * per_row, rows * per_row
        for writer in reached:
            share = HEAD_SHARE if self.graph.writers[writer].kind is WriterKind.HEAD else MLP_SHARE
            positions = state.length if state.cone.needs[writer] == Need.EVERYWHERE else 1
            fixed += CALL_FLOPS + FILL_ROWS * share * shape.d_model**2
            each += rows * positions * share * shape.d_model**2
        return numbers + 2 * rows * unembedded, fixed, each

    @torch.no_grad()
    def measure(self, edges: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
        if wire := self._wire(edges):
            return self._objectives([Spread(state, 1).from_cut(wire) for state in self._states])
        senders = self._senders(edges)
        return self._objectives(
            [
                Spread(state, len(senders)).from_input(slot.reader, slot.without(senders))
                for state, slot in zip(self._states, self._slots, strict=True)
            ]
        )

    @torch.no_grad()
    def remove(self, edges: np.ndarray) -> None:
        self.removed[edges] = True
        for slot in self._slots:
            slot.remove(len(edges))
        if wire := self._wire(edges):
            for state in self._states:
                if state.cone.needs[self.graph.writer_index[wire.owner]]:
                    spread = Spread(state, 1, record=True)
                    spread.from_cut(wire)
                    spread.commit()

    def _wire(self, edges: np.ndarray) -> Wire | None:
        candidates = len(self.graph.edges)
        return self.graph.wires[edges[0] - candidates] if edges[0] >= candidates else None

    def _senders(self, edges: np.ndarray) -> list[int]:
        writers, _ = self.graph.ends
        return writers[edges].tolist()

    def _settle(self) -> None:
        """Close the open slot: follow what was removed from it down to the logits."""
        slots, self._slots = self._slots, []
        for slot in slots:
            if slot.removes:
                spread = Spread(slot.state, 1, record=True)
                spread.from_input(slot.reader, slot.present()[None])
                spread.commit()
            slot.state.decide(slot.reader, changed=slot.removes)

    @torch.no_grad()
    def keep(self, edge: int) -> None:
        writers, readers = self.graph.ends
        if edge < len(writers):
            for state, slot in zip(self._states, self._slots, strict=True):
                slot.keep(int(writers[edge]))
                state.keep(int(writers[edge]), int(readers[edge]))

    def is_read(self, writer: int) -> bool:
        return self._states[0].is_read(writer)

    def edges(self) -> np.ndarray:
        return ~self.removed

    def fork(self) -> "Increments":
        other = copy.copy(self)
        other.removed, other._states = self.removed.copy(), [state.fork() for state in self._states]
        other._slots = [slot.fork(state) for slot, state in zip(self._slots, other._states, strict=False)]
        return other
