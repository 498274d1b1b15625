"""A discovery job: the options of `acdc discover`, as one value that says everything that its result depends on."""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from acdc.files import check_text, existing_path
from acdc.graph.units import kind_of
from acdc.model.sources import NAMES
from acdc.options import Extent, Scope
from acdc.runs.run_directory import SourceRecord
from acdc.search.options import BUILT_IN, DECIDING, SCORING, flag, own_options
from acdc.search.settings import DiscoverySettings
from acdc.task.names import TaskName
from acdc.task.registry import TASKS
from acdc.task.rows import Task

# settings that only choosing or deciding needs
_CHOOSING = ("threshold", "edges", "faithfulness", "choose", "bootstrap", "hurting", "level")
_NOT_SCORING = (*_CHOOSING, "direct_edges", *own_options(*DECIDING))
_NOT_SWEEPING = ("method", "choose", "bootstrap", "hurting", "propose", *own_options(*SCORING))
_NOT_IMPORTING = ("method", "bootstrap", "hurting", "direct_edges", *BUILT_IN)


@dataclass(frozen=True)
class DiscoveryJob:
    """What to discover where; `model` and `task` are names or paths as the user gave them. `verify`: how far the
    circuit is verified, on at most `verify_rows` rows; neither changes what is found."""

    model: str
    task: str
    settings: DiscoverySettings
    revision: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    verify: Extent = Extent.standard
    verify_rows: int | None = None

    def check(self) -> None:
        """Raises InputError for values that no job can use, before any work is done."""
        self.settings.check()
        self.scope.check()

    @property
    def scope(self) -> Scope:
        """How far its circuit is verified."""
        return Scope(self.verify, self.verify_rows)

    def inputs(self, model_hash: str, task: Task) -> dict[str, Any]:
        """Everything that determines the artefacts, by content instead of by name."""
        spans = kind_of(self.settings.level).have_spans and bool(task.span_names)
        return {
            "model": model_hash,
            "task": task.content_hash(),
            "task_metric": task.metric,
            "dtype": self.dtype,
            **self.settings.record(),
            **({"spans": task.spans_hash()} if spans else {}),
        }

    def command(self, verb: str, extra: dict[str, Any] | None = None) -> str:
        """The command line that finds the same circuit, run from the same folder: paths are as the user gave them. How
        far it is verified is no part of it, as that can be raised later."""
        words = ["acdc", verb, "--model", self.model, "--task", self.task]
        words += ["--revision", self.revision] if self.revision else []
        words += ["--dtype", self.dtype]
        left_out = {"score": _NOT_SCORING, "sweep": _NOT_SWEEPING, "import": _NOT_IMPORTING}.get(verb, ())
        settings = {name: value for name, value in self.settings.record().items() if name not in left_out}
        plugged = settings.keys() - {one.name for one in fields(DiscoverySettings)} - BUILT_IN.keys()
        for name, value in (settings | (extra or {})).items():
            if name in plugged:
                words += ["--option", f"{name}={value}"]
            elif value is True:
                words.append(flag(name))
            elif value is not None and value is not False:
                words += [flag(name), ",".join(map(str, value)) if isinstance(value, list) else str(value)]
        return shlex.join(words)

    def source(self) -> SourceRecord:
        """Where to load model and task from again, on this machine. Raises InputError for a path that is no text."""
        return source_of(self.model, self.revision, self.task)


def source_of(model: str, revision: str | None, task: str | None) -> SourceRecord:
    """Where a model and a task, if any, are on this machine; bundled names come first, as they do when loading. Raises
    InputError for a path that is no text."""
    path = None if model in NAMES else existing_path(model)
    model_place, task_place = str(path.resolve()) if path else model, "" if task is None else located(task, Path())
    check_text(model_place)
    check_text(task_place)
    return SourceRecord(model=model_place, revision=revision, task=task_place)


def located(task: str, folder: Path) -> str:
    """A task's name with the path in it, if any, seen from a folder and made absolute."""
    if task in TASKS:
        return task
    name = TaskName.parse(task, folder)
    return task if name.path is None else name.at(str(name.path.resolve()))
