"""EAP with integrated gradients (Hanna et al. 2024, arXiv 2403.17806): gradients averaged on the way to the clean run.

score(u->v) = mean over rows of sum over positions and d of (ablated - clean output of u) . mean over k = 0 .. m-1 of
d metric / d input of v, the gradient taken at the k-th point of the way: alpha = k/m, from ablated towards clean.

- inputs: what the embeddings give is alpha * clean + (1 - alpha) * ablated.
- activations: one group of writers at a time (the embeddings, the heads of a layer, its MLP) is so mixed, everything
  before it is clean, and only the edges out of that group are scored.
- clean-corrupted: the mean of the gradients at the two ends alone.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.progress import Progress
from acdc.search.methods.contraction import Contraction, Taps
from acdc.search.methods.gradients import attribute, backward, check_gradient, from_embedded
from acdc.search.options import IntegralOptions, RowOptions


def eap_ig_inputs(behaviour: Behaviour, options: IntegralOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward and `steps` passes forward and back.

    Raises InputError for a metric without gradient.
    """
    check_gradient(behaviour.metric)
    alphas = tuple(k / options.steps for k in range(options.steps))
    return attribute(behaviour, "eap-ig-inputs", options, progress, partial(_along_inputs, alphas), len(alphas))


def clean_corrupted(behaviour: Behaviour, options: RowOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward and two passes forward and back.

    Raises InputError for a metric without gradient.
    """
    check_gradient(behaviour.metric)
    return attribute(behaviour, "clean-corrupted", options, progress, partial(_along_inputs, (0.0, 1.0)), runs=2)


def eap_ig_activations(behaviour: Behaviour, options: IntegralOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward, and for every group of writers `steps` passes through what comes
    after it.

    Raises InputError for a metric without gradient.
    """
    check_gradient(behaviour.metric)
    scores = partial(_along_activations, options.steps)
    return attribute(behaviour, "eap-ig-activations", options, progress, scores, options.steps)


def _along_inputs(
    alphas: Sequence[float], behaviour: Behaviour, batch: Batch, change: Tensor, contract: Contraction
) -> Tensor:
    clean, embeddings = batch.clean.blocks[0], len(behaviour.graph.embeddings)
    points = (clean + (1 - alpha) * change[:embeddings] for alpha in alphas)
    runs = [from_embedded(behaviour, batch, point, contract.taps()) for point in points]
    return contract(runs, behaviour.model.components, behaviour.graph, change) / len(alphas)


def _along_activations(steps: int, behaviour: Behaviour, batch: Batch, change: Tensor, contract: Contraction) -> Tensor:
    first, total = 0, torch.zeros((), dtype=torch.float64)
    for index, block in enumerate(batch.clean.blocks):
        part = change[first : first + len(block)]
        start, step = block, part
        if contract.hidden is not None and (layer := _mlp_of(index)) is not None:
            start, step = contract.hidden.clean[layer], contract.hidden.change[layer]
        points = (start + (1 - k / steps) * step for k in range(steps))
        runs = (_from_block(behaviour, batch, index, point, contract) for point in points)
        total = total + contract(list(runs), behaviour.model.components, behaviour.graph, part, first)
        first += len(block)
    return total / steps


def _mlp_of(index: int) -> int | None:
    """The layer of an MLP by the index of its block, in a model with MLPs; None for another block."""
    return index // 2 - 1 if index > 0 and index % 2 == 0 else None


class _Mixed(Taps):
    """Taps of a run in which one block of outputs is another, or the hidden neurons of one MLP are others."""

    def __init__(self, index: int, mixed: Tensor, contract: Contraction):
        super().__init__(contract.apart, contract.hidden is not None)
        self._index, self._mixed = index, mixed
        self._layer = None if contract.hidden is None else _mlp_of(index)

    def write(self, index: int, block: Tensor) -> Tensor:
        return self._mixed if index == self._index and self._layer is None else block

    def watch_neurons(self, layer: int, hidden: Tensor) -> Tensor:
        return super().watch_neurons(layer, self._mixed if layer == self._layer else hidden)


def _from_block(behaviour: Behaviour, batch: Batch, index: int, mixed: Tensor, contract: Contraction) -> Taps:
    """A run forward and back in which one block of outputs, or an MLP's neurons, are `mixed` and everything before is
    as in the clean run."""
    taps = _Mixed(index, mixed.detach().requires_grad_(), contract)
    if index == 0:
        return from_embedded(behaviour, batch, mixed, taps)
    layer = (index - 1) // (1 if behaviour.model.anatomy.attn_only else 2)
    with torch.enable_grad():
        backward(behaviour, batch, behaviour.executor.resume(batch.clean, layer, 1, batch.positions, taps), taps)
    return taps
