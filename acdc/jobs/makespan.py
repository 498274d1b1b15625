"""Plan the jobs of a file on several workers: what each takes by its own plan, and when all of them are done."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from acdc.errors import InputError
from acdc.jobs.planned import for_each
from acdc.options import MOST_WORKERS, check_count
from acdc.planning.job_plan import JobPlan, plan_job
from acdc.planning.machines import Machine
from acdc.planning.throughput import HANDLING, JobLoad, Schedule, schedule
from acdc.progress import Progress, silent
from acdc.runs.spec import DiscoveryJob
from acdc.words import count_of

STARTING = 10.0  # seconds that Ray and its workers take until the first job starts
READING = 1e9  # bytes of weights that a worker loads in a second, from a disk or over a network


@dataclass(frozen=True)
class JobsPlan:
    """The plans of jobs that differ, with how many each stands for, on so many workers (None: in one process, one job
    after the other); and how all go on if each takes the time that is `likely`, and the least and the most."""

    plans: tuple[tuple[JobPlan, int], ...]
    workers: int | None
    least: Schedule
    likely: Schedule
    most: Schedule

    @property
    def jobs(self) -> int:
        return sum(count for _, count in self.plans)

    @property
    def starting(self) -> float:
        """Seconds until the first job starts."""
        return 0.0 if self.workers is None else STARTING

    def as_record(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "jobs": self.jobs,
            "workers": self.workers,
            "starting": self.starting,
            "reading": READING,
            "least": asdict(self.least),
            "likely": asdict(self.likely),
            "most": asdict(self.most),
            "plans": [{"count": count, **plan.as_record()} for plan, count in self.plans],
        }


def plan_file(
    jobs: Sequence[DiscoveryJob],
    workers: int | None = None,
    machine: Machine | None = None,
    probing: bool = True,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress = silent,
    where: str = "",
) -> JobsPlan:
    """Plan jobs, each on one worker that has a `machine` (None: this one, whose cores the workers share).

    Jobs that differ in their seed alone, and so in which rows they take, are planned once. Raises InputErrors with what
    is wrong with any of them, each beginning with `where` the jobs are from.
    """
    if workers is not None:
        check_count("--workers", workers, MOST_WORKERS)
    wanted = {repr(job): job for job in jobs}.values()  # equal ones are run once
    alike = {repr(_any_seed(job)): job for job in wanted}
    if len(alike) > 1:
        say(f"planning {count_of(len(alike), 'job')}: {len(wanted)} less those that differ in their seed alone")
    found = for_each([*alike.values()], lambda job: plan_job(job, probing, say, progress, machine), where)
    plans = dict(zip(alike, found, strict=True))
    if full := next((plan for plan in found if plan.fits is False and plan.fitting is None), None):
        raise InputError(
            f"{where}{full.method.name} for {full.task} in {full.model} does not fit a worker: plan it alone"
        )
    threads = max(job.settings.threads for job in jobs)
    slower = 1.0 if machine else max(1.0, (workers or 1) * threads / (os.cpu_count() or 1))
    each = [plans[repr(_any_seed(job))] for job in wanted]
    handling = 0.0 if workers is None else HANDLING

    def all_take(search: Callable[[JobPlan], float], after: Callable[[JobPlan], float]) -> Schedule:
        loads = [_load(plan, slower * search(plan), slower * after(plan)) for plan in each]
        return schedule(loads, workers or 1, handling)

    counted = {id(plan): sum(plan is one for one in each) for plan in found}
    return JobsPlan(
        plans=tuple((plan, counted[id(plan)]) for plan in found),
        workers=workers,
        least=all_take(lambda plan: plan.seconds[0], lambda plan: 0.0),
        likely=all_take(_likely, _after),
        most=all_take(lambda plan: plan.seconds[1], _after),
    )


def _any_seed(job: DiscoveryJob) -> DiscoveryJob:
    return replace(job, settings=replace(job.settings, seed=0))


def _likely(plan: JobPlan) -> float:
    """Seconds of the search: between bounds of which nothing more is known, their geometric mean."""
    least, most = plan.seconds
    return plan.likely.seconds if plan.likely else (least * most) ** 0.5


def _after(plan: JobPlan) -> float:
    """Seconds of what comes after the search, at most."""
    return plan.verification.seconds + (plan.choosing.seconds if plan.choosing else 0.0)


def _load(plan: JobPlan, search: float, after: float) -> JobLoad:
    """A job whose search, and what comes after it, take so many seconds. Batches that are scored are shared; a search
    that decides, and what comes after any search, do not count as shared."""
    model = plan.model, plan.dtype
    loading = sum([plan.search.memory.weights, *plan.search.memory.elsewhere.values()]) / READING
    if plan.method.decides or plan.method.learns_masks:
        return JobLoad(model, loading, search + after)
    parts = plan.search.batches
    return JobLoad(model, loading, after, parts, search / parts)
