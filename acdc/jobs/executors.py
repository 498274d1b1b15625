"""Who does the jobs: this process, one after the other, or the workers of a pool (`acdc.jobs.ray.pool`)."""

from collections.abc import Generator, Sequence
from typing import Protocol

import torch

from acdc.errors import InputError
from acdc.jobs.job import Job
from acdc.jobs.pulse import answers
from acdc.jobs.work import Outcome, Report, work_on
from acdc.options import DEFAULT_THREADS, MOST_WORKERS, check_count
from acdc.runs.discovery import Loaded
from acdc.words import count_of


class JobExecutor(Protocol):
    """Does jobs in any order; their artefacts do not depend on which executor does them, nor on how many workers."""

    def run(self, jobs: Sequence[Job], report: Report) -> Generator[Outcome, None, None]:
        """The outcomes of all jobs, as they end. Closing the generator stops what is running."""


class InProcess:
    """One job after the other, in this process; a model stays loaded while the next job names it too."""

    def run(self, jobs: Sequence[Job], report: Report) -> Generator[Outcome, None, None]:
        loaded = Loaded()
        for job in jobs:
            yield work_on(job, report, loaded)


def choose_executor(
    workers: int | None,
    gpus_per_worker: float = 0.0,
    address: str | None = None,
    threads: int = DEFAULT_THREADS,
    min_workers: int | None = None,
) -> JobExecutor:
    """In this process, unless workers are asked for, each with so many threads; on a cluster, `min_workers` of them
    begin. Raises InputError for workers that there cannot be."""
    if workers is None:
        if gpus_per_worker or address or min_workers is not None:
            raise InputError("--gpus-per-worker, --address and --min-workers need --workers N")
        return InProcess()
    check_count("--workers", workers, MOST_WORKERS)
    check_least(min_workers, workers)
    if min_workers is not None and address is None:
        raise InputError("--min-workers needs --address: on this machine all workers start together")
    if not (gpus_per_worker >= 0 and (gpus_per_worker <= 1 or gpus_per_worker.is_integer())):
        raise InputError(f"--gpus-per-worker {gpus_per_worker:g} must be a part of one GPU or a whole number of them")
    if address is None and workers * gpus_per_worker > (there := torch.cuda.device_count()):
        raise InputError(
            f"--workers {workers} with {gpus_per_worker:g} GPUs each: this machine has {count_of(there, 'GPU')}"
        )
    if address not in (None, "auto") and not answers(address):
        raise InputError(f"--address {address}: nothing answers there; give auto, or HOST:PORT of a cluster's head")
    from acdc.jobs.ray.pool import RayPool  # Ray is large, and not everybody has it

    return RayPool(workers, gpus_per_worker, address, threads, min_workers)


def check_least(min_workers: int | None, workers: int) -> None:
    """Raises InputError for a least number of workers that is none, or more than all of them."""
    if min_workers is not None and not 1 <= min_workers <= workers:
        raise InputError(f"--min-workers {min_workers} must be at least 1 and at most --workers, {workers}")
