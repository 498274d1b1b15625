"""The command that says what a feature, a neuron or a head means: explain."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.dictionaries import Hooks, Memory, Tasks, Text
from acdc.cli.job_options import DEFAULT_MODEL
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.errors import InputError
from acdc.options import check_count
from acdc.words import count_of

if TYPE_CHECKING:
    from acdc.explanation.explain import Explained
    from acdc.runs.explaining import Explaining

UnitName = Annotated[
    str | None,
    typer.Argument(
        help="Neuron m3.n117, head a1.h3, or a dictionary's feature m3.f12 (default: the strongest units of --run).",
        metavar="UNIT",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Name, folder or file of the model (default: the run's, or trio).", metavar="MODEL"),
]
Dictionary = Annotated[
    Path | None,
    typer.Option(
        "--dictionary", help="Folder or name of the dictionary of a feature (default: the run's).", metavar="FOLDER"
    ),
]
Run = Annotated[
    Path | None,
    typer.Option(
        "--run",
        help="Also say what the unit reads and writes in this run; without UNIT, write pages of its strongest units, "
        "to which its report then leads.",
        metavar="DIR",
    ),
]
Folder = Annotated[
    Path | None, typer.Option("--out", help="Write UNIT.html and UNIT.json into this folder.", metavar="DIR")
]


@loads_model
def explain(
    unit: UnitName = None,
    model: ModelName = None,
    dictionary: Dictionary = None,
    text: Text = None,
    task: Tasks = None,
    tokens: Annotated[int, typer.Option(help="Read at most this many tokens.")] = 100_000,
    top: Annotated[int, typer.Option(help="Print this many of the strongest examples.")] = 8,
    run: Run = None,
    strongest: Annotated[int, typer.Option(help="Without UNIT: explain this many units of --run.")] = 10,
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
    """Say where features, neurons or heads are active, what they read and what they write. Needs prompts: --task,
    --text, or --run, whose task is read."""
    from acdc.cli.loading import load
    from acdc.cli.progress import bars
    from acdc.dictionaries.corpus import open_corpus
    from acdc.execution.threads import fixed_threads
    from acdc.runs.explaining import Explaining, Usual

    if unit is None and run is None:
        raise InputError("UNIT is missing: name a unit, or give --run to explain its strongest units")
    if run is None and text is None and not task:
        raise InputError("give --text FILE or --task TASK: prompts are needed")
    check_count("--strongest", strongest)
    usual = Usual(DEFAULT_MODEL, revision, None, None) if run is None else Usual.of(run)
    named = model or usual.model
    from_run = usual.revision if named == usual.model else None
    where = dictionary or usual.dictionary
    loaded, features = load(named, revision or from_run, device, dtype, where, hook, memory)
    own = [usual.task] if usual.task and text is None and not task else []
    how = Explaining(loaded, open_corpus(loaded, text, task or own), features, tokens, seed)
    with fixed_threads(threads):
        if unit is None and run is not None:
            _explain_run(run, strongest, how, out, as_json)
        elif unit is not None:
            _explain_one(how.explain(unit, run, bars), top, out, as_json)


def _explain_one(found: "Explained", top: int, out: Path | None, as_json: bool) -> None:
    from acdc.explanation.explain import feature_json
    from acdc.runs.explaining import write_pages

    if as_json:
        say_json(feature_json(found, found.unit))
    else:
        print_explained(found, top)
    if out is not None:
        page = write_pages(found, out, _command())
        if not as_json:
            console().print(f"\npage  {page}", soft_wrap=True)


def _explain_run(run: Path, most: int, how: "Explaining", out: Path | None, as_json: bool) -> None:
    """Write pages of a run's strongest units, and print a line of each."""
    from acdc.cli.progress import bars
    from acdc.explanation.explain import feature_json
    from acdc.render.explained import words
    from acdc.runs.explaining import explain_run, strongest_units
    from acdc.runs.unit_pages import FOLDER

    if out is not None:
        raise InputError("--out is for one unit: the pages of a run's units are kept in the run")
    found = list(explain_run(run, strongest_units(run, most), how, _command(), bars))
    if as_json:
        say_json({"run": str(run), "units": [feature_json(one, one.unit) for one in found]})
        return
    print_table(
        console(), f"strongest {count_of(len(found), 'unit')} of {run}", *words.overview(found), words=(0, 2, 3)
    )
    console().print(f"\npages  {run / FOLDER}", soft_wrap=True)


def _command() -> str:
    return shlex.join(["acdc", *sys.argv[1:]])


def print_explained(found: "Explained", top: int) -> None:
    """The unit, tokens by its weights, and examples by quantiles."""
    from acdc.render.explained import words

    out = console()
    out.print(words.heading(found), style="bold")
    out.print(words.summary(found))
    if rows := [list(row) for row in words.sentences(found)]:
        print_table(out, "\nby its weights alone", ["", "tokens"], rows)
    if found.head is not None:
        print_table(out, "\nattention", ["to", "share", "evenly"], words.share_rows(found.head.shares))
        for title, pairs in (
            ("\nattending to a token says another (OV)", found.head.ov),
            ("\ntokens that attend to others by themselves (QK)", found.head.qk),
        ):
            print_table(
                out,
                title,
                ["tokens", "logit" if "OV" in title else "score"],
                [[p, f"{v:+.3g}"] for p, v in pairs[:top]],
            )
    if found.neighbours:
        cells = [one.cells for one in found.neighbours]
        print_table(out, "\nin the circuit", ["", "", "score"], cells)
    for name, shown in found.shown:
        chosen = shown[: 2 if name.startswith("Subsample") else top]
        cells = [[words.context(one), f"{one.activations[one.at]:.3g}"] for one in chosen]
        print_table(out, f"\n{words.group_title(name, chosen)}", ["", "activation"], cells)
