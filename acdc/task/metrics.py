"""Metrics of a run where its rows have answers: one value per row, in the metric's own sign and unit.

A row with several answers has the mean over them, so rows stay what counts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from acdc.errors import InputError, first_line, is_out_of_memory
from acdc.extensions import Registry
from acdc.task.rows import Row


@dataclass(frozen=True)
class RowBatch:
    """The rows of one batch with what metrics need: the full model's logits [rows, V] on their clean prompts.

    Rows of several answers, `each` so many, are here once for every answer, one after the other. With `ids`, V is not
    the vocabulary but those token ids of each row, padded to one length.
    """

    rows: tuple[Row, ...]
    full_logits: Tensor
    ids: tuple[tuple[int, ...], ...] | None = None
    each: int = 1

    @classmethod
    def of(cls, rows: Iterable[Row], full_logits: Tensor) -> "RowBatch":
        """Of rows that all have as many answers, and the full model's logits at these, row by row."""
        whole = tuple(rows)
        return cls(tuple(one for row in whole for one in row.single), full_logits, each=len(whole[0].answers))

    def part(self, rows: slice) -> "RowBatch":
        """Some of the rows, with all of their answers."""
        chosen = slice(*(None if end is None else self.each * end for end in (rows.start, rows.stop)))
        return RowBatch(self.rows[chosen], self.full_logits[chosen], self.ids and self.ids[chosen], self.each)

    @cached_property
    def correct(self) -> Tensor:
        """Boolean [rows, V]: the correct answers of each row."""
        return self._mask([row.correct for row in self.rows])

    @cached_property
    def incorrect(self) -> Tensor:
        """Boolean [rows, V]: the incorrect answers of each row."""
        return self._mask([row.incorrect for row in self.rows])

    @cached_property
    def full_log_probs(self) -> Tensor:
        return self.full_logits.log_softmax(-1)

    @cached_property
    def full_probs(self) -> Tensor:
        return self.full_log_probs.exp()

    @cached_property
    def columns(self) -> Tensor | None:
        """The token ids [rows, K] of `ids`, each row padded with its last; None for the whole vocabulary."""
        if self.ids is None:
            return None
        longest = max(len(ids) for ids in self.ids)
        padded = [ids + ids[-1:] * (longest - len(ids)) for ids in self.ids]
        return torch.tensor(padded, device=self.full_logits.device)

    def for_metrics(self, metrics: "Sequence[Metric]") -> "RowBatch":
        """These rows with the logits that the metrics depend on, so that no others need to be computed."""
        return self.answers_alone if all(metric.answers_alone for metric in metrics) else self

    @cached_property
    def answers_alone(self) -> "RowBatch":
        """The same rows, with the logits of their answers only."""
        ids = tuple(tuple(sorted({*row.correct, *row.incorrect})) for row in self.rows)
        columns = RowBatch(self.rows, self.full_logits, ids).columns
        assert columns is not None  # as it has ids
        return RowBatch(self.rows, self.full_logits.gather(-1, columns), ids, self.each)

    def _mask(self, answers: Sequence[tuple[int, ...]]) -> Tensor:
        mask = torch.zeros_like(self.full_logits, dtype=torch.bool)
        for row, wanted in enumerate(answers):
            places = wanted if self.ids is None else [self.ids[row].index(token) for token in wanted]
            mask[row, list(places)] = True
        return mask


STACKED_BYTES = {"cpu": 4 * 2**20, "cuda": 256 * 2**20}  # of logits that a metric takes at a time
NOISE = 1e-6  # relative differences below this are rounding
# A metric of a user's: from logits [rows, V] at the answer positions and what is known of the rows, one value per row
# [rows], better when larger. A row with several answers is several rows to it. A `Metric` says what else is to be known
# of one.
MetricFunction = Callable[[Tensor, RowBatch], Tensor]


