"""Load a task by name or from a file, as token ids of a model."""

import re
from pathlib import Path

from acdc.errors import InputError
from acdc.files import existing_path
from acdc.model.load import Model
from acdc.task.bundled import BUNDLED_TASKS
from acdc.task.metrics import all_metrics
from acdc.task.readers import read_task_file
from acdc.task.rows import Task
from acdc.task.tokenize import PromptTokenizer, tokenize_rows

FALLBACK_METRIC = "kl"


def load_task(name_or_path: str | Path, model: Model) -> Task:
    """A bundled task or a task file, tokenized for a model.

    The task's metric is its header's; else logit_diff where every row has both kinds of answers, else KL.
    Raises InputError naming the file and row that cannot be used.
    """
    if str(name_or_path) in BUNDLED_TASKS:
        return _load_bundled(str(name_or_path), model)
    path = existing_path(str(name_or_path))
    if path is None or not path.is_file():
        names = ", ".join(BUNDLED_TASKS)
        raise InputError(f"task {str(name_or_path)!r} is neither a bundled task ({names}) nor a file")
    raw = read_task_file(path)
    if raw.header.metric is not None and raw.header.metric not in all_metrics():
        raise InputError(f"{path}: metric {raw.header.metric!r} is not one of {', '.join(all_metrics())}")
    rows = tokenize_rows(raw.rows, raw.places, PromptTokenizer(model.tokenizer, raw.header.prepend_bos), model.anatomy)
    answered = all(row.correct and row.incorrect for row in rows)
    metric = raw.header.metric or ("logit_diff" if answered else FALLBACK_METRIC)
    return Task(_safe_name(raw.header.task or path.stem), rows, metric)


def _load_bundled(name: str, model: Model) -> Task:
    task = BUNDLED_TASKS[name]
    tokenizer = PromptTokenizer(model.tokenizer)
    if model.tokenizer is None:
        raise InputError(f"task {name!r} is text, and model {model.name!r} has no tokenizer")
    raw = task.raw_rows(tokenizer)
    places = [f"task {name}, row {row.id}" for row in raw]
    return Task(name, tokenize_rows(raw, places, tokenizer, model.anatomy), task.metric)


def _safe_name(name: str) -> str:
    """A task's name goes into file names and diagrams."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "task"
