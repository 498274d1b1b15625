"""The effect of a direction at several strengths: on a metric of a task, on what is said of neutral text, on another
task, and on generated text; and of random directions of the same norm."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acdc.artefacts.verification.interval import Interval
from acdc.attribution.prompts import prompt_tokens
from acdc.attribution.trace import prompt_text
from acdc.dictionaries.corpus import open_corpus
from acdc.dictionaries.quality import batches, usual_prompts
from acdc.display import Tabled
from acdc.errors import InputError
from acdc.interventions.bound import Binder, Prompts
from acdc.interventions.effects import TaskEffects, task_effects
from acdc.interventions.generate import Sampling, check_generates, generate
from acdc.interventions.hooks import logits_under
from acdc.interventions.intervention import Action, FileDirection, Intervention, Place, Unit
from acdc.model.load import Model
from acdc.progress import Progress, silent
from acdc.steering.directions import SteeringDirection, hook_of, typical_norm
from acdc.task.metrics import METRICS, Metric, as_metric
from acdc.task.rows import Task
from acdc.verification.intervals import Bootstrap, mean

GENERATED, MOST_NEUTRAL = 12, 4096  # tokens
RANDOM = 3  # random directions of the same norm, for comparison
_NAME = "direction"


@dataclass(frozen=True)
class SteerSettings:
    """Where the direction is added: a place of the residual stream, `at`, and positions. `strengths`: norms of what is
    added, with a sign."""

    at: Unit
    place: Place = field(default_factory=Place)
    strengths: tuple[float, ...] = (-8.0, -4.0, -2.0, 2.0, 4.0, 8.0)
    metric: str | Metric | None = None
    limit: int | None = None
    batch_size: int = 32
    seed: int = 0

    def check(self, model: Model) -> None:
        """Raises InputError for what cannot be added."""
        self.at.check(model.anatomy)
        hook_of(self.at)
        if not self.strengths or any(not np.isfinite(one) or one == 0 for one in self.strengths):
            raise InputError("--strengths are numbers other than 0, separated by commas, such as -8,-4,4,8")


@dataclass(frozen=True)
class Beside:
    """What is measured besides the task, each if given: the next tokens of `neutral` prompts, the accuracy of an
    `other` task, and text that goes on from a `prompt`, drawn as `sampling` says."""

    neutral: tuple[tuple[int, ...], ...] = ()
    other: Task | None = None
    prompt: tuple[int, ...] | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(GENERATED))

    @classmethod
    def of(
        cls, model: Model, neutral: Path | None, other: Task | None, prompt: str | None, sampling: Sampling
    ) -> "Beside":
        """Of a text file, whose first `MOST_NEUTRAL` tokens are read, and a text. Raises InputError for a prompt that
        the model cannot go on from."""
        tokens = None if prompt is None else tuple(prompt_tokens(model, prompt))
        if tokens is not None:
            check_generates(model, len(tokens), sampling)
        text = () if neutral is None else usual_prompts(open_corpus(model, neutral, ()).prompts(), MOST_NEUTRAL)
        return cls(tuple(tuple(one) for one in text), other, tokens, sampling)


@dataclass(frozen=True)
class Dose:
    """At one strength: the task's metric, `kl` in nats from the model as it is on neutral text, per token, and the
    accuracy of another task; None for what was not asked. `text`: what is generated."""

    strength: float
    task: TaskEffects
    kl: Interval | None
    other: TaskEffects | None
    text: str | None


@dataclass(frozen=True, repr=False)
class Steered(Tabled):
    """`direction`: its name, and `before`: its norm before it was scaled to 1. `norm`: the mean norm of the residual
    stream at that place on the task's prompts, to compare strengths with. `doses`: what each strength does; `random`:
    the same of random directions at the largest strength. `text`: what is generated without."""

    model: str
    direction: str
    before: float
    at: str
    norm: float
    doses: tuple[Dose, ...]
    random: tuple[Dose, ...]
    text: str | None

    def summary(self) -> str:
        return f"{self.direction} at {self.at} in {self.model}, {len(self.doses)} strengths"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each strength, random directions last: `direction`, `strength`, the `mean` of the task's `metric`,
        its `change` with a 95% interval, and what was measured besides."""
        columns, *rows = csv_rows(self)
        return (dict(zip(map(str, columns), row, strict=True)) for row in rows)

    @property
    def best(self) -> Dose:
        """The dose that changes the metric most beyond its interval; that of the largest change where none does."""

        def sure(dose: Dose) -> float:
            change = dose.task.change
            if change.low is None or change.high is None or change.low <= 0 <= change.high:
                return 0.0
            return min(abs(change.low), abs(change.high))

        return max(self.doses, key=lambda dose: (sure(dose), abs(dose.task.change.value or 0.0)))


