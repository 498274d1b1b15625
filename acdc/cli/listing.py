"""Print what there is: models, tasks, methods, suites, formats, runs."""

import contextlib
from pathlib import Path

from acdc.artefacts.feature_circuit import is_feature_circuit
from acdc.cli.console import console, say_json
from acdc.cli.tables import make_table
from acdc.errors import InputError
from acdc.files import is_there
from acdc.runs.run_directory import list_runs, read_run
from acdc.search.options import BUILT_IN, flag

METHODS_WIDTH = 80  # that a terminal has at least

# What may stand in the place of a name; for people, not for programs.
_NOT_NAMED = {
    "models": [
        {"name": "FOLDER or HUB NAME", "installed": "", "what": "with config.json and safetensors weights"},
        {"name": "FILE.gguf", "installed": "", "what": "or a folder that holds one"},
    ],
    "tasks": [
        {"name": "FILE", "metric": "", "what": ".jsonl (acdc), .json (AutoCircuit) or .csv (EAP-IG)"},
        {"name": "hf:NAME:SPLIT", "metric": "", "what": "data set on the Hugging Face hub, or in a local folder"},
    ],
}


def print_listing(what: str, runs: Path, as_json: bool) -> None:
    """One row per thing, or a JSON list of objects."""
    listings = {"models": _models, "tasks": _tasks, "methods": _methods, "suites": _suites, "formats": _formats}
    rows = _runs(runs) if what == "runs" else listings[what]()
    if as_json:
        say_json(rows)
    elif what == "methods":
        _print_methods(rows)
    elif rows := rows + _NOT_NAMED.get(what, []):
        _print_table(rows, console().width)
    else:
        console().print(f"no {what} in {runs}" if what == "runs" else f"no {what}")
    if what == "runs" and not as_json:
        console().print(f"\nruns in {runs}; those of another folder: acdc list runs --out FOLDER", soft_wrap=True)


def _print_table(rows: list[dict], width: int) -> None:
    """The keys of the first row are the columns."""
    cells = [[str(value) for value in row.values()] for row in rows]
    console().print(make_table(list(rows[0]), cells, width, words=range(len(rows[0]))), width=width)


def _print_methods(methods: list[dict]) -> None:
    """What each method is; what it gives and takes; what its options mean. For narrow terminals too."""
    out, options = console(), {(o["name"], o["default"], o["what"]): o for m in methods for o in m["options"]}
    what = [{"name": method["name"], "what": method["what"]} for method in methods]
    takes = [
        {
            "name": method["name"],
            "gives": method["gives"],
            "levels": " ".join(method["levels"]),
            "seeded": "yes" if method["seeded"] else "-",
            "options": "\n".join(_flag(option["name"]) for option in method["options"]),
        }
        for method in methods
    ]
    means = [
        {"option": _flag(option["name"]), "default": option["default"], "what": option["what"]}
        for option in options.values()
    ]
    for rows in (what, takes, means):
        _print_table(rows, min(out.width, METHODS_WIDTH))
        if rows is not means:
            out.print()


def _flag(option: str) -> str:
    """How an option of a method is given: that of another package's by its name."""
    return flag(option) if option in BUILT_IN else f"--option {option}="


def _models() -> list[dict]:
    from acdc.model.sources import BUNDLED, FAMILIES, PACKAGED

    families = ", ".join(FAMILIES.values())
    rows = [
        {"name": name, "installed": "yes", "what": f"bundled; other models can be of the families {families}"}
        for name in BUNDLED
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
        {
            "name": method.name,
            "gives": "a circuit" if method.decides else "scores",
            "levels": [level.value for level in method.levels],
            "seeded": method.random,
            "options": [
                {"name": name, "default": option.default, "what": option.description}
                for name, option in method.options.own().items()
            ],
            "what": method.summary,
        }
        for method in METHODS.values()
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
    from acdc.runs.finished_features import open_features

    if is_feature_circuit(path):
        found = open_features(path)
        size = f"{len(found.circuit.nodes):,} of {found.circuit.candidates:,} features"
        return {"edges": size, "faithfulness": percent(found.report.faithfulness)}
    if not is_there(path / "circuit.json"):
        return {}
    circuit = Circuit.load(path)
    return {
        "edges": f"{circuit.edges_effective:,} of {circuit.edges_total:,}",
        "faithfulness": percent(load_report(path).faithfulness),
    }
