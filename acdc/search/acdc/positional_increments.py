"""Try removals at spans at the cost of what they reach through kept edges (`PositionalState`)."""

import copy
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.behaviour import CANDIDATE_BYTES, Behaviour
from acdc.graph import ATTENTION_SLOTS, ReaderKind
from acdc.graph.masks import PositionalMask
from acdc.graph.units import PositionUnits
from acdc.options import Level
from acdc.search.acdc.first_order import FirstOrder
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.positional_first_order import PositionalSlopes, positional_slopes
from acdc.search.acdc.positional_propagation import PositionalPropagation
from acdc.search.acdc.positional_state import Node, PositionalState, Slot
from acdc.search.acdc.tester import PassCost
from acdc.search.acdc.widths import pass_bytes, room, widest
from acdc.task.objective import RAW, Wanted

PASS_COST = 1.0  # see `PassCost.fixed`


class PositionalIncrements:
    """See `acdc.search.acdc.tester.Tester`. Each batch of rows has a state of its own."""

    def __init__(self, behaviour: Behaviour, wanted: Wanted = RAW):
        units = behaviour.units(Level.positions)
        assert isinstance(units, PositionUnits)
        self.measured, self.behaviour, self.graph = MeasuredObjective(behaviour, wanted), behaviour, units.positional
        behaviour.keep_runs()
        self.names, self.removed = self.graph.names, np.zeros(self.graph.n_edges, dtype=bool)
        self.states = [
            PositionalState(
                behaviour.executor,
                self.graph,
                behaviour.where(batch),
                [[answers.position for answers in row.answers] for row in batch.rows],
                batch.run_clean,
                partial(behaviour.prompts.__getitem__, place),
            )
            for place, batch in enumerate(behaviour.batches)
        ]
        self._open: Slot | None = None
        self._has_removed = False
        self._slopes: PositionalSlopes | None = None  # of the slots of one layer and kind, as they were at the first

    @torch.no_grad()
    def objective(self) -> float:
        slot = self._open or self._logits
        return float(
            self.measured.of_finals([PositionalPropagation(state, 1).run(slot, {}) for state in self.states])[0]
        )

    @torch.no_grad()
    def open(self, candidates: np.ndarray, others: np.ndarray) -> None:
        self._settle()
        self.removed[others] = True
        slot, _ = self._ends(np.concatenate([candidates, others])[:1])
        kept = self._ends(candidates)[1] if len(candidates) else []
        for state in self.states:
            state.senders[slot] = list(kept)
        if slot[0] == self._logits[0] or self.states[0].owners(slot):
            self._open, self._has_removed = slot, len(others) > 0
            if self._has_removed:
                self._renew(self.states, {source for _, source in self._ends(others)[1]})

    def cost(self, candidates: np.ndarray) -> PassCost:
        tokens = max(batch.tokens.numel() for batch in self.behaviour.batches)
        shape = self.behaviour.model.anatomy
        numbers = tokens * (2 * shape.d_model + shape.n_heads * 3 * shape.d_head) * self.behaviour.model.dtype.itemsize
        model = self.behaviour.model
        most = CANDIDATE_BYTES if model.device_kind == "cpu" else pass_bytes(model)
        fitting = min(widest(model), int(most // numbers))
        narrowed = min(fitting, int(room(model) // numbers))
        if narrowed < fitting:  # little memory is free
            model.components.work.pass_splits += 1
        return PassCost(max(1, narrowed), PASS_COST)

    @torch.no_grad()
    def measure(self, wanted: Pass, before: np.ndarray | None = None) -> np.ndarray:
        assert self._open is not None
        gone = set() if before is None else set(self._ends(before)[1])
        tried = self._ends(wanted.tried)[1]
        finals = []
        for state in self.states:
            inputs = {
                source: self._inputs(state, source, gone, tried, wanted)
                for source in sorted({source for _, source in (*gone, *tried)})
            }
            finals.append(PositionalPropagation(state, len(wanted.columns)).run(self._open, inputs))
        return self.measured.of_finals(finals)

    def foretell(self, candidates: np.ndarray) -> FirstOrder | None:
        slot, senders = self._ends(candidates)
        if self._slopes is None or slot not in self._slopes.slots:
            together = [other for other in self._alike(slot) if other == slot or self.states[0].owners(other)]
            metrics = self.measured.objective.metrics
            self._slopes = positional_slopes(self.behaviour, self.states, together, metrics)
        return self._slopes.effects(self.states, slot, senders)

    def foretell_without(self, candidates: np.ndarray, count: int) -> FirstOrder:
        slot, senders = self._ends(candidates)
        states = [state.fork() for state in self.states]
        self._lose(states, senders[:count])
        return positional_slopes(self.behaviour, states, [slot], self.measured.objective.metrics).effects(
            self.states, slot, senders
        )

    def _alike(self, slot: Slot) -> list[Slot]:
        """All slots of the layer and kind of one, at all spans; of the logits, which are decided at one span after the
        other, this one alone."""
        group = self.graph.group_at[self.states[0].layer(slot[0]), self.states[0].kind(slot[0])].group
        if group.kind is ReaderKind.LOGITS:
            return [slot]
        readers = map(self.behaviour.graph.reader_index.__getitem__, group.readers)
        return [(reader, span) for reader in readers for span in range(len(self.graph.spans))]

    @torch.no_grad()
    def remove(self, candidates: np.ndarray) -> None:
        self.removed[candidates] = True
        if self._open is None:
            return
        self._has_removed = True
        self._lose(self.states, self._ends(candidates)[1])

    def keep(self, candidate: int) -> None:
        slot, (node,) = self._ends(np.array([candidate]))
        for state in self.states:
            state.readers[node].append(slot)

    def is_read(self, writer: int) -> bool:
        node = divmod(writer, len(self.graph.spans))
        return bool(self.states[0].readers[node])

    def edges(self) -> np.ndarray:
        return ~self.removed

    @property
    def ablated(self) -> PositionalMask:
        return PositionalMask(self.removed[None], self.graph)

    def fork(self) -> "PositionalIncrements":
        other = copy.copy(self)
        other.removed, other.states = self.removed.copy(), [state.fork() for state in self.states]
        return other

    @property
    def _logits(self) -> Slot:
        """A slot of the logits."""
        return len(self.behaviour.graph.readers) - 1, self.graph.spans.answers[-1]

    def _ends(self, edges: np.ndarray) -> tuple[Slot, list[Node]]:
        """(the slot that edges lead into, their senders)."""
        senders, slots = self.graph.ends
        count = len(self.graph.spans)
        reader, span = divmod(int(slots[edges[0]]), count)
        return (reader, span), [divmod(int(sender), count) for sender in senders[edges]]

    def _inputs(
        self, state: PositionalState, source: int, gone: set[Node], tried: Sequence[Node], wanted: Pass
    ) -> Tensor:
        """What the open slot reads of a source without those `gone`, and the first so many of those tried: [columns, T,
        d]."""
        assert self._open is not None
        nodes, changes = state.undecided(self._open, source)
        left, place = set(state.senders[self._open]) - gone, {node: place for place, node in enumerate(tried)}
        out = [set(range(count)) - set(wanted.left_in(count)) for count in wanted.columns]
        kept = [[node in left and place.get(node) not in removed for node in nodes] for removed in out]
        share = torch.tensor(kept).to(changes)
        summed = (share @ changes.flatten(1)).view(len(out), *changes.shape[1:])
        return state.stream(self._open[0], source) + summed

    @torch.no_grad()
    def _lose(self, states: Sequence[PositionalState], senders: Sequence[Node]) -> None:
        """Remove senders from the open slot."""
        assert self._open is not None
        lost = set(senders)
        for state in states:
            state.senders[self._open] = [node for node in state.senders[self._open] if node not in lost]
        self._renew(states, {source for _, source in lost})

    def _renew(self, states: Sequence[PositionalState], sources: set[int]) -> None:
        """After a removal from the open slot."""
        assert self._open is not None
        for state in states:
            if state.kind(self._open[0]) in ATTENTION_SLOTS:
                state.renew(self._open, sources)

    def _settle(self) -> None:
        """Close the open slot: follow what was removed from it down to the logits."""
        slot, self._open = self._open, None
        if slot is not None and self._has_removed:
            for state in self.states:
                spread = PositionalPropagation(state, 1)
                spread.run(slot, {})
                spread.commit()
        self._has_removed = False
