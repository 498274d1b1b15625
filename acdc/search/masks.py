"""Learn a mask over edges by gradient descent: what subnetwork probing, Edge Pruning and UGS share.

A removed edge carries its ablated value; an edge with mask m carries m * current + (1 - m) * ablated value. The masks
of a batch's rows are drawn anew at every update, each row its own. All three methods minimise KL(full model || masked
model), whatever the task's metric: a metric alone can be had in ways that the model does not use.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from acdc.graph import ComponentGraph, ReaderGroup
from acdc.model.ablated import Ablated
from acdc.model.executor import SlotInputs
from acdc.progress import Progress
from acdc.task.behaviour import Behaviour
from acdc.task.metrics import METRICS

WINDOW, PATIENCE, TOLERANCE = 25, 4, 1e-3  # see `_Plateau`


class MaskedEdges(SlotInputs):
    """Slot inputs under soft masks [N or 1, edges] with gradients to them; 1 keeps an edge, 0 removes it."""

    def __init__(self, graph: ComponentGraph, masks: Tensor, ablated: Ablated):
        self.graph, self.masks, self.ablated = graph, masks, ablated
        self._changes: list[Tensor] = []

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        first = sum(change.shape[1] for change in self._changes)
        for block in blocks[len(self._changes) :]:
            change = self.ablated.values[first : first + len(block)] - block
            self._changes.append(change.transpose(0, 1).flatten(2))
            first += len(block)
        removed = 1 - self.masks[:, group.start : group.stop].unflatten(1, (len(group.readers), group.senders))
        total, first = 0.0, 0
        for change in self._changes:
            last = min(first + change.shape[1], group.senders)
            if first < last:
                total = total + removed[:, :, first:last] @ change[:, : last - first]
            first = last
        return residual[None] + total.unflatten(2, residual.shape[1:]).transpose(0, 1)


class MaskRule(Protocol):
    """How one method parametrises, draws and penalises masks; everything is float32 on the CPU."""

    name: str

    def start(self, edges: int) -> list[Tensor]:
        """Parameters to learn, as leaves."""

    def optimiser(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """What changes the parameters."""

    def draw(self, parameters: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Masks [N, edges] from independent uniform numbers in (0, 1), [N, edges]."""

    def penalty(self, parameters: Sequence[Tensor], done: float) -> Tensor:
        """What is added to the divergence when a share of the updates is done."""

    def importance(self, parameters: Sequence[Tensor]) -> Tensor:
        """By what edges are ranked, [edges]: in (0, 1), larger for an edge that is kept with more certainty."""


@dataclass(frozen=True)
class Training:
    """How long a mask learns: at most so many updates; fewer once the loss has stopped falling, not before half."""

    updates: int
    seed: int


def learn(behaviour: Behaviour, rule: MaskRule, training: Training, progress: Progress) -> np.ndarray:
    """The importance of every edge, float64 [edges]. Seeded; a batch is one update."""
    graph = behaviour.graph
    generator = torch.Generator().manual_seed(training.seed)
    parameters = rule.start(graph.n_edges)
    optimiser = rule.optimiser(parameters)
    plateau = _Plateau()
    with progress(rule.name, training.updates, "updates") as advance:
        for update in range(training.updates):
            batch = update % len(behaviour.batches)
            uniform = torch.rand(len(behaviour.batches[batch].index), graph.n_edges, generator=generator)
            with torch.enable_grad():
                divergence = _divergence(behaviour, batch, rule.draw(parameters, uniform.clamp(1e-4, 1 - 1e-4)))
                loss = divergence + rule.penalty(parameters, update / training.updates)
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            advance(1, f"loss {loss.item():.4g}")
            if plateau.reached(loss.item()) and 2 * update >= training.updates:
                break
    with torch.no_grad():
        return rule.importance(parameters).double().cpu().numpy()


class _Plateau:
    """Whether a loss has stopped falling: its mean over a window of updates is no lower than before, several times in
    a row."""

    def __init__(self):
        self._losses: list[float] = []
        self._best, self._stale = float("inf"), 0

    def reached(self, loss: float) -> bool:
        self._losses.append(loss)
        if len(self._losses) < WINDOW:
            return False
        mean, self._losses = sum(self._losses) / WINDOW, []
        improved = mean < self._best - TOLERANCE * abs(self._best) if self._best < float("inf") else True
        self._stale = 0 if improved else self._stale + 1
        self._best = min(self._best, mean)
        return self._stale >= PATIENCE


def _divergence(behaviour: Behaviour, batch: int, masks: Tensor) -> Tensor:
    """Mean KL(full model || masked model) over a batch's rows."""
    prompts, of = behaviour.prompts[batch], behaviour.batches[batch]
    masks = masks.to(prompts.embedded)
    slots = MaskedEdges(behaviour.graph, masks, prompts.ablated)
    logits = behaviour.executor.run_embedded(of.clean.blocks[0], of.positions, slots).logits
    return METRICS["kl"].per_row(logits.to(torch.promote_types(logits.dtype, torch.float32)), of.answers).mean()


# Hard concrete masks (Louizos et al. 2018, arXiv 1712.01312)

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1


def hard_concrete(logits: Tensor, uniform: Tensor) -> Tensor:
    """Masks in [0, 1] from their logits [edges] and uniform numbers [N, edges]."""
    noise = uniform.log() - (1 - uniform).log()
    return (((noise + logits) / BETA).sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_probability(logits: Tensor) -> Tensor:
    """How likely a hard concrete mask is not zero."""
    return (logits - BETA * math.log(-GAMMA / ZETA)).sigmoid()


def open_logits(edges: int, probability: float) -> Tensor:
    """Logits [edges] of hard concrete masks whose value without noise is a probability; a leaf."""
    inner = (probability - GAMMA) / (ZETA - GAMMA)
    return torch.full((edges,), BETA * math.log(inner / (1 - inner))).requires_grad_()
