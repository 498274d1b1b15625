"""Run discovery and scoring jobs into run directories, stage by stage, resuming what is done."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acdc.circuit.circuit import SIGN_CONVENTION, Circuit
from acdc.errors import InputError
from acdc.files import write_json
from acdc.jobs.run_directory import RunDirectory, read_run
from acdc.jobs.spec import DiscoveryJob
from acdc.model.load import Model, load_model
from acdc.model.sources import BUNDLED
from acdc.model.threads import fixed_threads
from acdc.progress import Progress
from acdc.render.dot import to_dot
from acdc.render.report import to_html
from acdc.render.svg import to_svg
from acdc.search.discover import Result, bind, discover
from acdc.search.options import SearchOptions
from acdc.search.registry import find_method
from acdc.task.bundled import BUNDLED_TASKS
from acdc.task.load import load_task
from acdc.task.rows import Task
from acdc.verification.report import Report
from acdc.verification.verify import verify


@dataclass(frozen=True)
class FinishedRun:
    """A run directory with its circuit and its verification."""

    path: Path
    circuit: Circuit
    report: Report
    resumed: bool


def run_discovery(job: DiscoveryJob, out: Path | None, progress: Progress) -> FinishedRun:
    """Discover, verify and draw. A run of the same inputs in `out` is resumed, of other inputs refused."""
    job.settings.check()
    model, task = load_job(job)
    inputs = job.inputs(model, task)
    label = f"{task.name}-{model.name}-{job.settings.method}"
    run = RunDirectory.open(out, label, "discover", inputs)
    resumed, work = run.has("circuit.json"), 0
    if not resumed:
        result = discover(model, task, job.settings, progress)
        _write_result(run, result)
        work = result.row_runs
    circuit = Circuit.load(run.path)
    if not run.has("verification.json"):
        verify(model, task, circuit, progress=progress).save(run.path)
    report = Report.load(run.path)
    draw(run.path, circuit, report, job.command())
    if not run.is_complete:
        run.complete(inputs, _facts(job, model, work))
    return FinishedRun(run.path, circuit, report, resumed)


def run_scoring(job: DiscoveryJob, out: Path | None, progress: Progress) -> tuple[Path, dict[str, Any]]:
    """Score every edge on all rows of a task, or the first `limit`; the run's folder and what `scores.json` holds."""
    method = find_method(job.settings.method)
    if method.decides:
        raise InputError(f"method {method.name!r} decides edge by edge and gives no scores: use discover")
    job.settings.check()
    model, task = load_job(job)
    limit = job.settings.limit
    if limit is not None and not 1 <= limit <= len(task.rows):
        raise InputError(f"--limit {limit} must be between 1 and the task's {len(task.rows)} rows")
    inputs = job.inputs(model, task)
    run = RunDirectory.open(out, f"{task.name}-{model.name}-scores-{method.name}", "score", inputs)
    with fixed_threads(job.settings.threads):
        behaviour = bind(model, task, job.settings, range(limit or len(task.rows)))
        found = method.run(behaviour, SearchOptions(seed=job.settings.seed), progress)
    record = {
        "format": "acdc-scores",
        "version": 1,
        "model": {"name": model.name, "content_hash": model.content_hash},
        "task": {"name": task.name, "content_hash": task.content_hash(), "rows": [row.id for row in behaviour.rows]},
        "method": method.name,
        "metric": behaviour.metric.name,
        "ablation": behaviour.ablation,
        "score_kind": found.kind,
        "sign_convention": SIGN_CONVENTION[found.kind],
        "metric_full": float(behaviour.full().mean()),
        "metric_empty": float(behaviour.empty().mean()),
        "dtype": model.dtype_name,
        "seed": job.settings.seed,
        "edges": {edge.id: float(s) for edge, s in zip(behaviour.graph.edges, found.values, strict=True)},
    }
    write_json(run.file("scores.json"), record)
    run.complete(inputs, _facts(job, model, behaviour.row_runs))
    return run.path, record


def open_run(path: Path) -> FinishedRun:
    """A finished run as it is on disk."""
    if read_run(path)["kind"] != "discover":
        raise InputError(f"run {path} holds scores only; its edges are in {path / 'scores.json'}")
    return FinishedRun(path, Circuit.load(path), Report.load(path), resumed=True)


def reverify(path: Path, model_name: str | None, task_name: str | None, device: str, progress: Progress) -> FinishedRun:
    """Verify a run's circuit again and redraw its report; model and task are the run's unless others are named."""
    record, circuit = read_run(path), Circuit.load(path)
    source = record.get("source")
    if not isinstance(source, dict):
        raise InputError(f"run {path} never finished: run its discover command again to resume it")
    model = load_model(
        model_name or source["model"], revision=source.get("revision"), device=device, dtype=circuit.dtype
    )
    task = load_task(task_name or source["task"], model)
    report = verify(model, task, circuit, progress=progress)
    report.save(path)
    draw(path, circuit, report, record["command"])
    return FinishedRun(path, circuit, report, resumed=True)


def draw(path: Path, circuit: Circuit, report: Report, command: str) -> None:
    """Write the pictures and the HTML report of a run."""
    run = RunDirectory(path, "discover")
    picture = to_svg(circuit)
    run.write("circuit.dot", to_dot(circuit))
    run.write("circuit.svg", picture)
    run.write("report.html", to_html(circuit, report, picture, command))


def load_job(job: DiscoveryJob) -> tuple[Model, Task]:
    """The model and the task that a job names."""
    model = load_model(job.model, revision=job.revision, device=job.device, dtype=job.dtype)
    return model, load_task(job.task, model)


def _write_result(run: RunDirectory, result: Result) -> None:
    """Scores or decisions first: a circuit file means that the search is done."""
    if result.scores is not None:
        write_json(run.file("scores.json"), {"edges": result.scores})
    else:
        lines = [json.dumps(asdict(decision), allow_nan=False) for decision in result.decisions]
        run.write("decisions.jsonl", "".join(line + "\n" for line in lines))
    result.circuit.save(run.path)


def _facts(job: DiscoveryJob, model: Model, row_runs: int) -> dict[str, Any]:
    task, folder = Path(job.task), Path(job.model)
    return {
        "command": job.command(),
        "source": {
            "model": str(folder.resolve()) if job.model not in BUNDLED and folder.is_dir() else job.model,
            "revision": job.revision,
            "task": str(task.resolve()) if job.task not in BUNDLED_TASKS and task.is_file() else job.task,
        },
        "device": str(model.device),
        "work": {"row_runs": row_runs},
    }
