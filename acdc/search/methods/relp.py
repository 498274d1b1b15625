"""Relevance patching (Rezaei Jafari et al. 2025): EAP with propagated relevance in the place of gradients.

score(u->v) = mean over rows of sum over positions and d of (ablated - clean output of u) . relevance coefficient of the
input of v, taken on the clean run. The rules are those of `acdc.model.relevance`.
"""

from functools import partial

from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.execution.executor import Executor
from acdc.model.relevance import relevance
from acdc.progress import Progress
from acdc.search.methods.contraction import Contraction
from acdc.search.methods.gradients import attribute, check_gradient_at_clean, from_embedded
from acdc.search.options import RelevanceOptions, RowOptions


def relp(behaviour: Behaviour, options: RowOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward and one pass forward and back. With attention held, a score is the
    relevance along all paths that an attribution graph of each row would give (`acdc.attribution`), and edges into
    queries and keys have none.

    Raises InputError where gradients carry no information, and for a model some of whose components are not computed
    from weights.
    """
    check_gradient_at_clean(behaviour.metric)
    relevance(behaviour.model.components)
    held = isinstance(options, RelevanceOptions) and options.hold_attention
    return attribute(behaviour, "relp", options, progress, partial(_batch_scores, held))


def _batch_scores(
    hold_attention: bool, behaviour: Behaviour, batch: Batch, change: Tensor, contract: Contraction
) -> Tensor:
    executor = Executor(relevance(behaviour.model.components, hold_attention), behaviour.graph)
    run = from_embedded(behaviour, batch, batch.clean.blocks[0], contract.taps(), executor)
    return contract([run], executor.components, behaviour.graph, change)
