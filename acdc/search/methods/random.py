"""Random scores: the baseline that every method has to beat."""

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.progress import Progress
from acdc.search.options import SearchOptions


def random(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """Independent uniform scores in (0, 1], reproducible from the seed."""
    drawn = np.random.default_rng(options.seed).random(behaviour.units(options.level).shape)
    return Scores(1.0 - drawn, "importance", level=options.level)
