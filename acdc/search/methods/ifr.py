"""Information flow routes (Ferrando & Voita 2024, arXiv 2403.00824): how much of a slot's input a component makes up.

score(u->v) = mean over rows and positions of the share of u in max(0, |x_v|_1 - |x_v - a_u|_1), over all senders of v;
x_v is what v reads on the clean run and a_u what u wrote there. No ablation and no metric enters. The slots of one
layer's queries, keys and values read the same, so that their edges have the same scores.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.execution.executor import SlotInputs
from acdc.graph import ComponentGraph, ReaderGroup
from acdc.progress import Progress
from acdc.search.methods.gradients import summed
from acdc.search.options import SearchOptions


def ifr(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One forward per batch."""
    total, batch_splits = summed(behaviour, "ifr", progress, _batch_shares)
    return Scores((total / len(behaviour.rows)).numpy(), "importance", batch_splits)


@torch.no_grad()
def _batch_shares(behaviour: Behaviour, batch: Batch) -> Tensor:
    shares = _Shares(behaviour.graph, batch)
    behaviour.run(batch, shares)
    return shares.total


class _Shares(SlotInputs):
    """Sums over rows of the shares of senders, float64 [edges], recorded as a run goes on."""

    def __init__(self, graph: ComponentGraph, batch: Batch):
        self.total = torch.zeros(graph.n_edges, dtype=torch.float64)
        positions = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
        last = torch.tensor([row.last_answer for row in batch.rows], device=batch.tokens.device)
        seen = (positions <= last[:, None]).double()  # nothing after the last answer has a part in it
        self._weights = seen / seen.sum(1, keepdim=True)
        self._last: tuple[Tensor, Tensor] | None = None  # a residual and what was made of it

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        if self._last is None or self._last[0] is not residual:  # queries, keys and values read the same one
            self._last = residual, self._mean_shares(group, residual, blocks)
        self.total[group.start : group.stop] += self._last[1].repeat(len(group.readers))
        return residual[None]

    def _mean_shares(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        """Shares of a group's senders summed over rows, float64 [senders] on the CPU."""
        wide = torch.promote_types(residual.dtype, torch.float32)
        present = residual.to(wide)
        size = present.abs().sum(-1)
        near = torch.cat([(size - (present - block.to(wide)).abs().sum(-1)).clamp(min=0) for block in blocks])
        near = near[: group.senders].double()
        shares = near / near.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
        return (shares * self._weights).sum((1, 2)).cpu()
