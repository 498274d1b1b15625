"""Estimate ACDC's tests at a receiver to first order: a gradient in the present circuit times what ablation changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.behaviour import Batch, Behaviour
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
    behaviour: Behaviour,
    states: Sequence[CircuitState],
    inputs: Sequence[Mapping[int, Tensor]],
    metrics: Sequence[Metric],
) -> Slopes:
    """Differentiate metrics in the present circuit, which has a state for each batch, by the `inputs` [N, Q, d] of some
    slots of one layer and kind. Takes one run, forward and as often back as there are metrics, of what a change of the
    slots reaches."""
    gradients: list[dict[int, list[Tensor]]] = []
    now = np.zeros((len(metrics), len(behaviour.rows)))
    before = behaviour.work.flops
    for batch, state, given in zip(behaviour.batches, states, inputs, strict=True):
        with torch.enable_grad():
            read = [x.detach().clone().requires_grad_() for x in given.values()]
            new = {reader: x[None] for reader, x in zip(given, read, strict=True)}
            final = Propagation(Route(state, list(given)), 1).run(new)
        now[:, list(batch.index)], found = differentiated(behaviour, batch, metrics, final, read)
        gradients.append({reader: [of[place] for of in found] for place, reader in enumerate(given)})
    return Slopes(behaviour, gradients, now, behaviour.work.flops - before)


def differentiated(
    behaviour: Behaviour, batch: Batch, metrics: Sequence[Metric], final: Tensor, read: Sequence[Tensor]
) -> tuple[np.ndarray, list[Sequence[Tensor]]]:
    """Metrics [metrics, N] of what the logits read, [N * answers, d], and of each its gradients at all that was `read`,
    which are 0 where nothing comes of it."""
    answers = batch.answers.for_metrics(metrics)
    found: list[Sequence[Tensor]] = []
    with torch.enable_grad():
        logits = behaviour.model.components.unembed(final, answers.columns)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        values = [metric.per_row(wide, answers) for metric in metrics]
    for number, value in enumerate(values):
        if value.requires_grad:
            more = number + 1 < len(values)
            back = torch.autograd.grad(value.sum(), read, retain_graph=more, allow_unused=True, materialize_grads=True)
        else:
            back = tuple(map(torch.zeros_like, read))
        found.append(back)
    return np.stack([value.detach().double().cpu().numpy() for value in values]), found


def first_order(
    behaviour: Behaviour, states: Sequence[CircuitState], reader: int, senders: Sequence[int]
) -> FirstOrder:
    """Estimate the effects of undecided edges from `senders` into one slot on the behaviour's metric."""
    inputs = [{reader: state.input(reader)} for state in states]
    return slopes(behaviour, states, inputs, [behaviour.metric]).effects(states, reader, senders)
