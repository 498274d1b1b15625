"""Estimate ACDC's tests at a receiver to first order: a gradient in the present circuit times what ablation changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.search.acdc.propagation import Propagation
from acdc.search.acdc.state import CircuitState
from acdc.task.metrics import Metric


@dataclass(frozen=True)
class FirstOrder:
    """`effects` [metrics, senders, rows]: by how much a row's metrics change without each edge, estimated. `now`
    [metrics, rows]: what they are. `flops`: of one real test."""

    effects: np.ndarray
    now: np.ndarray
    flops: int


def first_order(
    behaviour: Behaviour,
    states: Sequence[CircuitState],
    reader: int,
    senders: Sequence[int],
    metrics: Sequence[Metric] | None = None,
) -> FirstOrder:
    """Estimate the effects of undecided edges from `senders` into a slot of the present circuit, which has a state for
    each batch, on the behaviour's metric or several. Takes one run, forward and as often back as there are metrics, of
    what a change of the slot reaches."""
    metrics = [behaviour.metric] if metrics is None else metrics
    effects = np.zeros((len(metrics), len(senders), len(behaviour.rows)))
    now = np.zeros((len(metrics), len(behaviour.rows)))
    before = behaviour.work.flops
    for batch, state in zip(behaviour.batches, states, strict=True):
        answers, places = batch.answers.for_metrics(metrics), list(batch.index)
        with torch.enable_grad():
            read = state.input(reader).detach().clone().requires_grad_()
            final = Propagation(state, 1).from_input(reader, read[None])
            logits = behaviour.model.components.unembed(final, answers.columns)
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            values = [metric.per_row(wide, answers) for metric in metrics]
        for number, value in enumerate(values):
            now[number, places] = value.detach().double().cpu().numpy()
            (gradient,) = torch.autograd.grad(value.sum(), read, retain_graph=number + 1 < len(values))
            effects[number][:, places] = -state.along(gradient, reader, senders)
    return FirstOrder(effects, now, behaviour.work.flops - before)
