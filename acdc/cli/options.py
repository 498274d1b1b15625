"""Options that several commands share, written once."""

import inspect
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
import typer.core
from pydantic.fields import FieldInfo

from acdc.errors import InputError
from acdc.options import FEATURES, Choosing, Extent, Level
from acdc.search.options import SearchOptions, own_options
from acdc.search.registry import METHODS


def literal(help: str) -> str:
    """A help text in which brackets are no markup, which it is read as where Rich prints it."""
    return help.replace("[", r"\[") if typer.core.HAS_RICH else help


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
    str,
    typer.Option("--model", help="Name ('acdc list models'), local folder, GGUF file or hub name.", metavar="MODEL"),
]
TaskName = Annotated[
    str,
    typer.Option("--task", help="Bundled name, .jsonl, .json or .csv file, or data set hf:NAME:SPLIT.", metavar="TASK"),
]
Revision = Annotated[str | None, typer.Option(help="Hub revision: branch, tag or commit.")]
MethodName = Annotated[str, typer.Option("--method", help="Search method; see 'acdc list methods'.", metavar="NAME")]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="kl, logit_diff, nll, prob_diff or accuracy; squared_error or value for models with one output; "
        "default: the task's.",
        metavar="NAME",
    ),
]
AblationName = Annotated[
    str,
    typer.Option(
        "--ablation",
        help="What a removed edge carries: resample, zero, mean, mean-positional or optimal.",
        metavar="NAME",
    ),
]
Limit = Annotated[
    int | None, typer.Option(help="Search on the first ROWS rows (default: a random half; score: all).", metavar="ROWS")
]
PrependBos = Annotated[bool, typer.Option("--prepend-bos", help="Put the tokenizer's BOS token before the prompt.")]
BatchSize = Annotated[int, typer.Option(help="Maximum number of rows in one forward pass.")]
SplitEmbeddings = Annotated[
    bool, typer.Option("--split-embeddings", help="Treat token and position embedding as two components, not as one.")
]
LevelName = Annotated[
    Level,
    typer.Option("--level", help="What a circuit consists of.", parser=Level.named, metavar=f"[{'|'.join(Level)}]"),
]


def _any_level(name: str) -> str:
    return name if name == FEATURES else Level.named(name)


AnyLevel = Annotated[
    str,
    typer.Option(
        "--level", help="What a circuit consists of.", parser=_any_level, metavar=f"[{'|'.join([*Level, FEATURES])}]"
    ),
]
Choose = Annotated[
    Choosing,
    typer.Option(
        help="Methods that give scores: take the best edges (top), greedily backwards from the logits (greedy), "
        "those that help before those that hurt (signed), or whole paths from the input to the logits (paths)."
    ),
]
Bootstrap = Annotated[
    int,
    typer.Option(
        help="signed and paths: first take edges whose sign is the same in 95% of this many resamples of the rows.",
        metavar="RESAMPLES",
    ),
]
Hurting = Annotated[
    float,
    typer.Option(
        help="signed: share of the circuit that is taken from edges that hurt, those that hurt most first.",
        metavar="SHARE",
    ),
]
DirectEdges = Annotated[
    bool,
    typer.Option(
        "--direct-edges", help="acdc: also test the edges within each head, from its query, key and value slots."
    ),
]
PluginOptions = Annotated[
    list[str] | None, typer.Option("--option", help="An option of a method from another package.", metavar="NAME=VALUE")
]
VerifyExtent = Annotated[
    Extent,
    typer.Option(
        "--verify",
        help="How much to verify. none: nothing; quick: metrics; standard: also random circuits and the removal of "
        "single edges, up to about a minute; full: also intervals, other ablations and tests, up to a few minutes.",
    ),
]
VerifyRows = Annotated[
    int | None, typer.Option("--verify-rows", help="Verify on at most this many unseen rows.", metavar="ROWS")
]
MinWorkers = Annotated[
    int | None,
    typer.Option(help="Begin with this many workers; the others join when the cluster has room.", metavar="N"),
]
Out = Annotated[Path | None, typer.Option(help="Run directory; default: a new one under runs/.", metavar="DIR")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, or cuda:0,cuda:1,... to distribute the layers.")]
DTypeName = Annotated[DType, typer.Option("--dtype", help="Floating-point type of the model.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Threads = Annotated[
    int, typer.Option(help="Threads per tensor operation; recorded, because it can change the last bits.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
RunPath = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]


def parameters(command: Callable[..., Any], *kinds: type[SearchOptions]) -> list[inspect.Parameter]:
    """Those of a command, with the methods' own options in place of its `**` parameter: None where not given."""
    theirs = list(inspect.signature(command).parameters.values())
    return [p for p in theirs if p.kind is not inspect.Parameter.VAR_KEYWORD] + _flags(*kinds)


def takes_options(*kinds: type[SearchOptions]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the methods' own options, which it gets in its `**` parameter."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.Signature(
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters(command, *kinds)]
        )
        command.__signature__ = signature  # type: ignore[attr-defined]  # known to inspect, not to the stubs
        command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        return command

    return wrap


def _help(name: str, option: FieldInfo) -> str:
    """Which of acdc's own methods take an option, what it means, and its default."""
    takers = ", ".join(method.name for method in METHODS.built_in.values() if name in method.options.own())
    meaning = str(option.description).removesuffix(".")
    return f"{takers}: {meaning[0].lower()}{meaning[1:]} (default: {option.default})."


def _flags(*kinds: type[SearchOptions]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                Optional[option.annotation],  # noqa: UP045  # which a checker cannot read in the other form
                typer.Option(help=_help(name, option)),
            ],
        )
        for name, option in own_options(*kinds).items()
    ]


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def named_values(pairs: Sequence[str]) -> dict[str, str]:
    """Options by name, of NAME=VALUE each. Raises InputError for anything else."""
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f"--option {pair!r} is not of the form NAME=VALUE")
    return {name.replace("-", "_"): value for name, _, value in (pair.partition("=") for pair in pairs)}


def numbers(option: str, text: str | None) -> list[float] | None:
    """Numbers separated by commas. Raises InputError for anything else."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text!r} is not a list of numbers separated by commas") from None


def one_of(option: str, value: str, known: type[StrEnum]) -> str:
    """A value that has to be one of a few. Raises InputError, naming the option."""
    if value not in set(known):
        raise InputError(f"{option} {value!r} is not one of {', '.join(known)}")
    return value
