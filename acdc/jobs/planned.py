"""Jobs that are about to be run: each with the hash of all that its result depends on, and a folder named after it."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TypeVar

from acdc.artefacts.circuit import library_versions
from acdc.behaviour.workers import FindWorkers
from acdc.errors import InputError, InputErrors
from acdc.execution.dry_run import dry_run
from acdc.model.shape import find_model, shape_of
from acdc.model.sources import find_source
from acdc.progress import Progress
from acdc.runs.discovery import Loaded, run_discovery
from acdc.runs.finished import RUN_FILES, load_report
from acdc.runs.run_directory import RunDirectory
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import prepare
from acdc.task.load import load_task

ID_LENGTH = 12
T = TypeVar("T")


@dataclass(frozen=True)
class PlannedJob:
    """A job, its `id`, a hash of its inputs by content, and the name of its folder, which is readable and unique."""

    id: str
    name: str
    job: DiscoveryJob
    folder: Path

    @property
    def path(self) -> Path:
        """Its run directory."""
        return self.folder / self.name

    @property
    def command(self) -> str:
        return self.job.command("discover")

    def is_finished(self) -> bool:
        """Whether its run directory is complete."""
        try:
            run = RunDirectory.reopen(self.path)
            whole = run.record.status == "complete" and all(map(run.has, RUN_FILES)) and not run.changed()
            return whole and load_report(self.path).covers(self.job.scope)
        except InputError:
            return False

    def do(self, progress: Progress, loaded: Loaded, find_workers: FindWorkers) -> None:
        """Discover, verify and draw."""
        run_discovery(self.job, self.path, progress, loaded, find_workers)


def plan_jobs(jobs: Sequence[DiscoveryJob], folder: Path, where: str = "") -> list[PlannedJob]:
    """Look at model, task and rows of every job without loading a weight; equal jobs become one, which is verified as
    far as any of them asks.

    Raises InputErrors with what is wrong with any of them, each beginning with `where` the jobs are from.
    """
    equal: dict[str, list[PlannedJob]] = {}
    hashes: dict[tuple[str, str | None], str] = {}
    for made in for_each(jobs, lambda job: plan_one(job, folder, hashes), where):
        equal.setdefault(made.id, []).append(made)
    return [_as_one(planned) for planned in equal.values()]


def _as_one(equal: Sequence[PlannedJob]) -> PlannedJob:
    """The first of equal jobs, with the verification that covers those of all."""
    first, scope = equal[0], reduce(or_, (planned.job.scope for planned in equal))
    return replace(first, job=replace(first.job, verify=scope.extent, verify_rows=scope.rows))


def for_each(jobs: Sequence[DiscoveryJob], look: Callable[[DiscoveryJob], T], where: str = "") -> list[T]:
    """What looking at each job gives. Raises InputErrors with what is wrong with any of them, and `where` it is."""
    found, problems = [], []
    for number, job in enumerate(jobs, start=1):
        try:
            found.append(look(job))
        except InputError as error:
            problems.append(f"{where}job {number}: {error}")
    if problems:
        raise InputErrors(list(dict.fromkeys(problems)))
    return found


def plan_one(job: DiscoveryJob, folder: Path, hashes: dict[tuple[str, str | None], str]) -> PlannedJob:
    """Plan one job; `hashes`: of models seen before, by name and revision."""
    job.check()
    unloaded = find_model(job.model, revision=job.revision, device=job.device, dtype=job.dtype)
    with dry_run():
        model = shape_of(unloaded).model
        task = load_task(job.task, model)
        prepare(model, task, job.settings)
    source = job.model, job.revision
    if source not in hashes:
        hashes[source] = find_source(*source).content_hash()
    inputs = job.inputs(hashes[source], task) | {"versions": library_versions()}
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:ID_LENGTH]
    label = re.sub(r"[^\w.-]+", "-", f"{task.name}-{model.name}-{job.settings.method.name}")
    there = sorted(path.name for path in folder.glob(f"*-{digest}"))  # under what it was called then
    return PlannedJob(digest, there[0] if there else f"{label}-{digest}", job, folder)
