"""Subnetwork probing (Cao et al. 2021, arXiv 2104.03514), over edges: hard concrete masks under a price per open edge.

Loss: distance from the full model + price * sum of the probabilities that a mask is open. Masks start at 0.9. The price
is not one to be tuned but rises over the training (`RisingPrice`), which ranks edges for every size at once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.progress import Progress
from acdc.search.methods.masks import RisingPrice, hard_concrete, learn, open_logits, open_probability
from acdc.search.options import MaskOptions

START, RATE = 0.9, 0.1


def subnetwork_probing(behaviour: Behaviour, options: MaskOptions, progress: Progress) -> Scores:
    """At most `updates` forwards and backwards of one batch under masks; scores are in (0, 1)."""
    return Scores(learn(behaviour, _Rule(), options, progress), "importance")


class _Rule(RisingPrice):
    name = "subnetwork-probing"

    def start(self, edges: int) -> list[Tensor]:
        return [open_logits(edges, START)]

    def optimiser(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=RATE)

    def draw(self, parameters: Sequence[Tensor], uniform: Tensor) -> Tensor:
        return hard_concrete(parameters[0], uniform)

    def certainty(self, parameters: Sequence[Tensor]) -> Tensor:
        return open_probability(parameters[0])
