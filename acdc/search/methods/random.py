"""Random scores: the baseline that every method has to beat."""

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.options import SearchOptions


def random(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """Independent uniform scores in (0, 1], reproducible from the seed."""
    generator, graph = np.random.default_rng(options.seed), behaviour.graph
    if options.level is Level.neurons:
        drawn = generator.random((len(graph.writers), behaviour.model.anatomy.d_model))
        return Scores.of_neurons(graph, 1.0 - drawn, "importance")
    return Scores(1.0 - generator.random(graph.n_edges), "importance")
