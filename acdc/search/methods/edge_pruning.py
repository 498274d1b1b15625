"""Edge Pruning (Bhaskar et al. 2024, arXiv 2406.16778): hard concrete masks steered to a target sparsity.

Loss: distance from the full model + l1 (s - t) + l2 (s - t)^2 with s the achieved and t the target sparsity; masks
descend on it, l1 and l2 ascend. The target rises linearly over the first part of the training, and edges are ranked by
how long they stay open.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.progress import Progress
from acdc.search.methods.masks import hard_concrete, learn, open_logits, open_probability
from acdc.search.options import MaskOptions

START, RATE, MULTIPLIER_RATE = 0.9, 0.2, 0.5
DEFAULT_SHARE = 0.05  # of edges to keep, where no number of edges is asked for
WARM_UP = 0.5  # of the updates
UNDECIDED = 0.01  # of the edges: fewer are no reason to go on


def edge_pruning(behaviour: Behaviour, options: MaskOptions, progress: Progress) -> Scores:
    """At most `updates` forwards and backwards of one batch under masks; scores are in (0, 1).

    The target is `edges` of the options, or 5 % of all.
    """
    wanted = options.edges or max(1, round(DEFAULT_SHARE * behaviour.graph.n_edges))
    rule = _Rule(1 - wanted / behaviour.graph.n_edges)
    return Scores(learn(behaviour, rule, options, progress), "importance")


class _Rule:
    name = "edge-pruning"

    def __init__(self, sparsity: float):
        self._sparsity = sparsity

    def start(self, edges: int) -> list[Tensor]:
        return [open_logits(edges, START), torch.zeros(2, requires_grad=True)]

    def optimiser(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        masks, multipliers = parameters
        ascending = {"params": [multipliers], "lr": MULTIPLIER_RATE, "maximize": True}
        return torch.optim.Adam([{"params": [masks], "lr": RATE}, ascending])

    def draw(self, parameters: Sequence[Tensor], uniform: Tensor) -> Tensor:
        return hard_concrete(parameters[0], uniform)

    def penalty(self, parameters: Sequence[Tensor], done: float) -> Tensor:
        linear, square = parameters[1]
        excess = 1 - self.certainty(parameters).mean() - self._sparsity * min(1.0, done / WARM_UP)
        return linear * excess + square * excess.square()

    def certainty(self, parameters: Sequence[Tensor]) -> Tensor:
        return open_probability(parameters[0])

    def finished(self, certainty: Tensor, done: float) -> bool:
        """The target is reached and the masks are open or shut."""
        undecided = (certainty > 0.1) & (certainty < 0.9)
        reached = 1 - certainty.mean() >= self._sparsity
        return done >= WARM_UP and bool(reached) and bool(undecided.float().mean() < UNDECIDED)
