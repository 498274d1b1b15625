"""The command that makes heat maps of activation patching: patch."""

from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json, tell
from acdc.cli.job_options import DEFAULT_MODEL, DEFAULT_TASK
from acdc.cli.progress import clear_line, loads_model
from acdc.cli.tables import make_table
from acdc.options import By, Directions
from acdc.words import count_of

if TYPE_CHECKING:
    from acdc.patching.cost import Cost
    from acdc.runs.patching import FinishedPatching

STRONGEST = 3  # cells of each map that are printed

TaskArgument = Annotated[
    str, typer.Argument(help="Bundled name, .jsonl, .json or .csv file, or data set hf:NAME:SPLIT.")
]
Maps = Annotated[
    str | None,
    typer.Option(
        help="What to patch, separated by commas: resid_pre, resid_mid, resid_post, attn_out, mlp_out by layer; "
        "head, q, k, v, pattern by head (default: all but resid_mid and resid_post).",
        metavar="NAMES",
    ),
]
Direction = Annotated[
    Directions,
    typer.Option(
        help="denoise: patch clean values into the corrupted run; noise: corrupted values into the clean run."
    ),
]
Columns = Annotated[
    By | None, typer.Option(help="Columns of the maps (default: spans if the task has them, else positions).")
]
HeadsByPlace = Annotated[
    bool,
    typer.Option(
        "--heads-by-place", help="Patch heads at each span or position separately, not at all positions together."
    ),
]
Subject = Annotated[
    str | None,
    typer.Option(
        help="Causal tracing: noise on the embeddings of this span takes the place of the corrupted prompt.",
        metavar="SPAN",
    ),
]
Noise = Annotated[
    float, typer.Option(help="Causal tracing: standard deviation of the noise, in those of the embeddings.")
]
Window = Annotated[
    int | None,
    typer.Option(
        help="Causal tracing: number of layers whose attention or MLP outputs are restored together (default: a "
        "fifth of the layers, at most 10)."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(help="Patch on the first ROWS rows (default: as many as take some minutes).", metavar="ROWS"),
]
Pictures = Annotated[
    str, typer.Option(help="Formats of the pictures, separated by commas: svg, png, pdf.", metavar="FORMATS")
]
Tables = Annotated[
    str, typer.Option(help="Formats of the table, separated by commas: csv, parquet.", metavar="FORMATS")
]


@loads_model
def patch(
    model: Annotated[str, typer.Argument(help="Name, local folder, GGUF file or hub name.")] = DEFAULT_MODEL,
    task: TaskArgument = DEFAULT_TASK,
    maps: Maps = None,
    direction: Direction = Directions.denoise,
    by: Columns = None,
    heads_by_place: HeadsByPlace = False,
    subject: Subject = None,
    noise: Noise = 3.0,
    samples: Annotated[int, typer.Option(help="Causal tracing: how often noise is drawn.")] = 10,
    window: Window = None,
    metric: opt.MetricName = None,
    limit: Limit = None,
    batch_size: opt.BatchSize = 32,
    pictures: Pictures = "svg",
    tables: Tables = "csv",
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    threads: opt.Threads = 2,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> None:
    """Make heat maps of activation patching: where in the model, and at which tokens, the answer is decided."""
    from acdc.cli.progress import bars
    from acdc.patching.settings import PatchSettings, named_sites
    from acdc.runs.patching import PatchJob, run_patching

    settings = PatchSettings(
        sites=None if maps is None else named_sites(_listed(maps)),
        direction=direction,
        by=by,
        heads_by_place=heads_by_place,
        subject=subject,
        noise=noise,
        samples=samples,
        window=window,
        metric=metric,
        limit=limit,
        batch_size=batch_size,
        seed=seed,
        threads=threads,
    )
    formats = tuple(_listed(pictures)), tuple(_listed(tables))
    job = PatchJob(model, task, settings, revision, device, dtype.value, *formats)
    _print(run_patching(job, out, bars, _announce), as_json)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _announce(cost: "Cost") -> None:
    """Say on stderr what will be run."""
    clear_line()
    rows = count_of(cost.rows, "row") if cost.rows == cost.available else f"{cost.rows} of {cost.available} rows"
    tell(f"{count_of(cost.runs, 'patched run')} on {rows}: {cost.flops:.1e} FLOPs")


def _print(finished: "FinishedPatching", as_json: bool) -> None:
    """The strongest cells of each map, what the numbers mean, and the files."""
    from acdc.render.patching.words import convention, heading, sentence, what

    record, out = finished.record, console()
    if as_json:
        say_json({"path": str(finished.path), **record.model_dump(mode="json")})
        return
    out.print(heading(record), style="bold")
    out.print(f"{what(record)}; {record.metric_clean:.4g} on the clean prompts, {record.metric_corrupted:.4g} ", end="")
    out.print("with noise" if record.noise else "on the corrupted ones")
    for line in dict.fromkeys(convention(one, record) for one in record.maps):
        out.print(sentence(line))
    out.print()
    rows = [
        [
            one.site,
            one.direction,
            ", ".join(f"{cell} {effect:+.2f}" for cell, effect in one.strongest(STRONGEST)),
        ]
        for one in record.maps
    ]
    out.print(make_table(("map", "direction", "largest effects"), rows, out.width, words=range(3)))
    out.print(f"\nrun   {finished.path}{' (already there)' if finished.resumed else ''}", soft_wrap=True)
    out.print(f"page  {finished.path / 'patching.html'}", soft_wrap=True)
