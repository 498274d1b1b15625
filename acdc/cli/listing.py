"""Print what there is: models, tasks, methods, suites, formats, runs."""

import contextlib
from pathlib import Path

from rich.table import Table

from acdc.cli.console import console, say_json
from acdc.errors import InputError
from acdc.runs.run_directory import list_runs, read_run

# What may stand in the place of a name; for people, not for programs.
_NOT_NAMED = {
    "models": [
        {"name": "FOLDER or HUB NAME", "installed": "", "what": "with config.json and safetensors weights"},
        {"name": "FILE.gguf", "installed": "", "what": "or a folder that holds one"},
    ],
    "tasks": [
        {"name": "FILE", "metric": "", "what": ".jsonl (acdc), .json (AutoCircuit) or .csv (EAP-IG)"},
        {"name": "hf:NAME:SPLIT", "metric": "", "what": "data set of the Hugging Face hub, or its folder here"},
    ],
}


def print_listing(what: str, runs: Path, as_json: bool) -> None:
    """One row per thing, or a JSON list of objects."""
    listings = {"models": _models, "tasks": _tasks, "methods": _methods, "suites": _suites, "formats": _formats}
    rows = _runs(runs) if what == "runs" else listings[what]()
    if as_json:
        say_json(rows)
        return
    rows += _NOT_NAMED.get(what, [])
    if not rows:
        console().print(f"no {what} in {runs}" if what == "runs" else f"no {what}")
        return
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console().print(table)


def _models() -> list[dict]:
    from acdc.model.sources import BUNDLED, FAMILIES, PACKAGED

    families = ", ".join(FAMILIES.values())
    rows = [
        {"name": name, "installed": "yes", "what": f"bundled; families of other models: {families}"} for name in BUNDLED
    ]
    for name, model in PACKAGED.items():
        installed = "no" if model.folder is None else "yes"
        what = model.title if model.folder else f"{model.title}: {model.how_to_install}"
        rows.append({"name": name, "installed": installed, "what": what})
    return rows


def _tasks() -> list[dict]:
    from acdc.task.registry import TASKS

    return [{"name": t.name, "metric": t.metric, "what": t.summary} for t in TASKS.values()]


def _methods() -> list[dict]:
    from acdc.search.registry import METHODS

    return [
        {"name": m.name, "gives": "a circuit" if m.decides else "scores", "what": m.summary} for m in METHODS.values()
    ]


def _suites() -> list[dict]:
    from acdc.benchmark.suites import SUITES

    return [{"name": suite.name, "what": suite.summary} for suite in SUITES.values()]


def _formats() -> list[dict]:
    from acdc.runs.exchange import FORMATS

    answer = {True: "yes", False: "-"}
    return [
        {
            "name": f.name,
            "exports": answer[f.write is not None],
            "imports": answer[f.read is not None],
            "what": f.summary,
        }
        for f in FORMATS.values()
    ]


def _runs(parent: Path) -> list[dict]:
    rows = []
    for path in list_runs(parent):
        row = {"run": str(path), "kind": "", "status": "damaged", "edges": "", "faithfulness": ""}
        with contextlib.suppress(InputError):  # a damaged run is listed as one, and hides no other
            record = read_run(path)
            row |= _summary(path) | {"kind": record.kind, "status": record.status}
        rows.append(row)
    return rows


def _summary(path: Path) -> dict:
    from acdc.artefacts.circuit import Circuit
    from acdc.render.verdict import percent
    from acdc.runs.finished import load_report

    if not (path / "circuit.json").is_file():
        return {}
    circuit = Circuit.load(path)
    return {
        "edges": f"{circuit.edges_effective} of {circuit.edges_total}",
        "faithfulness": percent(load_report(path).faithfulness),
    }
