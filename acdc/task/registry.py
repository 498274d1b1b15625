"""The tasks by name: those that come with acdc, and those of other packages."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from acdc.extensions import load_named
from acdc.task.bundled import BUNDLED_TASKS, BundledTask

ENTRY_POINTS = "acdc.tasks"


@dataclass(frozen=True)
class TaskFile:
    """A task file with a name of its own; its `metric` is that of the file's header."""

    name: str
    path: Path
    summary: str
    metric: str = ""


@cache
def all_tasks() -> dict[str, BundledTask | TaskFile]:
    """The tasks of acdc and those of other packages, which have entry points to a `BundledTask`, which generates rows,
    or a `TaskFile`, in the group `acdc.tasks`. Raises InputError for what is neither, or has the name of another."""
    return load_named(ENTRY_POINTS, (BundledTask, TaskFile), BUNDLED_TASKS)
