"""What comes after a circuit has been found: pictures and report at once, then verification, stage by stage.

Every stage is on disk before the next begins, so that an interrupted run resumes there, and one that was never
verified can be shown, exported and verified later.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.circuit import FILE_NAME as CIRCUIT
from acdc.artefacts.circuit import Circuit
from acdc.errors import AcdcWarning, InputError
from acdc.files import write_text
from acdc.runs.ranking import rank_edges
from acdc.runs.run_directory import read_run
from acdc.runs.stability import plan_repeats, repeat_discovery
from acdc.model.load import Model, load_model
from acdc.options import Extent, Scope
from acdc.progress import Progress
from acdc.render.dot import to_dot
from acdc.render.report import to_html
from acdc.render.svg import to_svg
from acdc.behaviour.workers import FindWorkers, no_workers
from acdc.task.load import load_task
from acdc.task.rows import Task
from acdc.artefacts.verification.plan import VerificationPlan
from acdc.artefacts.verification.examples import FILE_NAME as EXAMPLES
from acdc.artefacts.verification.examples import load_examples
from acdc.verification.examples import take_examples
from acdc.artefacts.verification.over_sizes import OWN_SCORES
from acdc.artefacts.verification.report import FILE_NAME as VERIFICATION
from acdc.artefacts.verification.report import Report, unverified
from acdc.verification.verify import plan_of, verify_in_stages

PICTURES, PAGE = ("circuit.dot", "circuit.svg"), "report.html"
RUN_FILES = (CIRCUIT, *PICTURES, PAGE)  # what every finished run has; most also VERIFICATION and EXAMPLES


@dataclass(frozen=True)
class FinishedRun:
    """A run directory with its circuit and what is known of it so far. `plan`: of a verification that is under way."""

    path: Path
    circuit: Circuit
    report: Report
    resumed: bool
    plan: VerificationPlan | None = None


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


def finish_run(path: Path, model: Model, task: Task, command: str, resumed: bool, how: Finishing) -> FinishedRun:
    """Draw a run's circuit, verify it as far as asked and not done yet, and write its report.

    What an earlier verification was asked for is kept: this one measures no less and on no fewer rows.
    """
    circuit, report = Circuit.load(path), load_report(path)
    missing, scope = not report.covers(how.scope), report.scope | how.scope
    plan = plan_of(model, task, circuit, scope.extent, scope.rows) if missing else None
    how.watch(FinishedRun(path, circuit, report, resumed, plan))
    for name, draw in zip(PICTURES, (to_dot, to_svg), strict=True):
        if not (path / name).is_file():
            write_text(path / name, draw(circuit))
    if not (path / EXAMPLES).is_file():
        take_examples(model, task, circuit).save(path)
    write_page(path, circuit, report, command)
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
                write_page(path, circuit, report, command)
            report.save(path)
            how.watch(FinishedRun(path, circuit, report, resumed, plan))
    return FinishedRun(path, circuit, report, resumed)


def open_run(path: Path) -> FinishedRun:
    """A run as it is on disk, verified or not."""
    kind = read_run(path).kind
    if kind == "score":
        raise InputError(f"run {path} holds scores only; its edges are in {path / 'scores.json'}")
    if kind == "sweep":
        raise InputError(f"run {path} holds a sweep: its curve is in {path / 'curve.json'}")
    return FinishedRun(path, Circuit.load(path), load_report(path), resumed=True)


def reverify(
    path: Path,
    model_name: str | None,
    task_name: str | None,
    device: str,
    how: Finishing,
    repeats: int | None = None,
) -> FinishedRun:
    """Verify a run's circuit further than it has been; model and task are the run's unless others are named.
    `repeats`: of its discovery on other rows, to see how stable it is."""
    record, circuit = read_run(path), Circuit.load(path)
    if repeats is not None:
        plan_repeats(path, repeats)
    source = record.source
    model = load_model(model_name or source.model, revision=source.revision, device=device, dtype=circuit.dtype)
    task = load_task(task_name or source.task, model)
    try:
        load_report(path)
    except InputError:  # damaged, or of another circuit: which this mends
        (path / VERIFICATION).unlink()
    finished = finish_run(path, model, task, record.command, True, how)
    if repeats is None:
        return finished
    stability = repeat_discovery(record, circuit, model, task, repeats, how.progress)
    report = finished.report.model_copy(update={"stability": stability})
    write_page(path, circuit, report, record.command)
    report.save(path)
    return FinishedRun(path, circuit, report, resumed=True)


def report_of_run(path: Path) -> str:
    """The HTML report of a finished run, from what its directory holds alone. Raises InputError for a directory that is
    none of a discovery's, a minimisation's or an import's, or whose files are damaged or do not belong together."""
    run = open_run(path)
    return _page(path, run.circuit, run.report, read_run(path).command)


def _page(path: Path, circuit: Circuit, report: Report, command: str) -> str:
    ranking = rank_edges(path, circuit)
    scores = ranking.values if ranking is not None and ranking.basis == OWN_SCORES else None
    return to_html(circuit, report, command, scores, load_examples(path, circuit))


def write_page(path: Path, circuit: Circuit, report: Report, command: str) -> None:
    """Write a run's HTML report."""
    write_text(path / PAGE, _page(path, circuit, report, command))


def warn_unverified(path: Path) -> None:
    """Warn where a run's circuit is used before its verification is finished."""
    report = load_report(path)
    if not report.complete:
        how_far = "is not finished" if report.rows else "is missing"
        warnings.warn(f"the verification of run {path} {how_far}: 'acdc verify' finishes it", AcdcWarning, stacklevel=2)


def load_report(path: Path) -> Report:
    """A run's verification, or one that says that there is none. Raises InputError for that of another circuit."""
    circuit = Circuit.load(path)
    if not (path / VERIFICATION).is_file():
        return no_report(circuit)
    report = Report.load(path)
    if not is_report_of(report, circuit):
        raise InputError(f"{path / VERIFICATION} is of another circuit: delete it to verify again")
    return report


def no_report(circuit: Circuit) -> Report:
    """What stands for the verification of a circuit that has none."""
    return unverified(circuit.metric, circuit.ablation, circuit.edges_effective, circuit.edges_total)


def is_report_of(report: Report, circuit: Circuit) -> bool:
    """Whether a verification can be that of a circuit."""
    removed = {removal.id for removal in report.removals}
    there = {edge.id for edge in circuit.edges} | {node.id for node in circuit.nodes}
    return report.metric == circuit.metric and removed <= there
