"""The objective of a search on its rows."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour, asked, read_values
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

    def of_finals(self, finals: Sequence[Tensor]) -> np.ndarray:
        """[candidates] of what the logits read in each batch, [candidates * answers, d] each."""
        behaviour, metrics = self._behaviour, self.objective.metrics
        candidates = len(finals[0]) // len(behaviour.batches[0].answers.rows)
        values = np.empty((len(metrics), candidates, len(behaviour.rows)))
        answers = [batch.answers.for_metrics(metrics) for batch in behaviour.batches]
        found: list[Tensor] = []
        for final, of_batch in zip(finals, answers, strict=True):
            columns = None if of_batch.columns is None else of_batch.columns.repeat(candidates, 1)
            logits = behaviour.model.components.unembed(final, columns).unflatten(0, (candidates, -1))
            found.append(asked(metrics, logits, of_batch))
        for batch, part in zip(behaviour.batches, read_values(metrics, found, answers), strict=True):
            values[:, :, list(batch.index)] = part
        return self.of(values)

    def change(self, now: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """[candidates]: by how much it rises where its metrics [terms, rows] change by `effects` [terms, candidates,
        rows]."""
        return self.objective.change(now, effects, self.full)
