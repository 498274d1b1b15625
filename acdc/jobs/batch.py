"""Run many jobs into one folder: those that are finished there are not run again, the rest is resumed."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from acdc.errors import DiskError
from acdc.files import make_private
from acdc.jobs.executors import JobExecutor
from acdc.jobs.job import Job
from acdc.jobs.planned import plan_jobs
from acdc.jobs.store import Stage, Status, Store, StoredJob
from acdc.jobs.work import Outcome
from acdc.progress import keeps_work
from acdc.runs.spec import DiscoveryJob


class Watch(Protocol):
    """Told of everything that happens to jobs, to show it."""

    def begins(self, jobs: Sequence[Job], finished: int) -> None:
        """These jobs are run now; so many others were finished already."""

    def started(self, job: Job) -> None:
        """Somebody works on a job."""

    def at(self, job: Job, stage: Stage) -> None:
        """What a job is at."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A job is over."""


class Silent:
    """Shows nothing."""

    def begins(self, jobs: Sequence[Job], finished: int) -> None:
        pass

    def started(self, job: Job) -> None:
        pass

    def at(self, job: Job, stage: Stage) -> None:
        pass

    def ended(self, job: Job, outcome: Outcome) -> None:
        pass


@dataclass
class Ledger:
    """Records what jobs report, in the store, and passes it on to the display."""

    store: Store
    jobs: dict[str, Job]
    watch: Watch

    def __post_init__(self) -> None:
        self.running: set[str] = set()

    def started(self, id: str) -> None:
        self.running.add(id)
        self.store.mark(id, Status.running)
        self.watch.started(self.jobs[id])

    def at(self, id: str, stage: Stage) -> None:
        if id in self.running:
            self.store.at(id, stage)
            self.watch.at(self.jobs[id], stage)

    def ended(self, outcome: Outcome) -> None:
        """Raises DiskError for an outcome that leaves no hope for others."""
        self.running.discard(outcome.id)
        self.watch.ended(self.jobs[outcome.id], outcome)
        status = Status.done if outcome.error is None else Status.failed
        self.store.mark(outcome.id, status, outcome.error, outcome.seconds)
        if outcome.disk_full:
            raise DiskError(f"{outcome.error}; finished work is kept; run the same command again to resume")

    def stopped(self) -> None:
        """Record that running jobs are no longer waited for."""
        for id in sorted(self.running):
            self.store.mark(id, Status.stopped)


def run_jobs(
    jobs: Sequence[DiscoveryJob], out: Path, executor: JobExecutor, watch: Watch, where: str = ""
) -> list[StoredJob]:
    """Run jobs into `out`, which only its user can look into; how each of them stands in the end, in their order.

    Raises InputErrors for jobs that cannot be run, saying `where` these are from, before anything is run, and DiskError
    where the disk is full.
    """
    return run_planned(plan_jobs(jobs, out, where), out, executor, watch)


def run_planned(planned: Sequence[Job], out: Path, executor: JobExecutor, watch: Watch) -> list[StoredJob]:
    """The same for jobs of any kind, whose folder is `out`."""
    make_private(out)
    keeps_work(out)
    store, me = Store(out), (os.getpid(), socket.gethostname())
    if store.read_only and all(job.is_finished() for job in planned):
        watch.begins([], len(planned))
        return _stored(store, planned)
    try:
        store.add(planned)
        store.enter(*me)
        _run(planned, executor, Ledger(store, {job.id: job for job in planned}, watch))
        return _stored(store, planned)
    finally:
        store.leave(*me)
        store.close()


def _stored(store: Store, planned: Sequence[Job]) -> list[StoredJob]:
    ids = {job.id for job in planned}
    return [job for job in store.jobs() if job.id in ids]


def _run(planned: Sequence[Job], executor: JobExecutor, ledger: Ledger) -> None:
    pending = [job for job in planned if not job.is_finished()]
    for job in planned:
        if job not in pending:
            ledger.store.found_done(job.id)
    ledger.watch.begins(pending, len(planned) - len(pending))
    outcomes = executor.run(pending, ledger)
    try:
        for outcome in outcomes:
            ledger.ended(outcome)
    finally:
        outcomes.close()
        ledger.stopped()
