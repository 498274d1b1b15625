"""Check a task against a model before any discovery."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.quantisation import Quantisation
from acdc.behaviour.ablations import ABLATIONS
from acdc.behaviour.behaviour import split_into_batches, usable_metrics
from acdc.display import Tabled
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model
from acdc.runs.discovery import Loaded
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import bind
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import NOISE, Metric, RowBatch, as_metric, distance
from acdc.task.rows import Row, Task
from acdc.task.spans import REST
from acdc.task.split import split_rows
from acdc.words import count_of

RIGHT_ENOUGH = 0.75  # share of rows below which a circuit may carry no behaviour
MOST_ROWS, MOST_LOGITS = 512, 2**26  # that are held at once


@dataclass(frozen=True)
class GroupCheck:
    """Rows of one group, and each metric's mean on their clean prompts."""

    group: str
    rows: int
    measures: dict[str, float]


@dataclass(frozen=True, repr=False)
class TaskCheck(Tabled):
    """Rows, lengths in tokens, the default split, each metric's mean on clean and corrupted prompts (None where a row
    has none), and on the clean prompts of each group. `spans`: of each, and of the rest, the fewest and the most tokens
    in a row; `answers`: the fewest and the most places in a row at which something is called for."""

    task: str
    model: str
    rows: int
    shortest: int
    longest: int
    discovery: int
    verification: int
    metric: str
    measures: dict[str, dict[str, float | None]]
    groups: list[GroupCheck]
    warnings: list[str]
    quantisation: Quantisation | None
    spans: dict[str, tuple[int, int]]
    answers: tuple[int, int]

    def summary(self) -> str:
        said = "; ".join(self.warnings)
        return f"{self.task} for {self.model}, {count_of(self.rows, 'row')}, {self.metric}" + (
            f"; {said}" if said else ""
        )

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each `metric`: its means on `clean` and on `corrupted` prompts."""
        return ({"metric": name} | means for name, means in self.measures.items())

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def right_answer(logits: Tensor, batch: RowBatch) -> Tensor:
    """1 where the likeliest of a row's answers is a correct one, else 0, as in forced choice."""
    correct, incorrect = (logits.masked_fill(~mask, -torch.inf).amax(-1) for mask in (batch.correct, batch.incorrect))
    return (correct > incorrect).to(logits.dtype)


RIGHT_ANSWER = Metric("right_answer", right_answer, larger_is_better=True, needs=("correct", "incorrect"), steps=True)


def check(job: DiscoveryJob) -> TaskCheck:
    """Load model and task, and check them."""
    job.settings.check()
    return check_loaded(*Loaded().of(job), job.settings)


def check_loaded(model: Model, task: Task, settings: DiscoverySettings) -> TaskCheck:
    """Measure the plain model on both prompts of every row."""
    split = split_rows(task.rows, settings.seed)
    with fixed_threads(settings.threads):
        own, outputs = as_metric(settings.metric or task.metric), model.anatomy.d_vocab_out
        metrics = _metrics(own, task.rows, outputs)
        clean, corrupted = _measure(model, task, settings, metrics)
    names = [metric.name for metric in metrics]
    without = sum(row.corrupted is None for row in task.rows)
    ends: list[float | None] = [None] * len(names) if without else corrupted.mean(axis=1).tolist()
    both = zip(names, clean.mean(axis=1).tolist(), ends, strict=True)
    measures = {name: {"clean": full, "corrupted": empty} for name, full, empty in both}
    lengths, answers = [len(row.clean) for row in task.rows], [len(row.answers) for row in task.rows]
    return TaskCheck(
        task=task.name,
        model=model.name,
        rows=len(task.rows),
        shortest=min(lengths),
        longest=max(lengths),
        discovery=len(split.discovery),
        verification=len(split.verification),
        metric=own.name,
        measures=measures,
        groups=_groups(task.rows, names, clean),
        warnings=_warnings(measures, _same_outputs(names, clean, corrupted, outputs), without, len(split.verification)),
        quantisation=model.quantisation,
        spans=_spans(task),
        answers=(min(answers), max(answers)),
    )


