"""Load a task by name or from a file, as token ids of a model."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from acdc.errors import AcdcWarning, InputError, refusal
from acdc.model.load import Model
from acdc.task.bundled import BundledTask
from acdc.task.datasets import read_data_set
from acdc.task.from_data import WHERE, raw_task_of
from acdc.task.leading_spaces import warn_of_missing_spaces
from acdc.task.metrics import METRICS, distance
from acdc.task.names import PREFIX, TaskName, is_data_set
from acdc.task.prompt_tokenizer import PromptTokenizer
from acdc.task.raw_rows import KINDS, PlacedRow, RawTask
from acdc.task.readers import read_task_file
from acdc.task.registry import TASKS
from acdc.task.rows import Row, Task
from acdc.task.span_places import SpanError
from acdc.task.tokenize import tokenize_rows
from acdc.words import did_you_mean


def task_of(model: Model, rows: Any, metric: str | None, name: str, prepend_bos: bool | None) -> Task:
    """See `Task.of`."""
    raw = raw_task_of(rows, prepend_bos)
    return _tokenized(replace(raw, header=raw.header.model_copy(update={"metric": metric})), WHERE, name, model)


def load_task(name_or_path: str | Path, model: Model) -> Task:
    """A task by its name, a task file, or a data set (`acdc.task.datasets`), tokenized for a model.

    The task's metric is its header's; else squared_error for a model with one output, logit_diff where every row has
    both kinds of answers, else KL. Warns where some rows have answers that this metric does not ask for, and of answers
    without the space that would be likelier with it.
    Raises InputError naming the file and row that cannot be used.
    """
    if not isinstance(name_or_path, str | Path):
        kind = type(name_or_path).__name__
        raise InputError(
            f"a task is loaded by its name or from a file, not a {kind}: acdc.Task.of(model, rows) takes rows"
        )
    name = str(name_or_path)
    task = TASKS.get(name)
    if isinstance(task, BundledTask):
        return _generate(task, model)
    place = name if task is None else str(task.path)
    raw, label = _read(place)
    return _tokenized(raw, place, label if task is None else task.name, model)


def _tokenized(raw: RawTask, place: str, label: str, model: Model) -> Task:
    if raw.header.metric is not None and raw.header.metric not in METRICS:
        meant = did_you_mean(raw.header.metric, METRICS)
        raise InputError(f"{place}: metric {raw.header.metric!r} is not one of {', '.join(METRICS)}{meant}")
    tokenizer = PromptTokenizer(model.tokenizer, raw.header.prepend_bos)
    rows = tokenize_rows(raw.rows, tokenizer, model.anatomy)
    if not rows:
        raise InputError(f"{place} has no rows")
    metric = raw.header.metric or _usual_metric(rows, model.anatomy.d_vocab_out)
    if raw.header.metric is None:
        _warn_of_unasked_answers(rows, metric, place)
    warn_of_missing_spaces(model, rows, tokenizer.unspaced, place)
    return Task(_safe_name(label), rows, metric)


def check_file(name_or_path: str | Path) -> None:
    """Read all rows of a task file, which needs no model; nothing of other tasks. Raises InputErrors for rows that
    cannot be read: the first few, and how many more."""
    name, problems = TaskName.parse(str(name_or_path)), list[InputError]()
    if name.text in TASKS or is_data_set(name.text) or name.path is None or not name.path.is_file():
        return
    if name.path.suffix not in (".jsonl", ".json", ".csv"):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AcdcWarning)  # comes when the task is loaded
        for _ in read_task_file(name.path, name.said, problems.append).rows:
            pass
    if problems:
        raise refusal(problems)


def _warn_of_unasked_answers(rows: Sequence[Row], metric: str, place: str) -> None:
    """Where some rows have incorrect answers, they were meant to be compared with correct ones."""
    if metric == "logit_diff" or not any(answers.incorrect for row in rows for answers in row.answers):
        return
    kind, lacking = next((kind, row) for row in rows for kind in KINDS if not row.has(kind))
    warnings.warn(
        f"{place}: the metric is {metric}, which uses no answers, as row {lacking.id!r} has no {kind} ones: give every "
        "row both, or name a metric",
        AcdcWarning,
        stacklevel=4,
    )


def _usual_metric(rows: Sequence[Row], outputs: int) -> str:
    answered = outputs > 1 and all(row.has("correct") and row.has("incorrect") for row in rows)
    return "logit_diff" if answered else distance(outputs).name


def _read(text: str) -> tuple[RawTask, str]:
    """(rows, what the task is called) of a file or a data set."""
    name = TaskName.parse(text)
    if not is_data_set(text) and name.path and (name.path.is_dir() or name.path.suffix in (".parquet", ".arrow")):
        name = TaskName.parse(PREFIX + text)
    if is_data_set(name.text):
        raw = read_data_set(name)
        return raw, str(raw.header.task)
    if name.path is None:
        names = ", ".join(TASKS)
        raise InputError(
            f"task {text!r} is neither a bundled task ({names}) nor a file; a data set begins with {PREFIX}"
            f"{did_you_mean(text, TASKS)}"
        )
    raw = read_task_file(name.path, name.said)
    return raw, raw.header.task or name.path.stem


def _generate(task: BundledTask, model: Model) -> Task:
    name = task.name
    tokenizer = PromptTokenizer(model.tokenizer)
    if model.tokenizer is None:
        raise InputError(f"task {name!r} is text, and model {model.name!r} has no tokenizer")
    rows = [PlacedRow(f"task {name}, row {row.id}", row) for row in task.raw_rows(tokenizer)]
    try:
        found = tokenize_rows(rows, tokenizer, model.anatomy)
    except SpanError:  # of a tokenizer that joins a word of the task to what is around it
        plain = (replace(one, row=one.row.model_copy(update={"spans": None})) for one in rows)
        found = tokenize_rows(plain, tokenizer, model.anatomy)
    return Task(name, found, task.metric)


def _safe_name(name: str) -> str:
    """A task's name goes into file names and diagrams."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "task"
