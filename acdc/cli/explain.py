"""The command that says what a feature, a neuron or a head means: explain."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.dictionaries import Hooks, Memory, Tasks, Text, parse_hooks
from acdc.cli.job_options import DEFAULT_MODEL
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table

if TYPE_CHECKING:
    from acdc.explain.explain import Explained

UnitName = Annotated[
    str, typer.Argument(help="Neuron m3.n117, head a1.h3, or a dictionary's feature m3.f12.", metavar="UNIT")
]
Dictionary = Annotated[
    Path | None, typer.Option("--dictionary", help="Folder or name of the dictionary of a feature.", metavar="FOLDER")
]
Run = Annotated[
    Path | None, typer.Option("--run", help="Also say what it reads and writes in this run.", metavar="DIR")
]
Folder = Annotated[
    Path | None, typer.Option("--out", help="Write UNIT.html and UNIT.json into this folder.", metavar="DIR")
]


@loads_model
def explain(
    unit: UnitName,
    model: opt.ModelName = DEFAULT_MODEL,
    dictionary: Dictionary = None,
    text: Text = None,
    task: Tasks = None,
    tokens: Annotated[int, typer.Option(help="Read at most this many tokens.")] = 100_000,
    top: Annotated[int, typer.Option(help="Print this many of the strongest examples.")] = 8,
    run: Run = None,
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
    """Say where a feature, neuron or head is active, what it reads and what it writes."""
    from dataclasses import replace

    from acdc.cli.progress import bars
    from acdc.dictionaries.corpus import open_corpus
    from acdc.dictionaries.open import open_for
    from acdc.dictionaries.sizes import parse_bytes
    from acdc.execution.threads import fixed_threads
    from acdc.explain.explain import explain_unit, feature_json
    from acdc.files import write_json, write_text
    from acdc.model.load import load_model
    from acdc.render.explained.page import to_html
    from acdc.runs.neighbours import neighbours_in

    loaded = load_model(model, revision=revision, device=device, dtype=dtype.value)
    limit = None if memory is None else parse_bytes(memory)
    features = None if dictionary is None else open_for(dictionary, loaded, memory=limit, hooks=parse_hooks(hook))
    corpus = open_corpus(loaded, text, task or ())
    with fixed_threads(threads):
        found = explain_unit(loaded, unit, corpus, features, tokens, seed, bars)
    if run is not None:
        found = replace(found, neighbours=neighbours_in(run, unit, found.kind))
    if as_json:
        say_json(feature_json(found, unit))
    else:
        print_explained(found, top)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / f"{unit}.json", feature_json(found, unit))
        write_text(out / f"{unit}.html", to_html(found, shlex.join(["acdc", *sys.argv[1:]])))
        if not as_json:
            console().print(f"\npage  {out / f'{unit}.html'}", soft_wrap=True)


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
        cells = [[one.direction, one.id, f"{one.score:+.4g}"] for one in found.neighbours]
        print_table(out, "\nin the circuit", ["", "", "score"], cells)
    for name, shown in found.shown:
        chosen = shown[: 2 if name.startswith("Subsample") else top]
        cells = [[words.context(one), f"{one.activations[one.at]:.3g}"] for one in chosen]
        print_table(out, f"\n{name.lower()}", ["", "activation"], cells)
