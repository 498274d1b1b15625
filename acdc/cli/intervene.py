"""The command that changes parts of a model while it runs: intervene."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.job_options import DEFAULT_MODEL
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.words import count_of, shortened

if TYPE_CHECKING:
    from rich.console import Console

    from acdc.artefacts.intervention import Intervened, PromptEffects, TaskEffects

FORM = "UNIT@PLACE=AMOUNT"

SetTo = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help=opt.literal(
            "Set a unit: a3.h2=0 (head), m5=0 (MLP), m5.n123@4=2 (hidden neuron at position 4), or "
            "resid_pre3[v.npy]@-1=5 (coordinate of the residual stream along a direction, in lengths of that vector); "
            "can be repeated."
        ),
        metavar=FORM,
    ),
]
Scale = Annotated[list[str] | None, typer.Option("--scale", help="Multiply a unit: a3.h2@S2=0.5.", metavar=FORM)]
Add = Annotated[
    list[str] | None,
    typer.Option(
        "--add",
        help="Add to a unit: m4=FILE.safetensors; FILE.npy or unembed:TOKEN|OTHER are vectors, too.",
        metavar=FORM,
    ),
]
Prompt = Annotated[
    str | None, typer.Option("--prompt", help="Text whose next token is looked at; token ids without a tokenizer.")
]
OfTask = Annotated[
    str | None,
    typer.Option("--task", help="Measure the metric of this task; its spans are places.", metavar="TASK"),
]
Generate = Annotated[
    int | None, typer.Option(help="Continue the prompt by this many tokens, with and without.", metavar="TOKENS")
]
Features = Annotated[
    Path | None,
    typer.Option(
        "--dictionary", help="Folder of per-layer transcoders, of whose features m5.f41 is one.", metavar="FOLDER"
    ),
]
Ablated = Annotated[
    Path | None,
    typer.Option("--ablated", help="Also set the features in this file of 'acdc ablate' to zero.", metavar="FILE"),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Keep what was found in this folder as a run, which 'acdc show' prints (default: keep nothing).",
        metavar="DIR",
    ),
]
FreezeAttention = Annotated[
    bool, typer.Option("--freeze-attention", help="After a prompt: heads attend as without interventions.")
]
Limit = Annotated[
    int | None, typer.Option(help="Measure on the first ROWS rows of the task (default: all).", metavar="ROWS")
]


@loads_model
def intervene(
    model: opt.ModelName = DEFAULT_MODEL,
    set_: SetTo = None,
    scale: Scale = None,
    add: Add = None,
    prompt: Prompt = None,
    task: OfTask = None,
    metric: opt.MetricName = None,
    top: Annotated[
        int,
        typer.Option(help="Show this many of each run's likeliest tokens: up to twice as many."),
    ] = 5,
    generate: Generate = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token; above it, tokens are drawn.")] = 0.0,
    freeze_attention: FreezeAttention = False,
    dictionary: Features = None,
    ablated: Ablated = None,
    prepend_bos: opt.PrependBos = False,
    limit: Limit = None,
    batch_size: opt.BatchSize = 32,
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    threads: opt.Threads = 2,
    out: Out = None,
    as_json: opt.Json = False,
) -> None:
    """Set, scale or add to heads, MLPs, neurons or directions, and see what the model then says."""
    from acdc.artefacts.feature_circuit import AblatedFeatures
    from acdc.interventions.generate import Sampling
    from acdc.interventions.intervene import Wanted
    from acdc.interventions.intervention import parse_all
    from acdc.runs.intervening import InterveneJob, run_interventions

    off = None if ablated is None else AblatedFeatures.load(ablated)
    sets = [*(set_ or ()), *(() if off is None else off.interventions())]
    interventions = parse_all(sets, scale or (), add or ())
    if off is not None and dictionary is None:
        dictionary = Path(off.dictionary.given)
    sampling = None if generate is None else Sampling(generate, temperature, seed)
    wanted = Wanted(
        prompt, None, metric, sampling, prepend_bos, top, limit, batch_size, seed, threads, freeze_attention
    )
    job = InterveneJob(model, interventions, wanted, task, dictionary, revision, device, dtype.value, off)
    done = run_interventions(job, out)
    print_interventions(done.found, done.path, as_json, done.resumed)


def print_interventions(found: "Intervened", path: Path | None, as_json: bool, resumed: bool = False) -> None:
    """The interventions, the tables of their effects, what was generated, and where that is."""
    if as_json:
        say_json(({} if path is None else {"run": str(path)}) | found.as_record())
        return
    out = console()
    out.print(f"{found.model}: {', '.join(found.interventions)}", style="bold")
    if found.prompt:
        _print_tokens(out, found.prompt)
    if found.task:
        _print_task(out, found.task)
    if found.generated:
        out.print("\nwithout", style="bold")
        out.print(found.generated.before_text, soft_wrap=True)
        out.print("\nwith", style="bold")
        out.print(found.generated.after_text, soft_wrap=True)
    if path is not None:
        out.print(f"\nrun  {path}{' (already there)' if resumed else ''}", soft_wrap=True)


def _print_tokens(out: "Console", effects: "PromptEffects") -> None:
    def rows() -> Iterator[list[str]]:
        for one in effects.tokens:
            direct = "-" if one.direct is None else f"{one.direct:.2%}"
            changes = ("-" if change is None else f"{change:+.3f}" for change in (one.change, one.direct_change))
            yield [repr(one.text), f"{one.before:.2%}", f"{one.after:.2%}", direct, *changes]

    head = ["next token", "without", "with", "direct", "logit", "direct logit"]
    print_table(out, f"\nafter {shortened(effects.prompt, 80)}", head, rows())
    out.print(f"\nKL divergence of the next token: {effects.kl:.4g} nats")
    if effects.no_direct:
        out.print(f"no direct effects: {effects.no_direct}")


def _print_task(out: "Console", effects: "TaskEffects") -> None:
    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    means = {"without": effects.before, "with": effects.after, "change": effects.change}
    rows = [[name, cell(one.value), cell(one.low), cell(one.high)] for name, one in means.items()]
    title = f"\n{effects.metric} of {effects.task}, mean over {count_of(effects.rows, 'row')}"
    print_table(out, title, ["", "mean", "95% from", "to"], rows)
