"""The command that trains transcoders or SAEs for a model: train-dictionary."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.dictionaries import QUALITY, Text, quality_cells
from acdc.cli.job_options import DEFAULT_MODEL
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.errors import InputError

if TYPE_CHECKING:
    from acdc.dictionaries.training.train import Trained

Kind = Annotated[str, typer.Option(help="transcoder (reads what MLPs read, writes what they write) or sae.")]
Site = Annotated[
    str, typer.Option(help="sae: what is read and reconstructed, such as resid_post, mlp_added, attn_out.")
]
Layers = Annotated[str | None, typer.Option(help="Layers, separated by commas (default: all).", metavar="LAYERS")]
Active = Annotated[
    int, typer.Option(help="Features that are active at a token: TopK's k, or the L0 that JumpReLU aims at.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        help="Train on the prompts of this task, and measure its accuracy with the dictionary in place; can be "
        "repeated. With --text or --own-text, only measure.",
        metavar="TASK",
    ),
]
OwnTexts = Annotated[
    int | None,
    typer.Option("--own-text", help="Train on this many texts that the model writes itself.", metavar="TEXTS"),
]
Folder = Annotated[Path, typer.Option("--out", help="Folder of the dictionary.", metavar="DIR")]


@loads_model
def train_dictionary(
    out: Folder,
    model: opt.ModelName = DEFAULT_MODEL,
    kind: Kind = "transcoder",
    activation: Annotated[str, typer.Option(help="topk or jumprelu.")] = "topk",
    site: Site = "resid_post",
    layers: Layers = None,
    features: Annotated[int, typer.Option(help="Features of each layer.")] = 512,
    active: Active = 16,
    skip: Annotated[
        bool, typer.Option("--skip", help="transcoder: with a linear function beside the features.")
    ] = False,
    text: Text = None,
    own_text: OwnTexts = None,
    task: Tasks = None,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.")] = 5000,
    batch: Annotated[int, typer.Option(help="Tokens in a step.")] = 512,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    threads: opt.Threads = 2,
    as_json: opt.Json = False,
) -> None:
    """Train a dictionary of features for a model that has none. The same command goes on where it stopped."""
    from acdc.cli.loading import load
    from acdc.cli.progress import bars
    from acdc.dictionaries.corpus import Corpus, open_corpus
    from acdc.dictionaries.hooks import Site as Place
    from acdc.dictionaries.own_text import OwnText
    from acdc.dictionaries.training.settings import TrainedActivation, TrainedKind, TrainSettings
    from acdc.dictionaries.training.train import train_dictionary as train
    from acdc.execution.threads import fixed_threads
    from acdc.task.load import load_task

    settings = TrainSettings(
        TrainedKind(opt.one_of("--kind", kind, TrainedKind)),
        TrainedActivation(opt.one_of("--activation", activation, TrainedActivation)),
        None if layers is None else parse_layers(layers),
        features,
        active,
        Place(opt.one_of("--site", site, Place)),
        skip,
        steps,
        batch,
        rate,
        seed,
    )
    settings.check()
    loaded, _ = load(model, revision, device, dtype)
    if own_text is not None and text is not None:
        raise InputError("give --text or --own-text, not both")
    corpus: Corpus
    if own_text is not None:
        corpus = OwnText(loaded, own_text, seed=seed)
    else:
        corpus = open_corpus(loaded, text, () if text is not None else task or ())
    measured = [load_task(name, loaded) for name in task or ()]
    with fixed_threads(threads):
        print_trained(train(loaded, corpus, settings, out, measured, bars), as_json)


def parse_layers(text: str) -> tuple[int, ...]:
    """`0,2,5`, in rising order. Raises InputError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 5 for part in parts):
        raise InputError(f"--layers {text!r} is no list of layers such as 0,2,5")
    return tuple(sorted({int(part) for part in parts}))


def print_trained(trained: "Trained", as_json: bool) -> None:
    """Its figures on prompts that it was not trained on, and the accuracy of tasks."""
    from dataclasses import asdict

    if as_json:
        sets = [asdict(one) | {"reads": str(one.reads), "writes": str(one.writes)} for one in trained.quality]
        tasks = [asdict(one) for one in trained.kept]
        say_json({"folder": str(trained.folder), "resumed": trained.resumed, "sets": sets, "tasks": tasks})
        return
    out = console()
    dictionary = trained.dictionary
    out.print(f"{dictionary.name}: {dictionary.kind}s of {dictionary.size:,} features", style="bold")
    rows = [[str(one.reads), str(one.writes), f"{one.features:,}", *quality_cells(one)] for one in trained.quality]
    print_table(out, "\non prompts that were not trained on", ["reads", "writes", "features", *QUALITY], rows)
    if trained.kept:
        cells = [[one.task, f"{one.full:.4g}", f"{one.replaced:.4g}", f"{one.share:.1%}"] for one in trained.kept]
        print_table(out, "\naccuracy with the dictionary in place", ["task", "model", "replaced", "kept"], cells)
    out.print(f"\nfolder  {trained.folder}{' (already there)' if trained.resumed else ''}", soft_wrap=True)
