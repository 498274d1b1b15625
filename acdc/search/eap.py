"""Edge attribution patching (Syed et al. 2023, arXiv 2310.10348): exact patching to first order.

score(u->v) = mean over rows of sum over positions and d of (ablated - clean output of u) . d metric / d input of v,
with the gradient taken on the clean run.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.graph import ReaderGroup
from acdc.model.executor import SlotInputs
from acdc.progress import Progress
from acdc.search.options import SearchOptions
from acdc.search.result import Scores
from acdc.task.behaviour import Batch, Behaviour
from acdc.task.metrics import Metric


def eap(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """Two forwards and one backward per batch. Raises InputError where the gradient carries no information."""
    check_gradient(behaviour.metric)
    total = torch.zeros(behaviour.graph.n_edges, dtype=torch.float64)
    with progress("eap", len(behaviour.rows), "rows") as advance:
        for batch in behaviour.batches:
            total += _batch_scores(behaviour, batch)
            advance(len(batch.index))
    if not total.isfinite().all():
        raise InputError(f"metric {behaviour.metric.name!r} has a gradient that is not finite on this task")
    if not total.any():
        raise InputError(
            f"every score is zero: metric {behaviour.metric.name!r} has no gradient on these rows, or ablation changes "
            "nothing there"
        )
    return Scores((total / len(behaviour.rows)).numpy(), "effect")


def check_gradient(metric: Metric) -> None:
    """Raises InputError for a metric whose gradient on the full model is zero whatever the model does."""
    if metric.steps:
        raise InputError(f"metric {metric.name!r} is a step function without a gradient: use exact or acdc with it")
    if metric.flat_at_clean:
        raise InputError(
            f"metric {metric.name!r} is smallest on the full model, so its gradient there is zero and eap would score "
            "noise: use logit_diff, prob_diff or nll, or the methods exact or acdc"
        )


class InputGradients(SlotInputs):
    """Slot inputs that add a zero to every slot by itself, so that its gradient can be read off after a backward."""

    def __init__(self):
        self.leaves: list[tuple[ReaderGroup, Tensor]] = []

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        leaf = residual.new_zeros((len(group.readers), *residual.shape)).requires_grad_()
        self.leaves.append((group, leaf))
        return residual[None] + leaf


def _batch_scores(behaviour: Behaviour, batch: Batch) -> Tensor:
    """Scores summed over the rows of a batch, float64 [edges] on the CPU."""
    gradients = InputGradients()
    with torch.enable_grad():
        trace = behaviour.run(batch, gradients)
        wide = trace.logits.to(torch.promote_types(trace.logits.dtype, torch.float32))
        behaviour.metric.per_row(wide, batch.answers).sum().backward()
    change = behaviour.ablated(batch).values - trace.values.detach()
    scores = torch.zeros(behaviour.graph.n_edges, dtype=torch.float64)
    for group, leaf in gradients.leaves:
        accumulated = torch.promote_types(leaf.dtype, torch.float32)
        block = torch.einsum("rnpd,snpd->rs", leaf.grad.to(accumulated), change[: group.senders].to(accumulated))
        scores[group.start : group.stop] = block.double().flatten().cpu()
    return scores
