"""The command that steers a model along a direction: steer."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
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
    from acdc.interventions.intervention import Unit
    from acdc.model.load import Model
    from acdc.steering.directions import SteeringDirection
    from acdc.steering.steer import Steered

At = Annotated[
    str, typer.Option("--at", help="Where it is added: resid_pre3 or resid_post3, with @PLACE as in intervene.")
]
FromUnit = Annotated[
    str | None,
    typer.Option("--unit", help="Direction: what a neuron m3.n117 or a feature m3.f12 writes.", metavar="UNIT"),
]
Toward = Annotated[
    Path | None, typer.Option(help="Direction: mean over the prompts of this file, one on a line ...", metavar="FILE")
]
Away = Annotated[Path | None, typer.Option(help="... less that of this file's.", metavar="FILE")]
Pairs = Annotated[
    str | None, typer.Option(help="Direction: a task's clean less its corrupted prompts, on average.", metavar="TASK")
]
Vector = Annotated[
    Path | None, typer.Option(help="Direction: a .npy file or a .safetensors file with one tensor.", metavar="FILE")
]
Neutral = Annotated[
    Path | None, typer.Option(help="Also measure how much the next tokens of this text change.", metavar="FILE")
]
Other = Annotated[
    str | None, typer.Option("--other-task", help="Also measure the accuracy of this task.", metavar="TASK")
]
Dictionary = Annotated[
    Path | None, typer.Option("--dictionary", help="Folder or name of the dictionary of a feature.", metavar="FOLDER")
]
Folder = Annotated[
    Path | None, typer.Option("--out", help="Write steering.svg and .csv into this folder.", metavar="DIR")
]
MOST_NEUTRAL = 4096  # tokens


@loads_model
def steer(
    at: At,
    task: opt.TaskName,
    model: opt.ModelName = DEFAULT_MODEL,
    unit: FromUnit = None,
    toward: Toward = None,
    away: Away = None,
    pairs: Pairs = None,
    vector: Vector = None,
    dictionary: Dictionary = None,
    strengths: Annotated[str, typer.Option(help="Norms of what is added, with signs.")] = "-8,-4,-2,2,4,8",
    metric: opt.MetricName = None,
    neutral: Neutral = None,
    other_task: Other = None,
    prompt: Annotated[str | None, typer.Option(help="Text to go on from at every strength.")] = None,
    generate: Annotated[int, typer.Option(help="Tokens to generate after --prompt.")] = 12,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token; above it, tokens are drawn.")] = 0.0,
    limit: Annotated[int | None, typer.Option(help="Measure on the first ROWS rows of tasks.", metavar="ROWS")] = None,
    batch_size: opt.BatchSize = 32,
    hook: Hooks = None,
    memory: Memory = None,
    out: Folder = None,
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    threads: opt.Threads = 2,
    as_json: opt.Json = False,
) -> None:
    """Add a direction to the residual stream at several strengths; measure what changes, and what should not."""
    from acdc.attribution.prompts import prompt_tokens
    from acdc.cli.progress import bars
    from acdc.dictionaries.corpus import open_corpus
    from acdc.dictionaries.open import open_for
    from acdc.dictionaries.quality import usual_prompts
    from acdc.dictionaries.sizes import parse_bytes
    from acdc.execution.threads import fixed_threads
    from acdc.interventions.generate import Sampling, check_generates
    from acdc.interventions.intervention import Place, Unit
    from acdc.model.load import load_model
    from acdc.steering.steer import SteerSettings
    from acdc.steering.steer import steer as run
    from acdc.task.load import load_task

    where, _, place = at.partition("@")
    position = Place.parse(place) if place else Place()
    doses = tuple(opt.numbers("--strengths", strengths) or ())
    settings = SteerSettings(Unit.parse(where), position, doses, metric, limit, batch_size, seed)
    loaded = load_model(model, revision=revision, device=device, dtype=dtype.value)
    settings.check(loaded)
    given = {"unit": unit, "toward": toward, "pairs": pairs, "vector": vector}
    size = None if memory is None else parse_bytes(memory)
    features = None if dictionary is None else open_for(dictionary, loaded, memory=size, hooks=parse_hooks(hook))
    with fixed_threads(threads):
        direction = _direction(loaded, settings.at, given, away, features)
        tokens = None if prompt is None else prompt_tokens(loaded, prompt)
        sampling = None if tokens is None else Sampling(generate, temperature, seed)
        if tokens is not None and sampling is not None:
            check_generates(loaded, len(tokens), sampling)
        text = () if neutral is None else usual_prompts(open_corpus(loaded, neutral, ()).prompts(), MOST_NEUTRAL)
        other = None if other_task is None else load_task(other_task, loaded)
        target = load_task(task, loaded)
        found = run(loaded, direction, target, settings, [tuple(one) for one in text], other, tokens, sampling, bars)
    print_steered(found, as_json)
    if out is not None:
        _write(found, out, as_json)


def _direction(model: "Model", at: "Unit", given: dict, away: Path | None, features: object) -> "SteeringDirection":
    """Of the one source that was given. Raises InputError for none or several."""
    from acdc.dictionaries.dictionary import Dictionary
    from acdc.steering import directions
    from acdc.task.load import load_task

    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1 or (given["toward"] is None) != (away is None):
        raise InputError("give one direction: --unit, --toward with --away, --pairs or --vector")
    if given["unit"] is not None:
        assert features is None or isinstance(features, Dictionary)
        return directions.from_unit(model, given["unit"], features)
    if given["toward"] is not None and away is not None:
        return directions.from_prompts(model, at, given["toward"], away)
    if given["pairs"] is not None:
        return directions.from_task(model, at, load_task(given["pairs"], model))
    return directions.from_file(model, given["vector"])


def print_steered(found: "Steered", as_json: bool) -> None:
    """The doses as a table, random directions of the same norm below, then texts."""
    if as_json:
        say_json(_record(found))
        return
    out, first = console(), found.doses[0].task
    out.print(f"{found.direction} added at {found.at} of {found.model}", style="bold")
    out.print(f"the residual stream there has a norm of {found.norm:.3g} on average")
    over = f"mean over {count_of(first.rows, 'row')}: {_cell(first.before.value)} without"
    title = f"\n{first.metric} of {first.task}, {over}"
    head = ["strength", "with", "change", "95% from", "to"]
    head += ["KL on neutral text"] if found.doses[0].kl else []
    head += [f"accuracy of {found.doses[0].other.task}"] if found.doses[0].other else []
    print_table(out, title, head, [*_cells(found.doses, ""), *_cells(found.random, " random")])
    if found.doses[0].other:
        out.print(f"\naccuracy of {found.doses[0].other.task} without: {_cell(found.doses[0].other.before.value)}")
    if found.text is not None:
        texts = [["without", found.text], *([f"{one.strength:+g}", one.text or ""] for one in found.doses)]
        out.print("\ngenerated", style="bold")
        for name, text in texts:
            out.print(f"{name:>8}  {text.strip()}", soft_wrap=True)


def _cells(doses: Sequence, mark: str) -> list[list[str]]:
    rows = []
    for one in doses:
        change = one.task.change
        row = [f"{one.strength:+g}{mark}", *map(_cell, (one.task.after.value, change.value, change.low, change.high))]
        row += [_cell(one.kl.value)] if one.kl else []
        rows.append(row + ([_cell(one.other.after.value)] if one.other else []))
    return rows


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _record(found: "Steered") -> dict:
    def plain(value: object) -> object:
        if hasattr(value, "model_dump"):
            return value.model_dump()
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    record = plain(asdict(found))
    assert isinstance(record, dict)
    return record


def _write(found: "Steered", out: Path, quiet: bool) -> None:
    from acdc.files import write_text
    from acdc.render.steering.picture import to_svg
    from acdc.steering.steer import csv_rows

    out.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(csv_rows(found))
    write_text(out / "steering.csv", table.getvalue())
    write_text(out / "steering.svg", to_svg(found))
    if not quiet:
        console().print(f"\npicture  {out / 'steering.svg'}\nvalues   {out / 'steering.csv'}", soft_wrap=True)
