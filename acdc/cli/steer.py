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
from acdc.cli.dictionaries import Hooks, Memory
from acdc.cli.job_options import DEFAULT_MODEL
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.words import count_of

if TYPE_CHECKING:
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
Strengths = Annotated[
    str, typer.Option(help="Norms of what is added, with signs; intervene counts in lengths of the direction instead.")
]
Folder = Annotated[
    Path | None, typer.Option("--out", help="Write steering.svg and .csv into this folder.", metavar="DIR")
]


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
    strengths: Strengths = "-8,-4,-2,2,4,8",
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
    from acdc.cli.loading import load
    from acdc.cli.progress import bars
    from acdc.execution.threads import fixed_threads
    from acdc.interventions.generate import Sampling
    from acdc.interventions.intervention import Place, Unit
    from acdc.steering.directions import Source
    from acdc.steering.steer import Beside, SteerSettings
    from acdc.steering.steer import steer as run
    from acdc.task.load import load_task

    where, _, place = at.partition("@")
    doses = tuple(opt.numbers("--strengths", strengths) or ())
    position = Place.parse(place) if place else Place()
    settings = SteerSettings(Unit.parse(where), position, doses, metric, limit, batch_size, seed)
    loaded, features = load(model, revision, device, dtype, dictionary, hook, memory)
    settings.check(loaded)
    sampling = Sampling(generate, temperature, seed)
    with fixed_threads(threads):
        source = Source(unit, toward, away, None if pairs is None else load_task(pairs, loaded), vector)
        direction = source.direction(loaded, settings.at, features)
        other = None if other_task is None else load_task(other_task, loaded)
        beside = Beside.of(loaded, neutral, other, prompt, sampling)
        found = run(loaded, direction, load_task(task, loaded), settings, beside, bars)
    print_steered(found, as_json)
    if out is not None:
        _write(found, out, as_json)


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
    out.print(f"\n{_against_random(found)}", soft_wrap=not out.is_terminal)
    if found.doses[0].other:
        out.print(f"\naccuracy of {found.doses[0].other.task} without: {_cell(found.doses[0].other.before.value)}")
    if found.text is not None:
        texts = [["without", found.text], *([f"{one.strength:+g}", one.text or ""] for one in found.doses)]
        out.print("\ngenerated", style="bold")
        for name, text in texts:
            out.print(f"{name:>8}  {text.strip()}", soft_wrap=True)


def _against_random(found: "Steered") -> str:
    """How the direction compares with random ones of the same norm, whose sign says nothing."""
    strongest, metric = abs(found.random[0].strength), found.doses[0].task.metric
    random = [one.task.change.value for one in found.random if one.task.change.value is not None]
    own = [one for one in found.doses if abs(one.strength) == strongest and one.task.change.value is not None]
    if not random or not own:
        return f"random: directions that were drawn at random, of norm {strongest:g}"
    least, most = min(random), max(random)
    said = []
    for one in own:
        low, high = one.task.change.low, one.task.change.high
        apart = low is not None and high is not None and (low > most or high < least)
        how = "unlike" if apart else "no different from"
        said.append(f"at {one.strength:+g} the direction changes it by {_cell(one.task.change.value)}, {how} these")
    drawn = f"{count_of(len(random), 'random direction')} of norm {strongest:g} change {metric} by {_cell(least)}"
    return f"{drawn} to {_cell(most)}; {'; '.join(said)}"


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
