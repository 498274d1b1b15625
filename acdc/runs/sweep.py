"""Run a sweep over thresholds into a run directory: the curve, its picture, and every circuit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.curve import FILE_NAME, CurveRecord, circuit_file
from acdc.artefacts.digests import CIRCUITS, read_artefact
from acdc.files import json_text
from acdc.progress import Progress
from acdc.render.curve import to_svg
from acdc.runs.discovery import Loaded, discarding_refused, open_directory
from acdc.runs.run_directory import RunDirectory
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import prepare
from acdc.search.sweep import Curve, check_thresholds, sweep

PICTURE = "curve.svg"


@dataclass(frozen=True)
class FinishedSweep:
    """A sweep's folder and its curve."""

    path: Path
    record: CurveRecord
    resumed: bool


def run_sweep(
    job: DiscoveryJob, thresholds: Sequence[float] | None, out: Path | None, progress: Progress
) -> FinishedSweep:
    """Sweep, write and draw; a finished sweep of the same inputs in `out` is only drawn again."""
    check_thresholds(job.settings, thresholds)
    model, task = Loaded().of(job)
    prepare(model, task, job.settings)
    label = f"{task.name}-{model.name}-sweep"
    chosen = {"thresholds": sorted(set(thresholds)) if thresholds is not None else None}
    run = open_directory(job, model, task, out, "sweep", label, chosen)
    record = _finished(run)
    resumed = record is not None
    if record is None:
        curve = discarding_refused(run, lambda: sweep(model, task, job.settings, thresholds, progress))
        record = _write(run, curve)
        run.note(curve.work, complete=True)
    run.write(PICTURE, to_svg(record))
    run.settle()
    return FinishedSweep(run.path, record, resumed)


def _finished(run: RunDirectory) -> CurveRecord | None:
    """The curve of a run directory that lacks none of its circuits."""
    if run.record.status != "complete" or not run.has(FILE_NAME):
        return None
    record = read_artefact(CurveRecord, run.path / FILE_NAME, "a curve of acdc")
    return record if all(run.has(point.circuit) for point in record.points) else None


def _write(run: RunDirectory, curve: Curve) -> CurveRecord:
    (run.path / CIRCUITS).mkdir(exist_ok=True)
    for point in curve.points:
        run.write(circuit_file(point.threshold), point.circuit.to_json())
    record = curve.record
    run.write(FILE_NAME, json_text(record.model_dump(mode="json")))
    return record
