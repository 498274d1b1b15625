"""Information flow routes (Ferrando & Voita 2024, arXiv 2403.00824): how much of a slot's input a component makes up.

score(u->v) = mean over rows and positions of the share of u in max(0, |x_v|_1 - |x_v - a_u|_1), over all senders of v;
x_v is what v reads on the clean run and a_u what u wrote there. No ablation and no metric enters. The slots of one
layer's queries, keys and values read the same, so that their edges have the same scores.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.graph import ComponentGraph, ReaderGroup
from acdc.model.executor import SlotInputs
from acdc.progress import Progress
from acdc.search.options import SearchOptions
from acdc.search.result import Scores
from acdc.task.behaviour import Batch, Behaviour


def ifr(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One forward per batch."""
    total = torch.zeros(behaviour.graph.n_edges, dtype=torch.float64)
    with progress("ifr", len(behaviour.rows), "rows") as advance:
        for batch in behaviour.batches:
            shares = _Shares(behaviour.graph, batch)
            with torch.no_grad():
                behaviour.run(batch, shares)
            total += shares.total
            advance(len(batch.index))
    return Scores((total / len(behaviour.rows)).numpy(), "importance")


class _Shares(SlotInputs):
    """Sums over rows of the shares of senders, float64 [edges], taken down as a run goes on."""

    def __init__(self, graph: ComponentGraph, batch: Batch):
        self.total = torch.zeros(graph.n_edges, dtype=torch.float64)
        positions = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
        seen = (positions <= batch.positions[:, None]).double()  # nothing after the answer has a part in it
        self._weights = seen / seen.sum(1, keepdim=True)

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        wide = torch.promote_types(residual.dtype, torch.float32)
        present = residual.to(wide)
        size = present.abs().sum(-1)
        near = torch.cat([(size - (present - block.to(wide)).abs().sum(-1)).clamp(min=0) for block in blocks])
        near = near[: group.senders].double()
        shares = near / near.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
        mean = (shares * self._weights).sum((1, 2)).cpu()
        self.total[group.start : group.stop] += mean.repeat(len(group.readers))
        return residual[None]
