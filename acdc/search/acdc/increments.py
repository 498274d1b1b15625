"""Try removals at the cost of the components that they reach through kept edges (`CircuitState`, `Propagation`)."""

import copy
from functools import partial

import numpy as np
import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.graph import WithinHeadEdge
from acdc.graph.masks import EdgeMask
from acdc.search.acdc.first_order import FirstOrder, Slopes, slopes
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.open_slot import OpenSlot
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.propagation import Propagation
from acdc.search.acdc.route import Route
from acdc.search.acdc.slot_cost import slot_cost
from acdc.search.acdc.state import CircuitState
from acdc.search.acdc.tester import PassCost
from acdc.search.acdc.widths import room
from acdc.task.objective import RAW, Wanted


class Increments:
    """See `acdc.search.acdc.tester.Tester`. Each batch of rows has a state of its own."""

    def __init__(self, behaviour: Behaviour, wanted: Wanted = RAW):
        self.measured = MeasuredObjective(behaviour, wanted)
        behaviour.keep_runs()
        self.behaviour, self.graph, self.names = behaviour, behaviour.graph, behaviour.graph.names
        self.removed = np.zeros(self.graph.n_edges, dtype=bool)
        self.states = [
            CircuitState(
                behaviour.executor,
                batch.run_clean,
                partial(behaviour.prompts.__getitem__, place),
                behaviour.model.device_kind,
            )
            for place, batch in enumerate(behaviour.batches)
        ]
        self._cost: PassCost | None = None  # of passes of the open slot
        self._slots: list[OpenSlot] = []  # by state, where the open receiver is a slot of something needed
        self._slopes: Slopes | None = None  # of the slots of one layer and kind, as they were at the first of them

    @torch.no_grad()
    def objective(self) -> float:
        if self._slots:
            finals = [Propagation(slot.route, 1).from_input(slot.reader, slot.present()[None]) for slot in self._slots]
        else:
            finals = [state.input(len(self.graph.readers) - 1).flatten(0, 1) for state in self.states]
        return float(self.measured.of_finals(finals)[0])

    @torch.no_grad()
    def open(self, candidates: np.ndarray, others: np.ndarray) -> None:
        self.settle()
        self._cost = None
        if self._within_head(np.concatenate([candidates, others])) is not None:
            if len(others):
                self.remove(others)
            return
        self.removed[others] = True
        reader = int(self.graph.ends[1][np.concatenate([candidates, others])[0]])
        if reader == len(self.graph.readers) - 1 or self.states[0].owners(reader):
            senders = self._senders(candidates)
            self._slots = [OpenSlot(state, reader, senders, removes=len(others) > 0) for state in self.states]

    def cost(self, candidates: np.ndarray) -> PassCost:
        if self._within_head(candidates) is not None:
            return PassCost(1, 1.0, speculative=False)
        if self._cost is None:
            reader, metrics = self._slots[0].reader, self.measured.objective.metrics
            model, cost = self.behaviour.model, slot_cost(self.behaviour, self.states, reader, metrics)
            self._cost = cost.of_pass(model, room(model))
            if self._cost.widest < cost.of_pass(model).widest:  # little memory is free
                model.components.work.pass_splits += 1
        return self._cost

    @torch.no_grad()
    def measure(self, wanted: Pass, before: np.ndarray | None = None) -> np.ndarray:
        if inner := self._within_head(wanted.tried):
            cuts = [Route(state, (), inner) for state in self.states]
            return self.measured.of_finals([Propagation(cut, 1).run({}) for cut in cuts])
        senders, columns = self._senders(wanted.tried), wanted.columns
        return self.measured.of_finals(
            [
                Propagation(slot.route, len(columns)).from_input(
                    slot.reader, slot.without(senders, columns, wanted.kept)
                )
                for slot in self._slots
            ]
        )

    def foretell(self, edges: np.ndarray) -> FirstOrder | None:
        if self._within_head(edges):
            return None
        reader = self._slots[0].reader
        if self._slopes is None or reader not in self._slopes.gradients[0]:
            state = self.states[0]
            slots = map(self.graph.reader_index.__getitem__, state.group(reader).readers)
            together = [slot for slot in slots if slot == reader or state.owners(slot)]
            inputs = [{slot: state.input(slot) for slot in together} for state in self.states]
            self._slopes = slopes(self.behaviour, self.states, inputs, self.measured.objective.metrics)
        return self._slopes.effects(self.states, reader, self._senders(edges))

    def foretell_without(self, edges: np.ndarray, count: int) -> FirstOrder:
        reader, senders = self._slots[0].reader, self._senders(edges)
        with torch.no_grad():
            inputs = [{reader: slot.without(senders, [count])[0]} for slot in self._slots]
        found = slopes(self.behaviour, self.states, inputs, self.measured.objective.metrics)
        return found.effects(self.states, reader, senders)

    @torch.no_grad()
    def remove(self, edges: np.ndarray) -> None:
        self.removed[edges] = True
        for slot in self._slots:
            slot.remove(len(edges))
        if inner := self._within_head(edges):
            for state in self.states:
                if state.required.needs[self.graph.writer_index[inner.owner]]:
                    spread = Propagation(Route(state, (), inner), 1, record=True)
                    spread.run({})
                    spread.commit()

    def _within_head(self, edges: np.ndarray) -> WithinHeadEdge | None:
        candidates = len(self.graph.edges)
        return self.graph.within_heads[edges[0] - candidates] if edges[0] >= candidates else None

    def _senders(self, edges: np.ndarray) -> list[int]:
        writers, _ = self.graph.ends
        return writers[edges].tolist()

    @torch.no_grad()
    def settle(self) -> None:
        """Close the open slot: follow what was removed from it down to the logits."""
        slots, self._slots = self._slots, []
        for slot in slots:
            if slot.removes:
                spread = Propagation(slot.route, 1, record=True)
                spread.from_input(slot.reader, slot.present()[None])
                spread.commit()
            slot.state.decide(slot.reader, changed=slot.removes)

    @torch.no_grad()
    def keep(self, edge: int) -> None:
        writers, readers = self.graph.ends
        if edge < len(writers):
            for state, slot in zip(self.states, self._slots, strict=True):
                slot.keep(int(writers[edge]))
                state.keep(int(writers[edge]), int(readers[edge]))

    def is_read(self, writer: int) -> bool:
        return self.states[0].is_read(writer)

    def edges(self) -> np.ndarray:
        return ~self.removed

    @property
    def ablated(self) -> EdgeMask:
        return EdgeMask.one(~self.edges())

    def fork(self) -> "Increments":
        other = copy.copy(self)
        other.removed, other.states = self.removed.copy(), [state.fork() for state in self.states]
        other._slots = [slot.fork(state) for slot, state in zip(self._slots, other.states, strict=False)]
        return other
