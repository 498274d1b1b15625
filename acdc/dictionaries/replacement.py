"""A model with a dictionary in the place of what it reconstructs, and what becomes of a task.

At the first token of a prompt the model's own values stay, see `acdc.dictionaries.quality`.
"""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour, apply
from acdc.dictionaries.dictionary import Dictionary, Features
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.run import Edit, SiteRun
from acdc.model.load import Model
from acdc.task.metrics import METRICS, Metric
from acdc.task.rows import Task


@dataclass
class Replacement:
    """Edits of one run: what features read is encoded as it comes by, and targets are replaced."""

    dictionary: Dictionary
    activations: dict[Hook, Tensor] = field(default_factory=dict)
    inputs: dict[Hook, Tensor] = field(default_factory=dict)

    def edits(self) -> dict[Hook, Edit]:
        found: dict[Hook, Edit] = {one.reads: partial(self._read, one) for one in self.dictionary.sets}
        for target in self.dictionary.targets:
            reads = found.get(target)
            found[target] = partial(self._write, target, reads)
        return found

    def _read(self, features: Features, x: Tensor) -> Tensor:
        self.inputs[features.reads], self.activations[features.reads] = x, features.encode(x)
        return x

    def _write(self, target: Hook, reads: Edit | None, x: Tensor) -> Tensor:
        if reads is not None:
            reads(x)
        parts = [self._part(one, target) for one in self.dictionary.sets if target in one.writes]
        found = torch.stack(parts).sum(0)
        first = torch.arange(x.shape[1], device=x.device) == 0
        return torch.where(first[:, None], x, found)

    def _part(self, features: Features, target: Hook) -> Tensor:
        activations, to = self.activations[features.reads], features.writes.index(target)
        if to:
            return features.contributed(activations, to)
        return features.decode(activations, self.inputs[features.reads])


@dataclass(frozen=True)
class TaskKept:
    """Accuracy, or the mean of another metric, on a task's rows: of the model, and of the model with a dictionary."""

    task: str
    metric: str
    rows: int
    full: float
    replaced: float

    @property
    def share(self) -> float:
        return self.replaced / self.full if self.full else float("nan")


@torch.no_grad()
def measure_task(dictionary: Dictionary, model: Model, task: Task, metric: Metric | None = None) -> TaskKept:
    """By default accuracy. Raises InputError as `Behaviour` does."""
    metric = metric or METRICS.find("accuracy")
    rows = range(len(task.rows))
    behaviour, values = Behaviour(model, task, rows, metric, "zero"), np.empty((2, len(rows)))
    for batch in behaviour.batches:
        run = SiteRun(model, Replacement(dictionary).edits())
        for number, logits in enumerate((batch.answers.full_logits, run.logits(batch.tokens, batch.positions))):
            values[number, list(batch.index)] = apply([metric], logits[None], batch.answers)[0, 0]
    full, replaced = values.mean(1).tolist()
    return TaskKept(task.name, metric.name, len(rows), full, replaced)
