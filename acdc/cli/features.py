"""acdc discover --level features: its options, the job that they make, and how its result is printed."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json, tell
from acdc.cli.dictionaries import parse_hooks, parse_memory
from acdc.cli.tables import print_table
from acdc.errors import InputError
from acdc.options import Extent
from acdc.search.options import flag
from acdc.words import count_of

if TYPE_CHECKING:
    from acdc.runs.features import FeatureJob
    from acdc.runs.finished_features import FinishedFeatures

SHOWN = 10  # features and edges that are printed
ONLY = "level features:"
Dictionary = Annotated[
    Path | None, typer.Option("--dictionary", help=f"{ONLY} folder or name of a dictionary.", metavar="FOLDER")
]
Nodes = Annotated[
    int | None, typer.Option(help=f"{ONLY} keep this many features (default: as many as --faithfulness needs).")
]
ErrorNodes = Annotated[
    str | None,
    typer.Option(
        "--errors",
        help=f"{ONLY} what the dictionary leaves unexplained: keep it in all circuits, remove it from all, or rank it "
        "(default: keep).",
        metavar="HOW",
    ),
]
ByPosition = Annotated[
    bool,
    typer.Option(
        "--by-position", help=f"{ONLY} features at single spans of the task, or positions, not at all tokens."
    ),
]
Hook = Annotated[
    str | None, typer.Option(help=f"{ONLY} where the dictionary reads and writes, if its files do not say it.")
]
Memory = Annotated[
    str | None, typer.Option(help=f"{ONLY} read the dictionary by rows, using at most this much, such as 2GiB.")
]
OWN = ("dictionary", "nodes", "errors", "by_position", "hook", "memory")
SHARED = (
    *("model", "task", "method", "metric", "ablation", "threshold", "faithfulness", "limit", "batch_size", "level"),
    *("steps", "revision", "device", "dtype", "seed", "threads", "verify", "verify_rows", "out", "as_json"),
)


def check_not_of_features(given: Collection[str]) -> None:
    """Raises InputError where an option that only feature circuits have was given without them."""
    for name in OWN:
        if name in given:
            raise InputError(f"{flag(name)} works only with --level features")


def discover_features(given: Collection[str], values: dict[str, Any]) -> None:
    """Find a circuit of a dictionary's features, draw it and verify it. `given`: the options that the user wrote."""
    from acdc.cli.progress import bars
    from acdc.runs.features import run_features

    job = feature_job(given, values)
    print_features(run_features(job, values["out"], bars), values["as_json"])


def feature_job(given: Collection[str], values: dict[str, Any]) -> "FeatureJob":
    """Raises InputError for options that feature circuits do not have, and for values that they cannot have."""
    from acdc.feature_circuits.circuits import Errors
    from acdc.feature_circuits.discover import FeatureSettings
    from acdc.feature_circuits.effects import STEPS, EffectMethod
    from acdc.feature_circuits.runs import FeatureAblation
    from acdc.runs.features import FeatureJob

    for name in given:
        if name not in (*SHARED, *OWN):
            instead = ": --nodes says how many features are kept" if name == "edges" else ""
            raise InputError(f"{flag(name)} does not apply to --level features{instead}")
    if values["dictionary"] is None:
        raise InputError("--level features needs --dictionary: a folder, or trio-transcoders for the model trio")
    method = values["method"] if "method" in given else EffectMethod.ig
    usual = FeatureSettings()
    settings = FeatureSettings(
        method=EffectMethod(opt.one_of("--method", method, EffectMethod)),
        ablation=FeatureAblation(opt.one_of("--ablation", values["ablation"], FeatureAblation)),
        errors=Errors(opt.one_of("--errors", values["errors"] or Errors.keep, Errors)),
        nodes=values["nodes"],
        faithfulness=usual.faithfulness if values["faithfulness"] is None else values["faithfulness"],
        metric=values["metric"],
        steps=STEPS if values["steps"] is None else values["steps"],
        limit=values["limit"],
        batch_size=values["batch_size"],
        seed=values["seed"],
        threshold=values["threshold"],
        by_position=values["by_position"],
    )
    if values["faithfulness"] is not None and (settings.nodes or settings.threshold):
        raise InputError("give only one of --nodes, --threshold and --faithfulness: each says how large the circuit is")
    return FeatureJob(
        values["model"],
        values["task"],
        values["dictionary"],
        settings,
        hooks=tuple(parse_hooks(values["hook"])),
        memory=parse_memory(values["memory"]),
        **{name: values[name] for name in ("revision", "device", "threads", "verify", "verify_rows")},
        dtype=values["dtype"].value,
    )


def print_features(run: "FinishedFeatures", as_json: bool, conclusion: bool = False, everything: bool = False) -> None:
    """Its size, how faithful it is, its strongest features and edges; `everything` that was verified, and the
    `conclusion`."""
    from acdc.cli.show_run import measures_table, print_random, print_standing, print_word
    from acdc.cli.verified import print_verified
    from acdc.render.features import words
    from acdc.render.subject import Subject
    from acdc.render.verdict import claims_of, verdict_of

    circuit, report, out = run.circuit, run.report, console()
    if not report.rows and report.extent is not Extent.none:
        tell(f"acdc: warning: no rows are left for verification: {report.reason}")
    if as_json:
        say_json(
            {"run": str(run.path), **circuit.model_dump(mode="json"), "verification": report.model_dump(mode="json")}
        )
        return
    subject = Subject.of_features(circuit)
    out.print(words.title(circuit), style="bold")
    out.print(words.subtitle(circuit))
    out.print(words.discovered(circuit))
    out.print()
    if report.measures:
        out.print(measures_table(report, out.width))
        print_random(report, f"as many {circuit.part_name}", out)
    nodes = circuit.nodes[:SHOWN]
    title = f"\nstrongest {len(nodes)} of {count_of(len(circuit.nodes), 'node')}"
    print_table(out, title, words.node_head(circuit, report), words.node_rows(report, nodes))
    if circuit.edges:
        edges = [[f"{one.source} -> {one.target}", f"{one.effect:+.4g}"] for one in circuit.edges[:SHOWN]]
        title = f"\nstrongest {len(edges)} of {count_of(len(circuit.edges), 'edge')}"
        print_table(out, title, ["edge", "effect"], edges)
    out.print(f"\n{verdict_of(subject, report)}", soft_wrap=not out.is_terminal)
    if everything:
        print_verified(report, out)
    if conclusion and report.rows:
        print_standing(run.path, report, claims_of(subject, report), complete=everything)
    elif report.rows:
        print_word(report, out)
    out.print(f"\nrun      {run.path}{' (already there)' if run.resumed else ''}", soft_wrap=True)
    out.print(f"picture  {run.path / 'circuit.svg'}\nreport   {run.path / 'report.html'}", soft_wrap=True)
