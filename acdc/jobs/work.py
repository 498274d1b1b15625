"""Do one job where it is: in this process, or in a worker of a pool. The same code for both, so the same bytes.

A lock on the job's folder, which the system takes back when its process dies, keeps two processes from one job.
"""

import fcntl
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from acdc.behaviour.workers import FindWorkers, no_workers
from acdc.errors import AcdcWarning, DiskError, InputError, is_out_of_memory, telling
from acdc.files import check_target, clear_parts, make_private, refused
from acdc.jobs.job import Job
from acdc.jobs.store import Stage
from acdc.progress import Advance, Progress
from acdc.runs.discovery import Loaded

LOCKS, LOGS = ".locks", "logs"
PATIENCE = 30.0  # seconds to wait for another process that has the job: one that was killed may take a while to die
REPORT_EVERY = 0.5  # seconds


@dataclass(frozen=True)
class Outcome:
    """How a job ended: without `error`, or with what went wrong in a sentence; `disk_full` ends the whole run."""

    id: str
    error: str | None
    seconds: float
    disk_full: bool = False


class Report(Protocol):
    """Told how jobs get on."""

    def started(self, id: str) -> None:
        """Somebody works on a job."""

    def at(self, id: str, stage: Stage) -> None:
        """What a job is at; not more than twice a second."""


def work_on(job: Job, report: Report, loaded: Loaded, find_workers: FindWorkers = no_workers) -> Outcome:
    """Do a job, or what is left of it; whatever goes wrong is the outcome. `loaded` keeps the model for the next;
    `find_workers` share in the work."""
    began = time.monotonic()

    def outcome(error: str | None, disk_full: bool = False) -> Outcome:
        return Outcome(job.id, error, time.monotonic() - began, disk_full)

    report.started(job.id)
    try:
        with _locked(job), _logged(job):
            clear_parts(job.path)
            job.do(_reporting(job.id, report), loaded, find_workers)
        return outcome(None)
    except DiskError as error:
        return outcome(str(error), disk_full=True)
    except InputError as error:
        return outcome(str(error))
    except Exception as error:  # one job that breaks must not take the others with it
        loaded.forget()
        if is_out_of_memory(error):
            return outcome("out of memory: use a smaller batch-size or limit")
        return outcome(f"{type(error).__name__}: {error} (this is a fault of acdc; see {_log(job)})")


@contextmanager
def _locked(job: Job) -> Iterator[None]:
    """Hold the job's lock. Raises InputError when another process has held it for long."""
    path, waited_until = job.folder / LOCKS / job.id, time.monotonic() + PATIENCE
    make_private(path.parent)
    check_target(path)
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > waited_until:
                    raise InputError(f"another process is working on {job.path}") from None
                time.sleep(0.2)
        yield


def _log(job: Job) -> Path:
    return job.folder / LOGS / f"{job.name}.log"


@contextmanager
def _logged(job: Job) -> Iterator[None]:
    """Write warnings and what goes wrong into the job's log."""
    path = _log(job)
    make_private(path.parent)
    check_target(path)

    def write(text: str) -> None:
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        except OSError as error:
            raise refused(error, path) from None

    with warnings.catch_warnings():
        warnings.simplefilter("always", AcdcWarning)
        warnings.showwarning = telling(lambda message: write(f"warning: {message}"))
        write("started")
        try:
            yield
            write("done")
        except InputError as error:
            if not isinstance(error, DiskError):
                write(f"error: {error}")
            raise
        except Exception:
            write(f"error:\n{traceback.format_exc()}")
            raise


def _reporting(id: str, report: Report) -> Progress:
    """Progress that is reported as the stages of a job."""

    @contextmanager
    def progress(what: str, total: float, unit: str) -> Iterator[Advance]:
        so_far, reported = 0.0, 0.0

        def advance(done: float, note: str = "") -> None:
            nonlocal so_far, reported
            so_far += done
            if (now := time.monotonic()) - reported >= REPORT_EVERY:
                reported = now
                report.at(id, Stage(what, so_far, total, unit, note))

        advance(0.0)
        yield advance

    return progress
