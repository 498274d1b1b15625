"""The HTML report of a run, from what its directory holds alone."""

from pathlib import Path

from acdc.artefacts.attribution.store import is_trace
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.feature_circuit import is_feature_circuit
from acdc.artefacts.names import load_names
from acdc.artefacts.verification.examples import load_examples
from acdc.artefacts.verification.over_sizes import OWN_SCORES
from acdc.artefacts.verification.report import Report
from acdc.render.attribution import page as attribution
from acdc.render.features import page as features
from acdc.render.report import to_html
from acdc.runs.finished import PAGE, open_run
from acdc.runs.finished_features import open_features
from acdc.runs.ranking import rank_edges
from acdc.runs.run_directory import RunDirectory, read_run
from acdc.runs.traced import PAGE as TRACE_PAGE
from acdc.runs.traced import open_trace
from acdc.runs.unit_pages import pages_of


def report_of_run(path: Path, save: str | None = None) -> str:
    """The HTML report of a finished run, from what its directory holds alone. `save`: see `to_html`.

    Raises InputError for a directory that is none of a discovery's, a minimisation's or an import's, or whose files are
    damaged or do not belong together.
    """
    run = open_run(path)
    return _page(path, run.circuit, run.report, read_run(path).command, save)


def _page(path: Path, circuit: Circuit, report: Report, command: str, save: str | None = None) -> str:
    ranking = rank_edges(path, circuit)
    scores = ranking.values if ranking is not None and ranking.basis == OWN_SCORES else None
    examples, names = load_examples(path, circuit), load_names(path, circuit)
    return to_html(circuit, report, command, scores, examples, names, pages_of(path), save)


def renew_page(path: Path) -> Path:
    """Write a run's report anew, with what is known now: a later verification, the names of its reader, or pages of
    what its units mean."""
    if is_trace(path):
        name, text = TRACE_PAGE, _trace_page(path)
    else:
        name, text = PAGE, _feature_page(path) if is_feature_circuit(path) else report_of_run(path)
    run = RunDirectory.reopen(path)
    run.write(name, text)
    run.settle()
    return path / name


def _trace_page(path: Path) -> str:
    run = open_trace(path)
    return attribution.to_html(run.graph, run.pruning, run.verification, read_run(path).command, pages_of(path))


def _feature_page(path: Path) -> str:
    run = open_features(path)
    return features.to_html(run.circuit, run.report, read_run(path).command, pages_of(path))


def page_of(run: RunDirectory, circuit: Circuit, report: Report) -> str:
    """The HTML report of a run with this circuit and verification."""
    return _page(run.path, circuit, report, run.record.command)
