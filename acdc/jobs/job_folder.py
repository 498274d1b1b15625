"""A folder of jobs on this machine: how they stand, what they logged, who runs them, and what they have found."""

import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from acdc.errors import InputError
from acdc.jobs.fetch import FileEntry, list_files
from acdc.jobs.state import JobsState, describe
from acdc.jobs.store import Driver, Status, Store, StoredJob, open_store
from acdc.jobs.work import LOGS
from acdc.runs.run_directory import read_run

STOP_SECONDS, POLL = 60.0, 0.2


class JobFolder:
    """See `acdc.jobs.target.Target`."""

    poll = 1.0

    def __init__(self, path: Path):
        """Raises InputError for a folder that holds no jobs."""
        self.path = path.resolve()
        open_store(self.path).close()

    def state(self) -> JobsState:
        with closing(open_store(self.path)) as store:
            driven = bool(store.drivers())
            return describe(self.path, store.jobs(), driven)

    def logs(self, job: str | None = None) -> dict[str, str]:
        with closing(open_store(self.path)) as store:
            jobs = store.jobs()
        chosen = jobs if job is None else [_named(job, jobs, self.path)]
        paths = {job.name: self.path / LOGS / f"{job.name}.log" for job in chosen}
        return {name: path.read_text("utf-8", errors="replace") for name, path in paths.items() if path.is_file()}

    def stop(self) -> str:
        with closing(open_store(self.path)) as store:
            return _stop(store, self.path)

    def files(self) -> list[FileEntry]:
        with closing(open_store(self.path)) as store:
            done = [job.name for job in store.jobs() if job.status is Status.done]
        return list_files(self.path, [name for name in done if _is_complete(self.path / name)])

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[FileEntry, bytes]]:
        for entry in entries:
            yield entry, (self.path / entry.name).read_bytes()


def _is_complete(run: Path) -> bool:
    try:
        return read_run(run).status == "complete"
    except InputError:
        return False


def _named(text: str, jobs: Sequence[StoredJob], folder: Path) -> StoredJob:
    """The job of a name, or of a part of one that no other has; ids are parts of names."""
    found = [job for job in jobs if job.name == text] or [job for job in jobs if text in job.name]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"no job in {folder} has {text!r} in its name: see 'acdc status'")
    raise InputError(f"{text!r} is a part of {len(found)} jobs' names: {', '.join(job.name for job in found)}")


def _stop(store: Store, folder: Path) -> str:
    """Ask every process that runs the folder's jobs to end, and wait until none does."""
    here = socket.gethostname()
    elsewhere = sorted({driver.host for driver in store.drivers() if driver.host != here})
    stopped = [driver for driver in store.drivers() if driver.host == here]
    for driver in stopped:
        _terminate(driver)
    _await(store, stopped)
    if elsewhere:
        raise InputError(f"the jobs in {folder} are run on {', '.join(elsewhere)}: use 'acdc stop' there")
    if not stopped:
        return f"no process is running the jobs in {folder}"
    return f"stopped; 'acdc run' with --out {folder} resumes the jobs"


def _terminate(driver: Driver) -> None:
    """Not by SIGINT, which shells make the commands that they start in the background ignore."""
    try:
        os.kill(driver.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended by itself
    except PermissionError:
        raise InputError(f"process {driver.pid}, which runs the jobs, is another user's") from None


def _await(store: Store, drivers: Sequence[Driver]) -> None:
    until = time.monotonic() + STOP_SECONDS
    while alive := set(store.drivers()) & set(drivers):
        if time.monotonic() > until:
            pids = ", ".join(str(driver.pid) for driver in alive)
            raise InputError(f"process {pids} was asked to stop, and has not done so within {STOP_SECONDS:.0f} s")
        time.sleep(POLL)
