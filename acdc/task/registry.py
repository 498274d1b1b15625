"""The tasks by name: those that come with acdc, and those of other packages."""

from dataclasses import dataclass
from pathlib import Path

from acdc.extensions import Registry
from acdc.task.bundled import BUNDLED_TASKS, BundledTask


@dataclass(frozen=True)
class TaskFile:
    """A task file with a name of its own; its `metric` is that of the file's header."""

    name: str
    path: Path
    summary: str
    metric: str = ""


TASKS: Registry[BundledTask | TaskFile] = Registry(
    "task", "acdc.tasks", (BundledTask, TaskFile), BUNDLED_TASKS.values()
)