def steer(
    model: Model,
    direction: SteeringDirection,
    task: Task,
    settings: SteerSettings,
    beside: Beside | None = None,
    progress: Progress = silent,
) -> Steered:
    """Measure every strength. Raises InputError for places that the prompts do not have."""
    settings.check(model)
    beside = beside or Beside()
    largest = max(settings.strengths, key=abs)
    directions = [(direction.vector, strength) for strength in settings.strengths]
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(RANDOM):
        drawn = torch.randn(model.anatomy.d_model, generator=generator, dtype=torch.float64).to(direction.vector)
        directions.append((drawn / drawn.norm(), largest))
    doses = []
    with progress("steering", len(directions), "strengths") as advance:
        for place, (vector, strength) in enumerate(directions):
            one = Intervention(Action.add, settings.at, strength, FileDirection(_NAME), settings.place)
            binder = Binder(model, [one], {_NAME: vector})
            doses.append(_dose(binder, strength, task, settings, beside, generates=place < len(settings.strengths)))
            advance(1)
    return Steered(
        model.name,
        direction.name,
        direction.before,
        settings.at.id + ("" if settings.place.is_everywhere else f"@{settings.place}"),
        typical_norm(model, hook_of(settings.at), [row.clean for row in task.rows[: settings.limit]]),
        tuple(doses[: len(settings.strengths)]),
        tuple(doses[len(settings.strengths) :]),
        None if beside.prompt is None else _text(Binder(model, ()), beside.prompt, beside.sampling),
    )


def _dose(
    binder: Binder, strength: float, task: Task, settings: SteerSettings, beside: Beside, generates: bool
) -> Dose:
    metric, how = as_metric(settings.metric or task.metric), (settings.seed, settings.limit, settings.batch_size)
    return Dose(
        strength,
        task_effects(binder, task, metric, *how),
        neutral_kl(binder, beside.neutral, settings.seed) if beside.neutral else None,
        None if beside.other is None else task_effects(binder, beside.other, METRICS.find("accuracy"), *how),
        _text(binder, beside.prompt, beside.sampling) if generates and beside.prompt is not None else None,
    )


@torch.no_grad()
def neutral_kl(binder: Binder, prompts: Sequence[tuple[int, ...]], seed: int) -> Interval:
    """KL(without || with) of next tokens in nats, the mean over all tokens of each prompt, then over prompts."""
    values = []
    for tokens, there in batches(binder.model, prompts):
        lengths = tuple(there.sum(1).tolist())
        bound = binder.bind(Prompts(lengths, tuple(length - 1 for length in lengths)))
        before, after = (logits_under(binder.model, some, tokens).double().log_softmax(-1) for some in ((), bound))
        each = (before.exp() * (before - after)).nansum(-1)
        values += [float(row[kept].mean()) for row, kept in zip(each, there, strict=True)]
    return Bootstrap(len(values), seed).of(mean, np.array(values))


def _text(binder: Binder, prompt: Sequence[int], sampling: Sampling) -> str:
    tokens = torch.tensor(list(prompt), device=binder.model.device)
    bound = binder.bind(Prompts.single(len(tokens)))
    return prompt_text(binder.model, generate(binder.model, bound, tokens, sampling))


def csv_rows(found: Steered) -> list[list[object]]:
    """The dose-response curve, random directions last; the first row names the columns."""
    rows: list[list[object]] = [
        [
            "direction",
            "strength",
            "metric",
            "mean",
            "change",
            "change_low",
            "change_high",
            "neutral_kl",
            "other_accuracy",
        ]
    ]
    for name, doses in ((found.direction, found.doses), ("random", found.random)):
        for one in doses:
            change = one.task.change
            kl, other = (
                (None if one.kl is None else one.kl.value),
                (None if one.other is None else one.other.after.value),
            )
            rows.append(
                [
                    name,
                    one.strength,
                    one.task.metric,
                    one.task.after.value,
                    change.value,
                    change.low,
                    change.high,
                    kl,
                    other,
                ]
            )
    return rows
