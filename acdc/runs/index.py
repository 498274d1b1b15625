"""A page about all runs in a folder: how large and how faithful each circuit is, its picture, and two side by side."""

import base64
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from acdc.artefacts.feature_circuit import is_feature_circuit
from acdc.errors import InputError
from acdc.files import is_there, read_bytes, write_text
from acdc.render.escaping import escape
from acdc.render.judgement import judge
from acdc.render.verdict import percent
from acdc.runs.finished import PAGE, FinishedRun, open_run
from acdc.runs.finished_features import FinishedFeatures, open_features
from acdc.runs.run_directory import list_runs, read_run

FILE_NAME = "index.html"
MOST_EDGES = 2000  # of a circuit that the page can compare with another
PICTURE, MOST_BYTES = "circuit.svg", 400_000


@dataclass(frozen=True)
class Listed:
    """A run of the folder: what it is of, or why it has no circuit to show."""

    path: Path
    run: FinishedRun | FinishedFeatures | None
    problem: str = ""


def write_index(folder: Path) -> Path:
    """The page, in the folder. Raises InputError where there is no run in it."""
    found = list_runs(folder)
    if not found:
        raise InputError(f"{folder} is no run and holds none: acdc list runs --out {folder}")
    page = to_html(folder.resolve().name, [_listed(path) for path in found])
    target = folder / FILE_NAME
    write_text(target, page)
    return target


def _listed(path: Path) -> Listed:
    try:
        if read_run(path).status == "running":
            return Listed(path, None, "running, or interrupted: the command that began it goes on with it")
        return Listed(path, open_features(path) if is_feature_circuit(path) else open_run(path))
    except InputError as error:
        return Listed(path, None, str(error))


def to_html(name: str, runs: list[Listed]) -> str:
    """The page as text: it needs no other file but the reports that it leads to."""
    edges = {
        one.path.name: [one.run.circuit.model.content_hash, _edges(one.run)]
        for one in runs
        if isinstance(one.run, FinishedRun)
    }
    text = (resources.files(__package__) / "index.html").read_text(encoding="utf-8")
    return Template(text).substitute(
        name=escape(name),
        count=len(runs),
        rows="\n".join(map(_row, runs)),
        data=json.dumps(edges, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _edges(run: FinishedRun) -> list[str] | None:
    """None for a circuit with too many to be compared on the page."""
    effective = run.circuit.effective
    return [edge.id for edge in effective] if len(effective) <= MOST_EDGES else None


def _row(one: Listed) -> str:
    name, run = escape(one.path.name), one.run
    if run is None:
        return f'<tr><td></td><td></td><th scope="row">{name}</th><td colspan="6">{escape(one.problem)}</td></tr>'
    verdict, (names, size, total) = judge(run.report), _facts(run)
    link = f'<a href="{name}/{PAGE}">{name}</a>' if is_there(one.path / PAGE) else name
    value = "" if run.report.faithfulness is None else f"{run.report.faithfulness}"
    cells = [
        f'<td><input type="checkbox" value="{name}" aria-label="compare {name}"></td>'
        if isinstance(run, FinishedRun)
        else "<td></td>",
        f"<td>{_thumbnail(one.path)}</td>",
        f'<th scope="row">{link}</th>',
        *(f"<td>{escape(text)}</td>" for text in names),
        f'<td class="figure" data-value="{size}">{size:,} of {total:,}</td>',
        f'<td class="figure" data-value="{value}">{percent(run.report.faithfulness)}</td>',
        f'<td class="{verdict.word.name}">{verdict.word.value}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _facts(run: FinishedRun | FinishedFeatures) -> tuple[tuple[str, str, str], int, int]:
    """(task, model and method, how many units a circuit has, of how many)."""
    if isinstance(run, FinishedFeatures):
        found = run.circuit
        return (found.task, found.model, f"features, {found.method}"), len(found.nodes), found.candidates
    circuit = run.circuit
    return (circuit.task.name, circuit.model.name, circuit.method.name), circuit.size, circuit.units.total


def _thumbnail(path: Path) -> str:
    picture = path / PICTURE
    if not is_there(picture) or len(content := read_bytes(picture)) > MOST_BYTES:
        return ""
    return f'<img alt="" src="data:image/svg+xml;base64,{base64.b64encode(content).decode()}">'
