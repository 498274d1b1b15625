"""What an executor can do: any piece of work that has an id, a folder of its own, and can go on where it ended."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from acdc.behaviour.workers import FindWorkers
from acdc.progress import Progress
from acdc.runs.discovery import Loaded
from acdc.runs.spec import DiscoveryJob


class Job(Protocol):
    """`id` is a hash of all that its result depends on; `path`, in `folder`, is the directory of its results, called
    `name`; `command` is what a user would type for it alone."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    @property
    def path(self) -> Path: ...

    @property
    def command(self) -> str: ...

    def is_finished(self) -> bool:
        """Whether all results are there."""

    def do(self, progress: Progress, loaded: Loaded, find_workers: FindWorkers) -> None:
        """Make what is missing. `loaded` keeps a model for the next job, `find_workers` share in the work."""


@runtime_checkable
class SharedJob(Protocol):
    """A job that others may share in; `job` says what they measure."""

    @property
    def job(self) -> DiscoveryJob: ...
