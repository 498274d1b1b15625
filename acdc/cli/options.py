"""Options that several commands share, written once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from acdc.errors import InputError
from acdc.options import Choosing, Extent, Level, SenderOrder


class DType(StrEnum):
    float64 = "float64"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Listing(StrEnum):
    models = "models"
    tasks = "tasks"
    methods = "methods"
    suites = "suites"
    formats = "formats"
    runs = "runs"


ModelName = Annotated[
    str, typer.Option("--model", help="Name ('acdc list models'), local folder, GGUF file or hub name.", metavar="M")
]
TaskName = Annotated[
    str,
    typer.Option("--task", help="Bundled name, a .jsonl, .json or .csv file, or hf:NAME:SPLIT.", metavar="T"),
]
Revision = Annotated[str | None, typer.Option(help="Hub revision: branch, tag or commit.")]
MethodName = Annotated[str, typer.Option("--method", help="Search method; see 'acdc list methods'.", metavar="NAME")]
MetricName = Annotated[
    str | None,
    typer.Option("--metric", help="kl, logit_diff, nll, prob_diff or accuracy; default: the task's.", metavar="NAME"),
]
AblationName = Annotated[
    str,
    typer.Option(
        "--ablation",
        help="What a removed edge carries: resample, zero, mean, mean-positional or optimal.",
        metavar="NAME",
    ),
]
Limit = Annotated[int | None, typer.Option(help="Discover on the first ROWS rows.", metavar="ROWS")]
BatchSize = Annotated[int, typer.Option(help="Maximum number of rows in one forward pass.")]
SplitEmbeddings = Annotated[
    bool, typer.Option("--split-embeddings", help="Treat token and position embedding as two components.")
]
LevelName = Annotated[Level, typer.Option("--level", help="What a circuit consists of.")]
Choose = Annotated[
    Choosing, typer.Option(help="From scores: take the best edges overall, or go greedily from the logits upwards.")
]
Steps = Annotated[int, typer.Option(help="eap-ig-*, hybrid: points of the integral, k/STEPS from k = 0.")]
Updates = Annotated[int, typer.Option(help="Learned masks: maximum number of optimiser steps.")]
DirectEdges = Annotated[
    bool, typer.Option("--direct-edges", help="acdc: also test the edges within each head, from its q, k and v slots.")
]
SenderOrderName = Annotated[
    SenderOrder, typer.Option("--sender-order", help="acdc: order of a layer's heads as senders.")
]
VerifyExtent = Annotated[
    Extent,
    typer.Option(
        "--verify",
        help="How much to verify: none; quick: metrics; standard: also random circuits and single removals, about a "
        "minute; full: also intervals, other ablations and tests, a few minutes.",
    ),
]
VerifyRows = Annotated[
    int | None, typer.Option("--verify-rows", help="Verify on at most this many unseen rows.", metavar="ROWS")
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: a new one under runs/.", metavar="DIR")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, or cuda:0,cuda:1,... to distribute the layers.")]
DTypeName = Annotated[DType, typer.Option("--dtype", help="Floating-point type of the model.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Threads = Annotated[
    int, typer.Option(help="Threads per tensor operation; recorded, because it can change the last bits.")
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of a table.")]
RunPath = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]


def numbers(option: str, text: str | None) -> list[float] | None:
    """Numbers separated by commas. Raises InputError for anything else."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text!r} is not a list of numbers separated by commas") from None
