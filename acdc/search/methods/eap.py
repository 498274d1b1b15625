"""Edge attribution patching (Syed et al. 2023, arXiv 2310.10348): exact patching to first order.

score(u->v) = mean over rows of sum over positions and d of (ablated - clean output of u) . d metric / d input of v,
with the gradient taken on the clean run.
"""

from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.progress import Progress
from acdc.search.methods.contraction import Contraction
from acdc.search.methods.gradients import attribute, check_gradient_at_clean, from_embedded
from acdc.search.options import RowOptions


def eap(behaviour: Behaviour, options: RowOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward and one pass forward and back.

    Raises InputError where the gradient carries no information.
    """
    check_gradient_at_clean(behaviour.metric)
    return attribute(behaviour, "eap", options, progress, _batch_scores)


def _batch_scores(behaviour: Behaviour, batch: Batch, change: Tensor, contract: Contraction) -> Tensor:
    run = from_embedded(behaviour, batch, batch.clean.blocks[0], contract.taps())
    return contract([run], behaviour.model.components, behaviour.graph, change)
