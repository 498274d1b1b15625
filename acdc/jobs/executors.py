"""Who does the jobs: this process, one after the other, or the workers of a pool (`acdc.jobs.ray_pool`)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from acdc.errors import InputError
from acdc.jobs.planned import PlannedJob
from acdc.jobs.run import Loaded
from acdc.jobs.spec import DiscoveryJob
from acdc.jobs.work import Outcome, Report, work_on


class JobExecutor(Protocol):
    """Does jobs in any order; their artefacts do not depend on which executor does them, nor on how many workers."""

    def run(self, jobs: Sequence[PlannedJob], report: Report) -> Iterator[Outcome]:
        """The outcomes of all jobs, as they end. Closing the iterator stops what is running."""


class InProcess:
    """One job after the other, in this process; a model stays loaded while the next job names it too."""

    def run(self, jobs: Sequence[PlannedJob], report: Report) -> Iterator[Outcome]:
        loaded = Loaded()
        for job in jobs:
            yield work_on(job, report, loaded)


def choose_executor(
    workers: int | None, gpus_per_worker: float, address: str | None, jobs: Sequence[DiscoveryJob]
) -> JobExecutor:
    """In this process, unless workers are asked for. Raises InputError for a number of workers that cannot be."""
    if workers is None:
        if gpus_per_worker or address:
            raise InputError("--gpus-per-worker and --address go with --workers N")
        return InProcess()
    if workers < 1:
        raise InputError(f"--workers {workers} must be at least 1")
    from acdc.jobs.ray_pool import RayPool  # Ray is large, and not everybody has it

    return RayPool(workers, gpus_per_worker, address, max(job.settings.threads for job in jobs))
