"""Causal tracing (Meng et al. 2022, arXiv 2202.05262): the subject's token embeddings with Gaussian noise on them.

As in the paper's code, the noise has `level` times the standard deviation of the embeddings of all subjects' tokens,
over tokens and coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.batches import Batch
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.task.rows import Row, Task


@dataclass(frozen=True)
class Noise:
    """Noise of `level * sigma` on the tokens of the span that is numbered `subject`; what is drawn for a row depends on
    the seed, the row and the sample alone."""

    subject: int
    sigma: float
    level: float
    seed: int

    @classmethod
    def of(cls, behaviour: Behaviour, subject: int, level: float, seed: int) -> "Noise":
        found = []
        for batch in behaviour.batches:
            tokens = behaviour.model.components.embed(batch.tokens)[0]  # positions apart
            found += [tokens[place, slice(*_bounds(row, subject))] for place, row in enumerate(batch.rows)]
        return cls(subject, float(torch.cat(found).double().std(correction=0)), level, seed)

    def added(self, batch: Batch, embedded: Tensor, sample: int) -> Tensor:
        """Embedded prompts [N, P, d] with the noise of one sample."""
        noisy = embedded.clone()
        for place, (index, row) in enumerate(zip(batch.index, batch.rows, strict=True)):
            start, stop = _bounds(row, self.subject)
            drawn = np.random.default_rng([self.seed, index, sample]).normal(size=(stop - start, embedded.shape[-1]))
            noisy[place, start:stop] += torch.from_numpy(self.level * self.sigma * drawn).to(embedded)
        return noisy


def _bounds(row: Row, subject: int) -> tuple[int, int]:
    assert row.spans is not None  # see `subject_of`
    return row.spans.bounds[subject]


def subject_of(task: Task, name: str) -> int:
    """The number of a span. Raises InputError for a task that does not have it."""
    task.check_spans()
    names: Sequence[str] = task.span_names
    if name not in names:
        raise InputError(f"--subject {name!r} is no span of task {task.name!r}, whose spans are {', '.join(names)}")
    return names.index(name)
