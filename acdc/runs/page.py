"""The HTML report of a run, from what its directory holds alone."""

from pathlib import Path

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.names import load_names
from acdc.artefacts.verification.examples import load_examples
from acdc.artefacts.verification.over_sizes import OWN_SCORES
from acdc.artefacts.verification.report import Report
from acdc.render.report import to_html
from acdc.runs.finished import PAGE, open_run
from acdc.runs.ranking import rank_edges
from acdc.runs.run_directory import RunDirectory, read_run


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
    return to_html(circuit, report, command, scores, load_examples(path, circuit), load_names(path, circuit), save)


def renew_page(path: Path) -> Path:
    """Write a run's report anew, with what is known now: a later verification, or the names of its reader."""
    text = report_of_run(path)
    run = RunDirectory.reopen(path)
    run.write(PAGE, text)
    run.settle()
    return path / PAGE


def page_of(run: RunDirectory, circuit: Circuit, report: Report) -> str:
    """The HTML report of a run with this circuit and verification."""
    return _page(run.path, circuit, report, run.record.command)
