"""Uniform gradient sampling (Li & Janson 2024, arXiv 2409.09951): masks that are mostly 0 or 1, and soft just often
enough for gradients.

theta = sigmoid(p), w = theta (1 - theta) without gradient, mask = 1 - clamp((u - theta) / w + 1/2, 0, 1), u uniform.
Loss: distance from the full model + price * sum of theta. The price is not one to be tuned but rises over the training
(`RisingPrice`), and edges are ranked by theta over all of it, for every size at once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.progress import Progress
from acdc.search.methods.masks import RisingPrice, learn
from acdc.search.options import MaskOptions

START, RATE = 2.0, 0.1


def ugs(behaviour: Behaviour, options: MaskOptions, progress: Progress) -> Scores:
    """At most `updates` forwards and backwards of one batch under masks; scores are in (0, 1)."""
    return Scores(learn(behaviour, _Rule(), options, progress), "importance")


class _Rule(RisingPrice):
    name = "ugs"

    def start(self, edges: int) -> list[Tensor]:
        return [torch.full((edges,), START).requires_grad_()]

    def optimiser(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=RATE)

    def draw(self, parameters: Sequence[Tensor], uniform: Tensor) -> Tensor:
        theta = parameters[0].sigmoid()
        window = (theta * (1 - theta)).detach()
        return 1 - ((uniform - theta) / window + 0.5).clamp(0, 1)

    def certainty(self, parameters: Sequence[Tensor]) -> Tensor:
        return parameters[0].sigmoid()
