"""What a search that decides edge by edge minimises: a mean over rows, of one metric or of several.

`raw` is the metric itself, with the sign that makes smaller better, as in the original ACDC. It rewards whatever raises
a logit difference beyond the full model's. `match` is each row's distance from the full model's value, which nothing
can overshoot. A share of KL asks about all tokens as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acdc.options import ObjectiveKind
from acdc.task.metrics import METRICS, Metric


@dataclass(frozen=True)
class Wanted:
    """What was asked for: `kl_weight` is what a nat of KL counts, in the metric's unit, and `rest` what the metric's
    own part counts beside it."""

    kind: ObjectiveKind = ObjectiveKind.raw
    kl_weight: float = 0.0
    rest: float = 1.0


RAW = Wanted()


@dataclass(frozen=True)
class Term:
    """A metric, whether its distance from the full model's value is meant, and its weight."""

    metric: Metric
    matched: bool
    weight: float


class Objective:
    """Smaller is better."""

    def __init__(self, metric: Metric, wanted: Wanted):
        matched = wanted.kind is ObjectiveKind.match
        self.terms: Sequence[Term] = [Term(metric, matched, wanted.rest)]
        if wanted.kl_weight:
            self.terms = [*self.terms, Term(METRICS["kl"], False, wanted.kl_weight)]
        own = f"match_{metric.name}" if matched else metric.objective
        self.name = f"{own}+kl" if wanted.kl_weight else own
        self.sign = metric.sign  # makes a rise look like the metric's loss

    @property
    def metrics(self) -> list[Metric]:
        return [term.metric for term in self.terms]

    def shown(self, value: float) -> str:
        """A value of it for users: that of the metric, in its own sign, where the metric itself is minimised."""
        [first, *others] = self.terms
        return f"{self.name} {value:.4g}" if first.matched or others else f"{first.metric.name} {self.sign * value:.4g}"

    def of(self, values: np.ndarray, full: np.ndarray) -> np.ndarray:
        """[...] of the metrics' `values` [terms, ..., rows], and those of the full model [terms, rows]."""
        return self._per_row(values, full).mean(axis=-1)

    def _per_row(self, values: np.ndarray, full: np.ndarray) -> np.ndarray:
        total = np.zeros(values.shape[1:])
        for term, of, target in zip(self.terms, values, full, strict=True):
            total += term.weight * (np.abs(of - target) if term.matched else term.metric.sign * of)
        return total

    def change(self, now: np.ndarray, effects: np.ndarray, full: np.ndarray) -> np.ndarray:
        """By how much the objective rises, [...], where the metrics are `now` [terms, rows] and change by `effects`
        [terms, ..., rows]."""
        now = now.reshape(len(now), *[1] * (effects.ndim - 2), -1)
        full = full.reshape(now.shape)
        return (self._per_row(now + effects, full) - self._per_row(now, full)).mean(axis=-1)
