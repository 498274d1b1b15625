"""Run a sweep over thresholds into a run directory: the curve, its picture, and every circuit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from acdc.files import read_model, write_json, write_text
from acdc.jobs.run import discarding_refused, load_job, open_directory
from acdc.jobs.spec import DiscoveryJob
from acdc.progress import Progress
from acdc.render.curve import CurvePoint, to_svg
from acdc.search.discover import describe_batch, prepare
from acdc.search.sweep import Curve, check_thresholds, sweep

CURVE, PICTURE, CIRCUITS = "curve.json", "curve.svg", "circuits"


class CurveRecord(BaseModel):
    """`curve.json`; `circuit` is the file of a point's circuit in the run directory."""

    model_config = ConfigDict(extra="allow")

    format: Literal["acdc-curve"] = "acdc-curve"
    version: Literal[1] = 1
    model: str
    task: str
    metric: str
    ablation: str
    level: str
    edges_total: int
    batch: dict[str, JsonValue]
    points: list[CurvePoint] = Field(min_length=1)


@dataclass(frozen=True)
class FinishedSweep:
    """A sweep's folder and its curve."""

    path: Path
    record: CurveRecord
    resumed: bool


def run_sweep(
    job: DiscoveryJob, thresholds: Sequence[float] | None, out: Path | None, progress: Progress
) -> FinishedSweep:
    """Sweep and write; a finished sweep of the same inputs in `out` is read instead."""
    job.settings.check()
    check_thresholds(job.settings, thresholds)
    model, task = load_job(job)
    prepare(model, task, job.settings)
    label = f"{task.name}-{model.name}-sweep"
    extra = {"thresholds": list(thresholds) if thresholds is not None else None}
    run = open_directory(job, model, task, out, "sweep", label, extra)
    if run.record.status == "complete" and run.has(CURVE):
        return FinishedSweep(run.path, read_model(CurveRecord, run.path / CURVE, "a curve of acdc"), resumed=True)
    curve = discarding_refused(run, lambda: sweep(model, task, job.settings, thresholds, progress))
    (run.path / CIRCUITS).mkdir(exist_ok=True)
    for point in curve.points:
        write_json(run.path / _file(point.threshold), point.circuit.model_dump(mode="json"))
    record = _describe(job, curve)
    write_json(run.path / CURVE, record.model_dump(mode="json"))
    write_text(run.path / PICTURE, to_svg(record.points, f"{record.task} in {record.model}", record.metric))
    run.note(curve.work, complete=True)
    return FinishedSweep(run.path, record, resumed=False)


def _file(threshold: float) -> str:
    return f"{CIRCUITS}/{threshold}.json"


def _describe(job: DiscoveryJob, curve: Curve) -> CurveRecord:
    first: Any = curve.points[0].circuit
    points = [
        CurvePoint(
            threshold=point.threshold,
            edges=len(point.circuit.edges),
            edges_effective=point.circuit.edges_effective,
            nodes=len(point.circuit.nodes) if point.circuit.nodes else None,
            tests=int(point.circuit.method.selection["tests"]),
            metric=point.metric,
            faithfulness=point.faithfulness,
            unseen_metric=point.unseen_metric,
            unseen_faithfulness=point.unseen_faithfulness,
            circuit=_file(point.threshold),
        )
        for point in curve.points
    ]
    return CurveRecord(
        model=first.model.name,
        task=first.task.name,
        metric=first.metric,
        ablation=first.ablation,
        level=first.level,
        edges_total=first.edges_total,
        batch=describe_batch(job.settings).model_dump(mode="json"),
        points=points,
    )
