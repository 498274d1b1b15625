"""Estimate ACDC's tests at spans to first order: see `acdc.search.acdc.first_order` for the same without."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour
from acdc.search.acdc.first_order import FirstOrder, differentiated
from acdc.search.acdc.positional_propagation import PositionalPropagation, Read
from acdc.search.acdc.positional_state import Node, PositionalState, Slot
from acdc.task.metrics import Metric


@dataclass(frozen=True)
class PositionalSlopes:
    """Gradients of metrics at what `slots` of one layer and kind read, taken in one run of the present circuit.

    `gradients`: for each batch of rows, by slot and source, one [T, d] per metric. `now` [metrics, rows]. `flops`: of
    the run forwards.
    """

    behaviour: Behaviour
    slots: frozenset[Slot]
    gradients: Sequence[dict[Read, list[Tensor]]]
    now: np.ndarray
    flops: int

    def effects(self, states: Sequence[PositionalState], slot: Slot, senders: Sequence[Node]) -> FirstOrder:
        """Of undecided edges into one of the slots."""
        found = np.zeros((len(self.now), len(senders), self.now.shape[1]))
        for batch, state, by_read in zip(self.behaviour.batches, states, self.gradients, strict=True):
            rows = list(batch.index)
            for source in {span for _, span in senders}:
                places = [place for place, node in enumerate(senders) if node[1] == source]
                wanted = [senders[place] for place in places]
                for number, gradient in enumerate(by_read[*slot, source]):
                    found[number][np.ix_(places, rows)] = -state.along(gradient, slot, source, wanted)
        return FirstOrder(found, self.now, self.flops)


def positional_slopes(
    behaviour: Behaviour, states: Sequence[PositionalState], slots: Sequence[Slot], metrics: Sequence[Metric]
) -> PositionalSlopes:
    """Differentiate metrics in the present circuit, which has a state for each batch, by what undecided slots of one
    layer and kind read. Takes one run, forward and as often back as there are metrics, of what a change of the slots
    reaches."""
    gradients: list[dict[Read, list[Tensor]]] = []
    now = np.zeros((len(metrics), len(behaviour.rows)))
    before = behaviour.work.flops
    for batch, state in zip(behaviour.batches, states, strict=True):
        reads = [(*slot, source) for slot in slots for source in state.sources(slot)]
        with torch.enable_grad():
            inputs = [state.present(read).detach().clone().requires_grad_() for read in reads]
            given = {read: x[None] for read, x in zip(reads, inputs, strict=True)}
            final = PositionalPropagation(state, 1).from_reads(given, slots)
        now[:, list(batch.index)], found = differentiated(behaviour, batch, metrics, final, inputs)
        gradients.append({read: [of[place] for of in found] for place, read in enumerate(reads)})
    return PositionalSlopes(behaviour, frozenset(slots), gradients, now, behaviour.work.flops - before)
