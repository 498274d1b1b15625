"""The objective of a search on its rows."""

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.graph.masks import Mask
from acdc.task.objective import Objective, Wanted


class MeasuredObjective:
    """An objective with the full model's metrics on the rows of a behaviour, which it is measured by."""

    def __init__(self, behaviour: Behaviour, wanted: Wanted):
        self.objective = Objective(behaviour.metric, wanted)
        self._behaviour, self.full = behaviour, behaviour.plain(self.objective.metrics)

    def of(self, values: np.ndarray) -> np.ndarray:
        """[candidates] of the metrics' values [terms, candidates, rows]."""
        return self.objective.of(values, self.full)

    def of_subgraphs(self, removed: Mask | np.ndarray) -> np.ndarray:
        """[candidates] of subgraphs without what a mask or boolean [candidates, edges] ablates, by runs from
        scratch."""
        return self.of(self._behaviour.measure(removed, self.objective.metrics))

    def change(self, now: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """[candidates]: by how much it rises where its metrics [terms, rows] change by `effects` [terms, candidates,
        rows]."""
        return self.objective.change(now, effects, self.full)
