"""A finished run as it lies on disk: its circuit, what is known of it, and which files it has. Reading it needs no
torch, so that runs are listed and shown at once."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.circuit import FILE_NAME as CIRCUIT
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.plan import VerificationPlan
from acdc.artefacts.verification.report import FILE_NAME as VERIFICATION
from acdc.artefacts.verification.report import Report, unverified
from acdc.errors import AcdcWarning, InputError
from acdc.files import is_there
from acdc.runs.run_directory import read_run
from acdc.runs.score_files import SCORES, scores_path

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


def open_run(path: Path) -> FinishedRun:
    """A run as it is on disk, verified or not."""
    kind = read_run(path).kind
    if kind == "score":
        raise InputError(f"run {path} holds scores only; its edges are in {scores_path(path) or path / SCORES}")
    if kind == "sweep":
        raise InputError(f"run {path} holds a sweep: its curve is in {path / 'curve.json'}")
    if kind == "patch":
        raise InputError(f"run {path} holds activation patching: its maps are in {path / 'patching.html'}")
    if kind == "intervene":
        raise InputError(f"run {path} holds interventions, which 'acdc show' prints, and no circuit")
    return FinishedRun(path, Circuit.load(path), load_report(path), resumed=True)


def warn_unverified(path: Path) -> None:
    """Warn where a run's circuit is used before its verification is finished."""
    report = load_report(path)
    if not report.complete:
        how_far = "is not finished" if report.rows else "is missing"
        warnings.warn(f"the verification of run {path} {how_far}: 'acdc verify' finishes it", AcdcWarning, stacklevel=2)


def load_report(path: Path) -> Report:
    """A run's verification, or one that says that there is none. Raises InputError for that of another circuit."""
    circuit = Circuit.load(path)
    if not is_there(path / VERIFICATION):
        return no_report(circuit)
    report = Report.load(path)
    if not is_report_of(report, circuit):
        raise InputError(f"{path / VERIFICATION} belongs to another circuit: delete it to verify again")
    return report


def no_report(circuit: Circuit) -> Report:
    """What stands for the verification of a circuit that has none."""
    return unverified(circuit.metric, circuit.ablation, circuit.edges_effective, circuit.edges_total)


def is_report_of(report: Report, circuit: Circuit) -> bool:
    """Whether a verification can be that of a circuit."""
    removed = {removal.id for removal in report.removals}
    there = {unit.id for level in circuit.units.lists for unit in circuit.at(level)}
    return report.metric == circuit.metric and removed <= there
