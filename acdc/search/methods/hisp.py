"""Head importance scores for pruning (Michel et al. 2019, arXiv 1905.10650), lifted from components to edges.

importance(u) = sum over rows of |sum over positions and d of output of u . d metric / d output of u| on the clean run,
L2-normalised over the components of a layer. An edge is as important as the less important of its ends, so that the
edges above a threshold are those between components above it; embeddings and logits do not limit it.
"""

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.execution.executor import SlotInputs
from acdc.graph import ComponentGraph
from acdc.graph.units import kind_of
from acdc.progress import Progress
from acdc.search.methods.gradients import backward, check_gradient_at_clean, check_scores, gradient_of, summed
from acdc.search.options import SearchOptions


def hisp(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One forward and one backward per batch. Raises InputError where the gradient carries no information."""
    check_gradient_at_clean(behaviour.metric)
    total, batch_splits = summed(behaviour, "hisp", progress, _batch_importance)
    check_scores(behaviour, total)
    importance = _normalised(behaviour.graph, total.numpy())
    values = lifted(behaviour.graph, importance) if kind_of(options.level).are_edges else importance
    return Scores(values, "importance", batch_splits, options.level)


class _Outputs(SlotInputs):
    """Records every block of outputs, with its gradient."""

    def __init__(self) -> None:
        self.blocks: list[Tensor] = []

    def write(self, index: int, block: Tensor) -> Tensor:
        own = block.view_as(block)
        own.retain_grad()
        self.blocks.append(own)
        return own


def _batch_importance(behaviour: Behaviour, batch: Batch) -> Tensor:
    """Importance summed over the rows of a batch, float64 [writers]."""
    outputs = _Outputs()
    with torch.enable_grad():
        start = batch.clean.blocks[0].detach().clone().requires_grad_()
        backward(behaviour, batch, behaviour.executor.run_embedded(start, batch.positions, outputs))
    wide = torch.promote_types(start.dtype, torch.float32)
    products = (torch.einsum("wnpd,wnpd->wn", b.detach().to(wide), gradient_of(b).to(wide)) for b in outputs.blocks)
    return torch.cat([product.double().abs().sum(1) for product in products]).cpu()


def _normalised(graph: ComponentGraph, importance: np.ndarray) -> np.ndarray:
    layers = np.array([writer.layer for writer in graph.writers])
    norms = np.array([np.linalg.norm(importance[layers == layer]) for layer in layers])
    return importance / np.maximum(norms, np.finfo(float).tiny)


def lifted(graph: ComponentGraph, importance: np.ndarray) -> np.ndarray:
    """Importance of edges [edges] from that of components [writers]: that of the less important end. Of the heads that
    share a slot, the most important counts; embeddings and logits do not limit an edge."""
    writers, readers = graph.ends
    ends = np.where(np.arange(len(importance)) < len(graph.embeddings), np.inf, importance)
    owners = [[importance[graph.writer_index[owner]] for owner in graph.owners(slot)] for slot in graph.readers]
    slots = np.array([max(found, default=np.inf) for found in owners])
    edges = np.minimum(ends[writers], slots[readers])
    return np.where(np.isinf(edges), importance.max(), edges)
