"""Estimate ACDC's tests at a receiver to first order: a gradient in the present circuit times what ablation changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour
from acdc.search.acdc.propagation import Propagation
from acdc.search.acdc.route import Route
from acdc.search.acdc.state import CircuitState
from acdc.task.metrics import Metric


@dataclass(frozen=True)
class FirstOrder:
    """`effects` [metrics, senders, rows]: by how much a row's metrics change without each edge, estimated. `now`
    [metrics, rows]: what they are. `flops`: of one real test."""

    effects: np.ndarray
    now: np.ndarray
    flops: int


@dataclass(frozen=True)
class Slopes:
    """Gradients of metrics at what some slots of one layer and kind read, taken in one run of the present circuit.

    `gradients`: for each batch of rows, by slot, one [N, Q, d] per metric. `now` [metrics, rows]. `flops`: of the run
    forwards.
    """

    behaviour: Behaviour
    gradients: Sequence[dict[int, list[Tensor]]]
    now: np.ndarray
    flops: int

    def effects(self, states: Sequence[CircuitState], reader: int, senders: Sequence[int]) -> FirstOrder:
        """Of undecided edges into one of the slots."""
        found = np.zeros((len(self.now), len(senders), self.now.shape[1]))
        for batch, state, by_slot in zip(self.behaviour.batches, states, self.gradients, strict=True):
            for number, gradient in enumerate(by_slot[reader]):
                found[number][:, list(batch.index)] = -state.along(gradient, reader, senders)
        return FirstOrder(found, self.now, self.flops)


def slopes(
    behaviour: Behaviour, states: Sequence[CircuitState], readers: Sequence[int], metrics: Sequence[Metric]
) -> Slopes:
    """Differentiate metrics in the present circuit, which has a state for each batch, by what slots of one layer and
    kind read. Takes one run, forward and as often back as there are metrics, of what a change of the slots reaches."""
    gradients: list[dict[int, list[Tensor]]] = []
    now = np.zeros((len(metrics), len(behaviour.rows)))
    before = behaviour.work.flops
    for batch, state in zip(behaviour.batches, states, strict=True):
        answers, places = batch.answers.for_metrics(metrics), list(batch.index)
        with torch.enable_grad():
            read = [state.input(reader).detach().clone().requires_grad_() for reader in readers]
            inputs = {reader: x[None] for reader, x in zip(readers, read, strict=True)}
            final = Propagation(Route(state, readers), 1).run(inputs)
            logits = behaviour.model.components.unembed(final, answers.columns)
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            values = [metric.per_row(wide, answers) for metric in metrics]
        found: dict[int, list[Tensor]] = {reader: [] for reader in readers}
        for number, value in enumerate(values):
            now[number, places] = value.detach().double().cpu().numpy()
            back = torch.autograd.grad(value.sum(), read, retain_graph=number + 1 < len(values))
            for reader, gradient in zip(readers, back, strict=True):
                found[reader].append(gradient)
        gradients.append(found)
    return Slopes(behaviour, gradients, now, behaviour.work.flops - before)


def first_order(
    behaviour: Behaviour, states: Sequence[CircuitState], reader: int, senders: Sequence[int]
) -> FirstOrder:
    """Estimate the effects of undecided edges from `senders` into one slot on the behaviour's metric."""
    return slopes(behaviour, states, [reader], [behaviour.metric]).effects(states, reader, senders)
