"""The mean of several attributions, each brought to the same mean size (Mondorf et al. 2025, arXiv 2510.06811).

EAP, and EAP-IG along inputs and along activations, err on different edges. Each is divided by its mean |score|, so that
none counts for more than another, and their mean is multiplied by that of EAP-IG along inputs: so it has the unit and
the sign of an effect. Masks can be a fourth part; an edge that they keep counts as one that helps.
"""

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.graph.units import kind_of
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.cost import BatchCost, BatchDryRun, Run, once
from acdc.search.methods.eap import eap
from acdc.search.methods.eap_ig import eap_ig_activations, eap_ig_inputs
from acdc.search.methods.gradients import check_gradient_at_clean
from acdc.search.methods.masks import training_cost
from acdc.search.methods.ugs import ugs
from acdc.search.options import EnsembleOptions, MaskOptions


def ensemble(behaviour: Behaviour, options: EnsembleOptions, progress: Progress) -> Scores:
    """What its parts compute, one after the other.

    Raises InputError where the gradient carries no information, and for masks over anything but edges.
    """
    check_gradient_at_clean(behaviour.metric)
    if options.masks and options.level is not Level.edges:
        raise InputError(f"--masks works only with --level edges: there are no masks over {options.level}")
    inputs = eap_ig_inputs(behaviour, options, progress)
    parts = [eap(behaviour, options, progress), inputs, eap_ig_activations(behaviour, options, progress)]
    values = [part.values for part in parts]
    if options.masks:
        learning = MaskOptions.of({"updates": options.masks, "warm_start": True}, seed=options.seed)
        values.append((1 if options.absolute else behaviour.metric.sign) * ugs(behaviour, learning, progress).values)
    size = np.abs(inputs.values).mean()
    mean = size * np.mean([value / np.abs(value).mean() for value in values], axis=0)
    return Scores(mean, inputs.kind, max(part.batch_splits for part in parts), kind_of(options.level).form.level)


def ensemble_cost(dry: BatchDryRun, run: Run, options: EnsembleOptions) -> BatchCost:
    """That of its parts."""
    if not options.masks:
        return once(dry, run, options)

    def learning(behaviour: Behaviour, some: MaskOptions, progress: Progress) -> Scores:
        return ensemble(behaviour, options.model_copy(update={"masks": some.updates}), progress)

    return training_cost(dry, learning, MaskOptions.of({"updates": options.masks}))
