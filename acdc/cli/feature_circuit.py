"""The commands about features that carry a behaviour: feature-circuit and ablate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.dictionaries import Hooks, Memory, parse_hooks
from acdc.cli.job_options import DEFAULT_MODEL
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.errors import InputError
from acdc.words import count_of

if TYPE_CHECKING:
    from acdc.artefacts.feature_circuit import FeatureCircuitRecord, MeasuredRecord
    from acdc.feature_circuits.record import AblationEffect

Dictionary = Annotated[Path, typer.Option("--dictionary", help="Folder or name of a dictionary.", metavar="FOLDER")]
Method = Annotated[str, typer.Option(help="How effects are found: attrib, ig or exact.")]
Ablation = Annotated[str, typer.Option(help="What ablated features become: resample, mean or zero.")]
ErrorNodes = Annotated[
    str,
    typer.Option(
        "--errors",
        help="What the dictionary leaves unexplained: keep it in all circuits, remove it from all, or rank it.",
    ),
]
Nodes = Annotated[int | None, typer.Option(help="Keep this many nodes (default: as many as --faithfulness needs).")]
Folder = Annotated[Path, typer.Option("--out", help="Folder of the circuit.", metavar="DIR")]


@loads_model
def feature_circuit(
    task: opt.TaskName,
    dictionary: Dictionary,
    out: Folder,
    model: opt.ModelName = DEFAULT_MODEL,
    method: Method = "ig",
    ablation: Ablation = "resample",
    errors: ErrorNodes = "keep",
    nodes: Nodes = None,
    faithfulness: Annotated[float, typer.Option(help="Faithfulness to reach on the discovery rows.")] = 0.9,
    metric: opt.MetricName = None,
    steps: Annotated[int, typer.Option(help="ig: steps of each target.")] = 10,
    limit: opt.Limit = None,
    batch_size: opt.BatchSize = 32,
    hook: Hooks = None,
    memory: Memory = None,
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    threads: opt.Threads = 2,
    as_json: opt.Json = False,
) -> None:
    """Find which features of a dictionary carry a behaviour, and verify them on unseen rows."""
    from acdc.cli.progress import bars
    from acdc.dictionaries.open import open_for
    from acdc.dictionaries.quality import check_reconstructs, usual_prompts
    from acdc.dictionaries.sizes import parse_bytes
    from acdc.execution.threads import fixed_threads
    from acdc.feature_circuits.discover import Errors, FeatureSettings, discover_features
    from acdc.feature_circuits.effects import EffectMethod
    from acdc.feature_circuits.record import dictionary_record, to_record
    from acdc.feature_circuits.runs import FeatureAblation
    from acdc.model.load import load_model
    from acdc.task.load import load_task

    settings = FeatureSettings(
        EffectMethod(opt.one_of("--method", method, EffectMethod)),
        FeatureAblation(opt.one_of("--ablation", ablation, FeatureAblation)),
        Errors(opt.one_of("--errors", errors, Errors)),
        nodes,
        faithfulness,
        metric,
        steps,
        limit,
        batch_size,
        seed,
    )
    settings.check()
    check_new(out)
    loaded = load_model(model, revision=revision, device=device, dtype=dtype.value)
    limits = None if memory is None else parse_bytes(memory)
    features = open_for(dictionary, loaded, memory=limits, hooks=parse_hooks(hook))
    rows = load_task(task, loaded)
    check_reconstructs(features, loaded, usual_prompts([row.clean for row in rows.rows]))
    with fixed_threads(threads):
        found = discover_features(loaded, features, rows, settings, bars)
    record = to_record(found, loaded, rows, dictionary_record(features, dictionary), settings)
    path = record.save(out)
    if as_json:
        say_json(record.model_dump(mode="json"))
    else:
        print_circuit(record)
        console().print(f"\ncircuit  {path}", soft_wrap=True)


def check_new(folder: Path) -> None:
    """Raises InputError where a folder holds anything but a feature circuit, which is written anew."""
    from acdc.artefacts.feature_circuit import FILE_NAME

    if folder.exists() and (not folder.is_dir() or any(path.name != FILE_NAME for path in folder.iterdir())):
        raise InputError(f"--out {folder} holds something else: give another folder")


def print_circuit(record: "FeatureCircuitRecord", most: int = 10) -> None:
    """Its size, how faithful it is, its strongest nodes and edges."""
    out = console()
    title = f"{record.task} in {record.model}: {len(record.nodes):,} of {record.candidates:,} features"
    out.print(f"{title} of {record.dictionary.name}", style="bold")
    out.print(f"{record.method}, {record.metric}, {record.ablation} ablation; errors: {record.errors}")
    head = ["", "rows", "full model", "circuit", "complement", "empty", "faithfulness", "without errors"]
    rows = [_row("discovery", record.discovery)]
    rows += [] if record.unseen is None else [_row("unseen", record.unseen)]
    print_table(out, f"\n{record.metric}", head, rows)
    if record.random:
        low, high = min(record.random), max(record.random)
        said = count_of(len(record.random), "random circuit")
        out.print(f"{said} of as many features on unseen rows: faithfulness {low:.1%} to {high:.1%}")
    removals = {one.id: one.effect for one in record.removals}
    cells = [
        [one.id, f"{one.effect:+.4g}", f"{removals[one.id]:+.4g}" if one.id in removals else "-"]
        for one in record.nodes[:most]
    ]
    title = f"\nstrongest {len(cells)} of {count_of(len(record.nodes), 'node')}"
    print_table(out, title, ["node", "effect", "unseen rows, it alone ablated"], cells)
    if record.edges:
        edges = [[f"{one.source} -> {one.target}", f"{one.effect:+.4g}"] for one in record.edges[:most]]
        print_table(
            out, f"\nstrongest {len(edges)} of {count_of(len(record.edges), 'edge')}", ["edge", "effect"], edges
        )


def _row(name: str, one: "MeasuredRecord") -> list[str]:
    values = (one.full, one.circuit, one.complement, one.empty)
    shares = (one.faithfulness, one.faithfulness_without_errors)
    return [name, f"{one.rows:,}", *(f"{value:.4g}" for value in values), *(f"{share:.1%}" for share in shares)]


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
    from acdc.artefacts.feature_circuit import AblatedFeatures, FeatureCircuitRecord
    from acdc.dictionaries.open import open_for
    from acdc.execution.threads import fixed_threads
    from acdc.feature_circuits.nodes import FeatureNode
    from acdc.feature_circuits.record import ablation_effects, check_of
    from acdc.model.load import load_model
    from acdc.task.load import load_task

    if to not in ("zero", "mean"):
        raise InputError(f"--to {to!r} is not one of zero, mean")
    if run.is_file():
        chosen, usual = AblatedFeatures.load(run), list[str]()
        if features is not None:
            raise InputError("--features are those of a circuit: the file names its own")
    else:
        circuit = FeatureCircuitRecord.load(run)
        if features is None:
            raise InputError("give --features, such as m3.f12,m3.f40: which of the circuit's are to be ablated")
        names = tuple(part.strip() for part in features.split(","))
        if missing := next((name for name in names if name not in {node.id for node in circuit.nodes}), None):
            raise InputError(f"{missing} is not one of the {count_of(len(circuit.nodes), 'node')} of {run}")
        chosen = AblatedFeatures(
            model=circuit.model,
            model_hash=circuit.model_hash,
            dictionary=circuit.dictionary,
            features=names,
            to="mean" if to == "mean" else "zero",
        )
        usual = [circuit.task]
    loaded = load_model(model or chosen.model, revision=revision, device=device, dtype=dtype.value)
    opened = open_for(dictionary or Path(chosen.dictionary.given), loaded)
    check_of(chosen, loaded, opened)
    ids = tuple(FeatureNode.parse(name, opened).id for name in chosen.features)
    if chosen.to == "zero":
        chosen = chosen.model_copy(update={"set": tuple(f"{one}=0" for one in ids)})
    with fixed_threads(threads):
        effects = [
            effect
            for name in (task or usual)
            for effect in ablation_effects(loaded, opened, load_task(name, loaded), chosen, seed)
        ]
    print_ablated(ids, chosen.to, effects, as_json)
    if out is not None:
        chosen.save(out)
        if not as_json:
            console().print(f"\nwrote {out}", soft_wrap=True)


def print_ablated(ids: tuple[str, ...], to: str, effects: "list[AblationEffect]", as_json: bool) -> None:
    """Metrics with and without the features."""
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
