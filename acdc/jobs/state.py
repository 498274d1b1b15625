"""How the jobs of a folder stand: what its store says, and what the runs that are done have found."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from pydantic import BaseModel, ConfigDict, Field

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.jobs.store import Status, StoredJob
from acdc.runs.finished import load_report


class _State(BaseModel):
    model_config = ConfigDict(frozen=True)


class StageState(_State):
    """What a job is at; `rate` in units per second and `left` in seconds, None while they are unknown."""

    name: str
    done: float
    total: float
    unit: str
    note: str
    rate: float | None
    left: float | None


class JobState(_State):
    """How a job stands and what it has found; `damaged` says why that cannot be read."""

    id: str = Field(pattern=r"^[0-9a-f]+$")
    name: str = Field(pattern=r"^\w[\w.-]*$")
    run: str
    status: Status
    error: str | None
    seconds: float | None
    command: str
    stage: StageState | None = None
    edges: int | None = None
    edges_total: int | None = None
    faithfulness: float | None = None
    damaged: str | None = None

    @property
    def ended(self) -> bool:
        return self.status not in (Status.queued, Status.running)


class SubmissionState(_State):
    """How a submission to a cluster stands there; `reason` says why it failed."""

    id: str
    status: str
    exit_code: int | None
    reason: str | None


class JobsState(_State):
    """How all jobs of a folder stand; `driven`: whether somebody runs them."""

    out: str
    driven: bool
    jobs: tuple[JobState, ...]
    submission: SubmissionState | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more by itself."""
        return not self.driven or (self.submission is None and all(job.ended for job in self.jobs))


def describe(folder: Path, jobs: Sequence[StoredJob], driven: bool) -> JobsState:
    """How jobs stand. Of those that nobody drives any more, what was running is interrupted."""
    return JobsState(out=str(folder), driven=driven, jobs=tuple(_describe(folder, job, driven) for job in jobs))


def _describe(folder: Path, job: StoredJob, driven: bool) -> JobState:
    status = Status.interrupted if job.status is Status.running and not driven else job.status
    return JobState(
        id=job.id,
        name=job.name,
        run=str(folder / job.name),
        status=status,
        error=job.error,
        seconds=job.seconds,
        command=job.command,
        stage=_stage(job) if status is Status.running else None,
        **(_found(folder / job.name) if status is Status.done and _is_discovery(job) else {}),
    )


def _stage(job: StoredJob) -> StageState | None:
    stage = job.stage
    if stage is None:
        return None
    left = max(stage.total - stage.done, 0) / job.rate if job.rate else None
    return StageState(
        name=stage.name,
        done=stage.done,
        total=stage.total,
        unit=stage.unit,
        note=stage.note,
        rate=job.rate,
        left=left,
    )


def _is_discovery(job: StoredJob) -> bool:
    """Whether a job leaves a circuit behind; the cases of a benchmark do not."""
    return job.command.startswith("acdc discover ")


class _Found(TypedDict, total=False):
    damaged: str
    edges: int
    edges_total: int
    faithfulness: float | None


def _found(run: Path) -> _Found:
    try:
        circuit, report = Circuit.load(run), load_report(run)
    except InputError as error:
        return {"damaged": str(error)}
    return {
        "edges": circuit.edges_effective,
        "edges_total": circuit.edges_total,
        "faithfulness": report.faithfulness,
    }
