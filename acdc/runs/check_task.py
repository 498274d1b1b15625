"""Check a task against a model before any discovery."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.quantisation import Quantisation
from acdc.behaviour.behaviour import Behaviour, usable_metrics
from acdc.execution.threads import fixed_threads
from acdc.runs.discovery import Loaded
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import bind
from acdc.task.metrics import METRICS, NOISE, Metric, RowBatch, distance
from acdc.task.rows import Row
from acdc.task.split import split_rows

RIGHT_ENOUGH = 0.75  # share of rows below which a circuit may carry no behaviour


@dataclass(frozen=True)
class GroupCheck:
    """Rows of one group, and each metric's mean on their clean prompts."""

    group: str
    rows: int
    measures: dict[str, float]


@dataclass(frozen=True)
class TaskCheck:
    """Rows, lengths in tokens, the default split, each metric's mean on clean and corrupted prompts, and on the clean
    prompts of each group."""

    task: str
    model: str
    rows: int
    shortest: int
    longest: int
    discovery: int
    verification: int
    metric: str
    measures: dict[str, dict[str, float]]
    groups: list[GroupCheck]
    warnings: list[str]
    quantisation: Quantisation | None

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def right_answer(logits: Tensor, batch: RowBatch) -> Tensor:
    """1 where the likeliest of a row's answers is a correct one, else 0, as in forced choice."""
    correct, incorrect = (logits.masked_fill(~mask, -torch.inf).amax(-1) for mask in (batch.correct, batch.incorrect))
    return (correct > incorrect).to(logits.dtype)


RIGHT_ANSWER = Metric("right_answer", right_answer, larger_is_better=True, needs=("correct", "incorrect"), steps=True)


def check(job: DiscoveryJob) -> TaskCheck:
    """Load model and task, and measure the plain model on both prompts of every row."""
    job.settings.check()
    model, task = Loaded().of(job)
    split = split_rows(task.rows, job.settings.seed)
    with fixed_threads(job.settings.threads):
        behaviour = bind(model, task, job.settings, range(len(task.rows)))
        metrics = _metrics(behaviour.metric, task.rows, model.anatomy.d_vocab_out)
        clean, corrupted = behaviour.plain(metrics), behaviour.plain(metrics, corrupted=True)
        alike = _same_outputs(behaviour)
    names = [metric.name for metric in metrics]
    ends = zip(names, clean.mean(axis=1).tolist(), corrupted.mean(axis=1).tolist(), strict=True)
    measures = {name: {"clean": full, "corrupted": empty} for name, full, empty in ends}
    lengths = [len(row.clean) for row in task.rows]
    return TaskCheck(
        task=task.name,
        model=model.name,
        rows=len(task.rows),
        shortest=min(lengths),
        longest=max(lengths),
        discovery=len(split.discovery),
        verification=len(split.verification),
        metric=behaviour.metric.name,
        measures=measures,
        groups=_groups(task.rows, names, clean),
        warnings=_warnings(measures, alike, len(split.verification)),
        quantisation=model.quantisation,
    )


def _metrics(own: Metric, rows: Sequence[Row], outputs: int) -> list[Metric]:
    """What these rows have the answers for: the built-in metrics, the task's own, and whether the answer is right."""
    metrics = usable_metrics(rows, outputs)
    metrics += [own] if own not in metrics else []
    answered = outputs > 1 and all(row.correct and row.incorrect for row in rows)
    return [*metrics, RIGHT_ANSWER] if answered else metrics


def _groups(rows: Sequence[Row], names: Sequence[str], values: np.ndarray) -> list[GroupCheck]:
    """By name; `values` [metrics, rows]. None where the task has no groups."""
    found = []
    for group in sorted({row.group for row in rows if row.group is not None}):
        index = [i for i, row in enumerate(rows) if row.group == group]
        means = values[:, index].mean(axis=1).tolist()
        found.append(GroupCheck(group, len(index), dict(zip(names, means, strict=True))))
    return found


def _same_outputs(behaviour: Behaviour) -> bool:
    """Whether the model says the same of clean and corrupted prompts."""
    outputs = behaviour.model.anatomy.d_vocab_out
    away = float(behaviour.plain([distance(outputs)], corrupted=True).mean())
    if outputs > 1:
        return away < 1e-6
    values = behaviour.plain([METRICS["value"]])
    return away <= (NOISE**2) * float((values**2).mean())


def _warnings(measures: dict[str, dict[str, float]], alike: bool, verification: int) -> list[str]:
    found = []
    right = measures.get("right_answer", measures.get("accuracy"))
    if right is not None and right["clean"] < RIGHT_ENOUGH:
        found.append(f"the model is right on {right['clean']:.0%} of the rows: its circuit may carry no behaviour")
    if alike:
        found.append("clean and corrupted prompts give the same output: ablating to the corrupted run shows nothing")
    if not verification:
        found.append("all rows duplicate or mirror each other: none would be left to verify on")
    return found
