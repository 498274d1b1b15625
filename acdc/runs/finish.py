"""What comes after a circuit has been found: pictures and report at once, then verification, stage by stage.

Every stage is on disk before the next begins, so that an interrupted run resumes there, and one that was never
verified can be shown, exported and verified later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.examples import FILE_NAME as EXAMPLES
from acdc.behaviour.workers import FindWorkers, no_workers
from acdc.errors import InputError
from acdc.execution.work import Work
from acdc.model.load import Model, load_model
from acdc.options import Extent, Scope
from acdc.progress import Progress, keeps_work
from acdc.render.dot import to_dot
from acdc.render.svg import to_svg
from acdc.runs.extras import NOTHING, Extras, measure_extras, plan_extras
from acdc.runs.finished import PAGE, PICTURES, VERIFICATION, FinishedRun, load_report
from acdc.runs.page import page_of
from acdc.runs.ranking import rank_edges
from acdc.runs.run_directory import RunDirectory
from acdc.task.load import load_task
from acdc.task.rows import Task
from acdc.verification.examples import take_examples
from acdc.verification.verify import plan_of, verify_in_stages

Watch = Callable[[FinishedRun], None]  # told of a run whenever more is known of it


def unwatched(run: FinishedRun) -> None:
    """Told of a run that nobody watches."""


@dataclass(frozen=True)
class Finishing:
    """How a run is to be finished: how far it is verified, and who is told and who helps."""

    progress: Progress
    scope: Scope = Scope()
    find_workers: FindWorkers = no_workers
    watch: Watch = unwatched


def finish_run(run: RunDirectory, model: Model, task: Task, resumed: bool, how: Finishing) -> FinishedRun:
    """Draw a run's circuit, verify it as far as asked and not done yet, and write its report.

    What an earlier verification was asked for is kept: this one measures no less and on no fewer rows.
    """
    path, circuit, report = run.path, Circuit.load(run.path), load_report(run.path)
    splits = model.components.work.pass_splits
    missing, scope = not report.covers(how.scope), report.scope | how.scope
    plan = plan_of(model, task, circuit, scope.extent, scope.rows) if missing else None
    how.watch(FinishedRun(path, circuit, report, resumed, plan))
    for name, draw in zip(PICTURES, (to_dot, to_svg), strict=True):
        if not run.has(name):
            run.write(name, draw(circuit))
    if not run.has(EXAMPLES):
        run.write(EXAMPLES, take_examples(model, task, circuit).to_json())
    run.write(PAGE, page_of(run, circuit, report))
    if missing:
        ranking = rank_edges(path, circuit) if scope.extent is Extent.full else None
        stages = verify_in_stages(
            model,
            task,
            circuit,
            extent=scope.extent,
            most_rows=scope.rows,
            ranking=ranking,
            before=report,
            progress=how.progress,
            find_workers=how.find_workers,
        )
        for stage in stages:
            report = stage
            if report.complete:  # the page first: a run that is verified as far as asked is never looked at again
                run.write(PAGE, page_of(run, circuit, report))
            run.write(VERIFICATION, report.to_json())
            how.watch(FinishedRun(path, circuit, report, resumed, plan))
    if splits := model.components.work.pass_splits - splits:
        run.note(Work(pass_splits=splits))
    run.settle()
    return FinishedRun(path, circuit, report, resumed)


def reverify(
    path: Path,
    model_name: str | None,
    task_name: str | None,
    device: str,
    how: Finishing,
    extras: Extras = NOTHING,
) -> FinishedRun:
    """Verify a run's circuit further than it has been; model and task are the run's unless others are named."""
    run, circuit = RunDirectory.reopen(path), Circuit.load(path)
    keeps_work(path)
    plan_extras(path, extras)
    source = run.record.source
    named = model_name or source.model
    revision = source.revision if named == source.model else None
    model = load_model(named, revision=revision, device=device, dtype=circuit.dtype)
    task = load_task(task_name or source.task, model)
    run.drop_changed((VERIFICATION, EXAMPLES, *PICTURES, PAGE))
    try:
        load_report(path)
    except InputError:  # damaged, or of another circuit: which this mends
        (path / VERIFICATION).unlink()
    finished = finish_run(run, model, task, True, how)
    for found in measure_extras(path, model, task, extras, how.progress):
        report = finished.report.model_copy(update=found)
        run.write(PAGE, page_of(run, circuit, report))
        run.write(VERIFICATION, report.to_json())
        finished = FinishedRun(path, circuit, report, resumed=True)
    run.settle()
    return finished
