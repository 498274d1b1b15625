"""Random scores: the baseline that every method has to beat."""

import numpy as np

from acdc.progress import Progress
from acdc.search.options import SearchOptions
from acdc.search.result import Scores
from acdc.task.behaviour import Behaviour


def random(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """Independent uniform scores in (0, 1], reproducible from the seed."""
    generator = np.random.default_rng(options.seed)
    return Scores(1.0 - generator.random(behaviour.graph.n_edges), "importance")
