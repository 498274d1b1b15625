"""Learn a mask over edges by gradient descent: what subnetwork probing, Edge Pruning and UGS share.

A removed edge carries its ablated value; an edge with mask m carries m * current + (1 - m) * ablated value. The masks
of a batch's rows are drawn anew at every update, each row its own. All three methods minimise how far the task's metric
is from the full model's, in shares of its span; with the metric `kl` that is KL(full model || masked model), as in the
papers. Masks trained on another measure than they are judged by lose to attribution (see `benchmarks/README.md`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.execution.ablated import Ablated
from acdc.execution.executor import SlotInputs
from acdc.graph import ComponentGraph, ReaderGroup
from acdc.progress import Progress, silent
from acdc.search.choosing import helpfulness
from acdc.search.cost import BatchCost, BatchDryRun, Effort, Run
from acdc.search.methods.eap_ig import eap_ig_inputs
from acdc.search.options import IntegralOptions, MaskOptions
from acdc.task.metrics import NOISE, distance

MOST_AHEAD = 2.0  # an optimiser moves a logit that far in 10 to 20 updates


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
        total: Tensor | float = 0.0
        first = 0
        for change in self._changes:
            last = min(first + change.shape[1], group.senders)
            if first < last:
                total = total + removed[:, :, first:last] @ change[:, : last - first]
            first = last
        assert isinstance(total, Tensor)  # every slot has a sender
        return residual[None] + total.unflatten(2, residual.shape[1:]).transpose(0, 1)


class MaskRule(Protocol):
    """How one method parametrises, draws and penalises masks; everything is float32 on the CPU."""

    name: str

    def start(self, edges: int) -> list[Tensor]:
        """Parameters to learn, as leaves; the first are the masks' logits [edges]."""

    def optimiser(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """What changes the parameters."""

    def draw(self, parameters: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Masks [N, edges] from independent uniform numbers in (0, 1), [N, edges]."""

    def penalty(self, parameters: Sequence[Tensor], done: float) -> Tensor:
        """What is added to the distance, which is 1 without any edge, when a share of the updates is done."""

    def certainty(self, parameters: Sequence[Tensor]) -> Tensor:
        """How certainly each edge is kept now, [edges] in (0, 1)."""

    def finished(self, certainty: Tensor, done: float) -> bool:
        """Whether more updates would change nothing."""


def learn(behaviour: Behaviour, rule: MaskRule, options: MaskOptions, progress: Progress) -> np.ndarray:
    """The importance of every edge, float64 [edges] in (0, 1): its certainty, averaged over all updates.

    As the pressure on the masks rises from the first update to the last, an edge that is worth more stays longer: so
    one training ranks edges for circuits of every size. A batch is one update; seeded.
    """
    graph, updates, generator = behaviour.graph, options.updates, torch.Generator().manual_seed(options.seed)
    parameters, total = rule.start(graph.n_edges), torch.zeros(graph.n_edges, dtype=torch.float64)
    if options.warm_start:
        parameters[0].data += head_start(behaviour, options.seed, progress)
    optimiser = rule.optimiser(parameters)
    distance = _Distance(behaviour)
    with progress(rule.name, updates, "updates") as advance:
        for update in range(updates):
            batch, done = update % len(behaviour.batches), update / updates
            uniform = torch.rand(len(behaviour.batches[batch].index), graph.n_edges, generator=generator)
            with torch.enable_grad():
                off = distance(batch, rule.draw(parameters, uniform.clamp(1e-4, 1 - 1e-4)))
                optimiser.zero_grad()
                (off + rule.penalty(parameters, done)).backward()
            optimiser.step()
            certainty = rule.certainty(parameters).detach()
            total += certainty
            advance(1, f"{off.item():.1%} off, {int((certainty > 0.5).sum())} open")
            if rule.finished(certainty, done):
                break
    return (total / updates).numpy()


def head_start(behaviour: Behaviour, seed: int, progress: Progress) -> Tensor:
    """What is added to the logits of masks that start from EAP-IG's scores, float32 [edges]: the log of how much an
    edge helps, in units of the mean |score|, and at most `MOST_AHEAD` either way; edges that hurt are furthest behind.

    Raises InputError for a metric without gradient.
    """
    scores = eap_ig_inputs(behaviour, IntegralOptions.of({}, seed=seed), progress)
    helps = helpfulness(scores.values, scores.kind, behaviour.metric.sign) / np.abs(scores.values).mean()
    ahead = np.log(np.maximum(helps, np.exp(-MOST_AHEAD)))
    return torch.from_numpy(np.minimum(ahead, MOST_AHEAD)).float()


def training_cost(dry: BatchDryRun, run: Run, options: MaskOptions) -> BatchCost:
    """Updates take turns over the batches; they end between half and all of those that are allowed. What each training
    begins with is not done again at every update."""
    updates = options.updates / dry.batches

    def training(count: int) -> Effort:
        return dry.of(lambda: run(dry.behaviour, options.model_copy(update={"updates": count}), silent))

    first, one, two = training(1), training(1), training(2)  # what the first keeps is there for the others
    update = two + one * -1.0
    setup = first + update * -1.0
    least, most = (setup + update * (share * updates) for share in (0.5, 1.0))
    return dry.cost(least, most)


class RisingPrice(ABC):
    """What rules share that put a price on open edges: it rises geometrically, from next to nothing to more than almost
    any edge is worth."""

    first, last = 1e-3, 0.3  # in shares of the distance that the empty circuit has

    @abstractmethod
    def certainty(self, parameters: Sequence[Tensor]) -> Tensor:
        """See `MaskRule`."""

    def penalty(self, parameters: Sequence[Tensor], done: float) -> Tensor:
        return self.first * (self.last / self.first) ** done * self.certainty(parameters).sum()

    def finished(self, certainty: Tensor, done: float) -> bool:
        """No edge is open any more, in the second half of the updates: they are ranked by when they shut."""
        return done >= 0.5 and bool((certainty < 0.1).all())


class _Distance:
    """How far a masked model is from the full one: what its metric is off, row by row, in shares of what the metric
    spans between the full model and one without any edge. KL divergence for a metric without a gradient."""

    def __init__(self, behaviour: Behaviour):
        self._behaviour = behaviour
        self._metric = distance(behaviour.graph.anatomy.d_vocab_out) if behaviour.metric.steps else behaviour.metric
        nothing = np.ones((1, behaviour.graph.n_edges), dtype=bool)
        full, empty = behaviour.plain([self._metric]).mean(), behaviour.measure(nothing, [self._metric]).mean()
        self._span = torch.tensor(abs(full - empty))
        if not self._span > NOISE * max(abs(full), abs(empty)):
            raise InputError(
                f"metric {self._metric.name!r} is {full:.6g} for the full model and for one without any edge alike: "
                f"under {behaviour.ablation} ablation there is nothing for masks to learn from these rows"
            )

    def __call__(self, batch: int, masks: Tensor) -> Tensor:
        """Mean over a batch's rows, under masks [N, edges]."""
        behaviour, of, prompts = self._behaviour, self._behaviour.batches[batch], self._behaviour.prompts[batch]
        slots = MaskedEdges(behaviour.graph, masks.to(prompts.embedded), prompts.ablated)
        logits = behaviour.executor.run_embedded(of.clean.blocks[0], of.positions, slots).logits
        off = self._metric.per_row(logits.to(of.answers.full_logits), of.answers)
        if not off.requires_grad:
            raise InputError(f"metric {self._metric.name!r} has no gradient that masks could follow: use exact or acdc")
        off = off - self._metric.per_row(of.answers.full_logits, of.answers)
        return off.abs().mean() / self._span.to(off)


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
