"""Estimate ACDC's tests at a receiver to first order: a gradient in the present circuit times what ablation changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.search.acdc.propagation import Propagation
from acdc.search.acdc.state import CircuitState
from acdc.search.methods.gradients import gradient_of


@dataclass(frozen=True)
class FirstOrder:
    """`effects` [senders]: by how much the objective rises without each edge, estimated. `flops`: of one real test."""

    effects: np.ndarray
    flops: int


def first_order(
    behaviour: Behaviour, states: Sequence[CircuitState], reader: int, senders: Sequence[int]
) -> FirstOrder:
    """Estimate the effects of undecided edges from `senders` into a slot of the present circuit, which has a state for
    each batch. Takes one run, forward and back, of what a change of the slot reaches."""
    metric, effects = behaviour.metric, np.zeros(len(senders))
    before = behaviour.work.flops
    for batch, state in zip(behaviour.batches, states, strict=True):
        answers = batch.answers.for_metrics([metric])
        with torch.enable_grad():
            read = state.input(reader).detach().clone().requires_grad_()
            final = Propagation(state, 1).from_input(reader, read[None])
            logits = behaviour.model.components.unembed(final, answers.columns)
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            metric.per_row(wide, answers).sum().backward()
        effects -= state.along(gradient_of(read), reader, senders)
    return FirstOrder(metric.sign * effects / len(behaviour.rows), behaviour.work.flops - before)
