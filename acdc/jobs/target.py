"""What `acdc status`, `logs`, `stop` and `fetch` speak to: a folder of jobs here, or a submission to a cluster."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from acdc.errors import InputError
from acdc.files import existing_path
from acdc.jobs.fetch import FileEntry, Source, take
from acdc.jobs.job_folder import JobFolder
from acdc.jobs.state import JobsState, JobState
from acdc.jobs.store import Status, Store, StoredJob
from acdc.runs.run_directory import RUN_FILE


class Target(Source, Protocol):
    """Jobs that somebody runs somewhere; `poll` is how long to wait before asking again, in seconds."""

    poll: float

    def state(self) -> JobsState:
        """How the jobs stand."""

    def logs(self, job: str | None = None) -> dict[str, str]:
        """What jobs have logged, by name; of one, given by its name or a part that no other has."""

    def stop(self) -> str:
        """Stop them, and say so. Raises InputError where that is not to be done from here."""


@contextmanager
def find_target(name: str, address: str | None) -> Iterator[Target]:
    """A folder of jobs, or with an address a submission. Raises InputError for what is neither."""
    if address is None:
        folder = existing_path(name)
        if folder is None or not folder.is_dir():
            raise InputError(f"{name!r} is not a folder of jobs; a submission's id needs --address too")
        yield JobFolder(folder)
        return
    from acdc.jobs.ray.cluster import connect
    from acdc.jobs.ray.submission import Submission

    with connect(address) as cluster:
        yield Submission(cluster, name)


def watch(target: Target) -> Iterator[JobsState]:
    """How jobs stand, again and again until nothing changes any more by itself."""
    while True:
        state = target.state()
        yield state
        if state.ended:
            return
        time.sleep(target.poll)


def fetch(target: Target, out: Path) -> list[FileEntry]:
    """Bring all finished runs into a folder, and note them in its store; the files that were written.

    See `acdc.jobs.fetch.take` for what is written over and what is refused.
    """
    state = target.state()
    taken = take(target, out)
    here = [_stored(job) for job in state.jobs if job.status is Status.done and (out / job.name / RUN_FILE).is_file()]
    with closing(Store(out)) as store:
        store.take(here)
    return taken


def _stored(job: JobState) -> StoredJob:
    return StoredJob(job.id, job.name, job.command, job.status, None, job.seconds, None, None, time.time())