@dataclass(frozen=True)
class Metric:
    """A named metric; `needs` are the answer lists that every row must have, `flat_at_clean` means that its gradient
    vanishes on the full model, `steps` that it has no gradient at all, `answers_alone` that it depends on no logits
    but those of the answers. `of_numbers`: whether it is for models with one output, a number, or for those with a
    vocabulary; None for both."""

    name: str
    function: MetricFunction
    larger_is_better: bool
    needs: tuple[str, ...] = ()
    flat_at_clean: bool = False
    steps: bool = False
    answers_alone: bool = False
    of_numbers: bool | None = None

    @property
    def objective(self) -> str:
        """What ACDC minimises."""
        return f"neg_{self.name}" if self.larger_is_better else self.name

    @property
    def sign(self) -> float:
        """Factor that turns the metric into the objective."""
        return -1.0 if self.larger_is_better else 1.0

    def per_row(self, logits: Tensor, batch: RowBatch) -> Tensor:
        """Values [rows] of logits [rows * answers of each, V]. Raises InputError for another shape or a value that is
        not finite."""
        values = self.of_runs(logits[None], batch)[0]
        if not values.isfinite().all():
            self.check_finite(values.detach().double().cpu().numpy(), batch)
        return values

    def of_runs(self, logits: Tensor, batch: RowBatch) -> Tensor:
        """Values [runs, rows] of the logits [runs, rows * answers of each, V] of several runs: not asked whether they
        are finite, as the host would have to wait for that. Raises InputError for another shape."""
        if any(self.function is one for one in OF_STACKS):
            most = max(1, STACKED_BYTES[logits.device.type] // logits[0].nbytes)
            parts = [self.function(some, batch) for some in logits.split(most)]
            values = parts[0] if len(parts) == 1 else torch.cat(parts)
        else:
            found = [self._of_run(one, batch) for one in logits]
            if any(not isinstance(one, Tensor) or one.shape != logits.shape[1:2] for one in found):
                rows = logits.shape[1]
                raise InputError(f"metric {self.name!r} must give one value per row, a tensor of shape [{rows}]")
            values = torch.stack(found)
        return values if batch.each == 1 else values.unflatten(1, (-1, batch.each)).mean(2)

    def _of_run(self, logits: Tensor, batch: RowBatch) -> Tensor:
        """What a user's function gives for one run. Raises InputError, caused by its own error, where that fails."""
        try:
            return self.function(logits, batch)
        except InputError:
            raise
        except (TypeError, ValueError, IndexError, AttributeError, KeyError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise InputError(
                f"metric {self.name!r} failed on logits {list(logits.shape)}: {first_line(error)}; it is called with "
                "logits [rows, vocabulary] and a RowBatch, whose correct and incorrect are Boolean [rows, vocabulary]"
            ) from error

    def check_finite(self, values: np.ndarray, batch: RowBatch) -> None:
        """Raises InputError where one of the values [..., rows] is not finite."""
        if not np.isfinite(values).all():
            row = batch.rows[int(np.argwhere(~np.isfinite(values))[0, -1]) * batch.each]
            raise InputError(f"metric {self.name!r} is not finite on row {row.id!r}")

    def fits(self, outputs: int) -> bool:
        """Whether it is for models with so many outputs."""
        return self.of_numbers in (None, outputs == 1)

    def check(self, rows: Sequence[Row], outputs: int) -> None:
        """Raises InputError when a row lacks answers that this metric needs, and for a model whose outputs it cannot
        measure."""
        if not self.fits(outputs):
            fitting = " or ".join(metric.name for metric in METRICS.built_in.values() if metric.fits(outputs))
            has = "has one output, a number" if outputs == 1 else f"has {outputs:,} outputs"
            raise InputError(f"metric {self.name!r} is not for this model, which {has}: use {fitting}")
        for row in rows:
            for name in self.needs:
                if not row.has(name):
                    raise InputError(f"metric {self.name!r} needs {name} answers, but row {row.id!r} has none")


def kl(logits: Tensor, batch: RowBatch) -> Tensor:
    """KL(full model || run) in nats, over the whole vocabulary."""
    return (batch.full_probs * (batch.full_log_probs - logits.log_softmax(-1))).sum(-1)


def logit_diff(logits: Tensor, batch: RowBatch) -> Tensor:
    """Mean logit of the correct answers minus mean logit of the incorrect ones."""
    return _masked_mean(logits, batch.correct) - _masked_mean(logits, batch.incorrect)


def nll(logits: Tensor, batch: RowBatch) -> Tensor:
    """Negative log of the correct answers' total probability, in nats."""
    return -logits.log_softmax(-1).masked_fill(~batch.correct, -torch.inf).logsumexp(-1)


def prob_diff(logits: Tensor, batch: RowBatch) -> Tensor:
    """Total probability of the correct answers minus that of the incorrect ones."""
    probs = logits.softmax(-1)
    return (probs * batch.correct).sum(-1) - (probs * batch.incorrect).sum(-1)


def accuracy(logits: Tensor, batch: RowBatch) -> Tensor:
    """1 where the most likely token of the whole vocabulary is a correct answer, else 0."""
    likeliest = logits.argmax(-1, keepdim=True)
    return batch.correct.expand_as(logits).gather(-1, likeliest).squeeze(-1).to(logits.dtype)


def squared_error(logits: Tensor, batch: RowBatch) -> Tensor:
    """(output - output of the full model)^2 of models with one output."""
    return (logits[..., 0] - batch.full_logits[:, 0]) ** 2


def value(logits: Tensor, batch: RowBatch) -> Tensor:
    """The output itself, of models with one output."""
    return logits[..., 0]


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(-1) / mask.sum(-1)


# of a user's nothing is known but that they take the logits of one run
OF_STACKS: tuple[MetricFunction, ...] = (kl, logit_diff, nll, prob_diff, accuracy, squared_error, value)
METRICS = Registry(
    "metric",
    "acdc.metrics",
    Metric,
    (
        Metric("kl", kl, larger_is_better=False, flat_at_clean=True, of_numbers=False),
        Metric(
            "logit_diff",
            logit_diff,
            larger_is_better=True,
            needs=("correct", "incorrect"),
            answers_alone=True,
            of_numbers=False,
        ),
        Metric("nll", nll, larger_is_better=False, needs=("correct",), of_numbers=False),
        Metric("prob_diff", prob_diff, larger_is_better=True, needs=("correct", "incorrect"), of_numbers=False),
        Metric("accuracy", accuracy, larger_is_better=True, needs=("correct",), steps=True, of_numbers=False),
        Metric("squared_error", squared_error, larger_is_better=False, flat_at_clean=True, of_numbers=True),
        Metric("value", value, larger_is_better=True, of_numbers=True),
    ),
)


def distance(outputs: int) -> Metric:
    """The metric that needs no answers, for models with so many outputs: the distance to the full model."""
    return METRICS["squared_error" if outputs == 1 else "kl"]


def recovered_fraction(value: float, full: float, empty: float) -> float | None:
    """Faithfulness, (value - empty) / (full - empty); None where the two ends do not differ."""
    span = full - empty
    return (value - empty) / span if abs(span) > NOISE * max(abs(full), abs(empty)) else None


def as_metric(metric: "str | Metric | MetricFunction") -> Metric:
    """A metric by name, or a user's callable (logits [rows, V], RowBatch) -> [rows], taken as better when larger.

    To say that a callable is better when smaller, wrap it in a `Metric`.
    """
    if callable(metric) and not isinstance(metric, Metric):
        metric = Metric(getattr(metric, "__name__", "custom"), metric, larger_is_better=True)
    if isinstance(metric, Metric):
        if METRICS.get(metric.name, metric) != metric:
            raise InputError(f"your metric cannot be called {metric.name!r}: acdc has a metric of that name")
        return metric
    return METRICS.find(metric)