def _measure(
    model: Model, task: Task, settings: DiscoverySettings, metrics: Sequence[Metric]
) -> tuple[np.ndarray, np.ndarray]:
    """Metrics [metrics, rows] on the clean and on the corrupted prompts, NaN where a row has none; some rows are bound
    at a time, so that memory does not grow with what all of them would hold."""
    found = np.full((2, len(metrics), len(task.rows)), np.nan)
    for index in _parts(model, task, settings):
        # what removed edges would carry is not asked
        behaviour = bind(model, task, replace(settings, ablation="zero"), index)
        found[0][:, index] = behaviour.plain(metrics)
        if behaviour.has_corrupted:
            found[1][:, index] = behaviour.plain(metrics, corrupted=True)
    return found[0], found[1]


def _parts(model: Model, task: Task, settings: DiscoverySettings) -> Iterator[list[int]]:
    """Places of rows in whole batches."""
    graph = model.executor(settings.split_embeddings, settings.direct_edges).graph
    most, part = min(MOST_ROWS, MOST_LOGITS // model.anatomy.d_vocab_out), list[int]()
    for batch in split_into_batches(task.rows, model, graph, settings.batch_size):
        if part and len(part) + len(batch) > most:
            yield part
            part = []
        part = part + batch
    yield part


def _metrics(own: Metric, rows: Sequence[Row], outputs: int) -> list[Metric]:
    """What these rows have the answers for: the built-in metrics, the task's own, and whether the answer is right."""
    metrics = usable_metrics(rows, outputs)
    metrics += [own] if own not in metrics else []
    answered = outputs > 1 and all(row.has("correct") and row.has("incorrect") for row in rows)
    return [*metrics, RIGHT_ANSWER] if answered else metrics


def _groups(rows: Sequence[Row], names: Sequence[str], values: np.ndarray) -> list[GroupCheck]:
    """By name; `values` [metrics, rows]. None where the task has no groups."""
    found = []
    for group in sorted({row.group for row in rows if row.group is not None}):
        index = [i for i, row in enumerate(rows) if row.group == group]
        means = values[:, index].mean(axis=1).tolist()
        found.append(GroupCheck(group, len(index), dict(zip(names, means, strict=True))))
    return found


def _spans(task: Task) -> dict[str, tuple[int, int]]:
    """By name, none where the task has none; (fewest, most) tokens."""
    counts = [Counter(row.spans.numbers(len(row.clean))) for row in task.rows if row.spans is not None]
    sizes = {name: [count[number] for count in counts] for number, name in enumerate((*task.span_names, REST))}
    return {name: (min(found), max(found)) for name, found in sizes.items() if found}


def _same_outputs(names: Sequence[str], clean: np.ndarray, corrupted: np.ndarray, outputs: int) -> bool:
    """Whether the model says the same of clean and corrupted prompts, by metrics [metrics, rows]; not where a row has
    no corrupted prompt."""
    away = float(corrupted[names.index(distance(outputs).name)].mean())
    return away < 1e-6 if outputs > 1 else away <= NOISE**2 * float((clean[names.index("value")] ** 2).mean())


def _warnings(measures: dict[str, dict[str, float | None]], alike: bool, without: int, verification: int) -> list[str]:
    found = []
    right = measures.get("right_answer", measures.get("accuracy", {})).get("clean")
    if right is not None and right < RIGHT_ENOUGH:
        found.append(f"the model is right on {right:.0%} of the rows: its circuit may carry no behaviour")
    if without:
        usable = [ablation.name for ablation in ABLATIONS.built_in.values() if not ablation.needs_corrupted]
        rows = f"{count_of(without, 'row')} {'has' if without == 1 else 'have'}"
        found.append(f"{rows} no corrupted prompt: discover with --ablation {' or '.join(usable)}")
    if alike:
        found.append("clean and corrupted prompts give the same output: ablating to the corrupted run shows nothing")
    if not verification:
        found.append("all rows duplicate or mirror each other: none would be left to verify on")
    return found
