"""The command that takes features out of a model: ablate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.errors import InputError
from acdc.words import count_of

if TYPE_CHECKING:
    from acdc.artefacts.feature_circuit import AblatedFeatures
    from acdc.feature_circuits.record import AblationEffect

Source = Annotated[
    Path, typer.Argument(help="Folder of a feature circuit, or a file that this command wrote.", metavar="RUN")
]
Chosen = Annotated[
    str | None,
    typer.Option("--features", help="Features to ablate, separated by commas: m3.f12,m3.f40.", metavar="NAMES"),
]
OfTasks = Annotated[
    list[str] | None,
    typer.Option("--task", help="Measure this task (default: the circuit's); can be repeated.", metavar="TASK"),
]


@loads_model
def ablate(
    run: Source,
    features: Chosen = None,
    to: Annotated[str, typer.Option(help="What they become: zero or mean.")] = "zero",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the features into this file.", metavar="FILE")
    ] = None,
    task: OfTasks = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model (default: the circuit's).", metavar="MODEL")
    ] = None,
    dictionary: Annotated[
        Path | None, typer.Option("--dictionary", help="Dictionary (default: the circuit's).", metavar="FOLDER")
    ] = None,
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    threads: opt.Threads = 2,
    as_json: opt.Json = False,
) -> None:
    """Ablate features of a circuit everywhere, measure what that does to tasks, and write them into a file."""
    from acdc.cli.loading import load
    from acdc.execution.threads import fixed_threads
    from acdc.feature_circuits.record import ablation_effects, bound_features
    from acdc.task.load import load_task

    chosen, usual = _chosen(run, features, to)
    where = Path(chosen.dictionary.given)
    loaded, opened = load(model or chosen.model, revision, device, dtype, dictionary or where)
    assert opened is not None
    chosen = bound_features(chosen, loaded, opened)
    with fixed_threads(threads):
        effects = [
            effect
            for name in (task or usual)
            for effect in ablation_effects(loaded, opened, load_task(name, loaded), chosen, seed)
        ]
    print_ablated(chosen, effects, as_json)
    if out is not None:
        chosen.save(out)
        if not as_json:
            console().print(f"\nwrote {out}", soft_wrap=True)


def _chosen(run: Path, features: str | None, to: str) -> "tuple[AblatedFeatures, list[str]]":
    """(what is to be ablated, the tasks that are measured by default): of a file, or chosen from a circuit's. Raises
    InputError for features that the circuit does not have."""
    from acdc.artefacts.feature_circuit import AblatedFeatures, FeatureCircuitRecord

    if to not in ("zero", "mean"):
        raise InputError(f"--to {to!r} is not one of zero, mean")
    if run.is_file():
        if features is not None:
            raise InputError("--features are those of a circuit: the file names its own")
        return AblatedFeatures.load(run), []
    circuit = FeatureCircuitRecord.load(run)
    if features is None:
        raise InputError("give --features, such as m3.f12,m3.f40: which of the circuit's are to be ablated")
    names = tuple(part.strip() for part in features.split(","))
    there = {node.id.partition("@")[0] for node in circuit.nodes}
    if missing := next((name for name in names if name not in there), None):
        at = ": features are ablated at all tokens, so leave out the @ and what follows" if "@" in missing else ""
        raise InputError(f"{missing} is not one of the {count_of(len(circuit.nodes), 'node')} of {run}{at}")
    chosen = AblatedFeatures(
        model=circuit.model,
        model_hash=circuit.model_hash,
        dictionary=circuit.dictionary,
        features=names,
        to="mean" if to == "mean" else "zero",
    )
    return chosen, [circuit.task]


def print_ablated(chosen: "AblatedFeatures", effects: "list[AblationEffect]", as_json: bool) -> None:
    """Metrics with and without the features."""
    ids, to = chosen.features, chosen.to
    if as_json:
        plain = [
            {"task": one.task, "metric": one.metric, "rows": one.rows}
            | {name: getattr(one, name).model_dump() for name in ("before", "after", "change")}
            for one in effects
        ]
        say_json({"features": list(ids), "to": to, "effects": plain})
        return
    out = console()
    shown = ", ".join(ids[:6]) + (f" and {len(ids) - 6} others" if len(ids) > 6 else "")
    out.print(f"{shown} set to {to if to == 'zero' else 'their means'}", style="bold")
    rows = [
        [
            f"{one.task}, {one.metric}",
            *map(_cell, (one.before.value, one.after.value, one.change.value)),
            _interval(one),
        ]
        for one in effects
    ]
    print_table(out, "", ["task", "without", "with", "change", "95%"], rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(one: "AblationEffect") -> str:
    return f"{_cell(one.change.low)} to {_cell(one.change.high)}"
