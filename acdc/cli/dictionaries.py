"""The command that says what a dictionary holds and how well it reconstructs: dictionaries."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.errors import InputError

if TYPE_CHECKING:
    from acdc.dictionaries.dictionary import Dictionary
    from acdc.dictionaries.quality import Quality

Folder = Annotated[Path, typer.Argument(help="Folder of a dictionary, in any known format.", metavar="FOLDER")]
Text = Annotated[Path | None, typer.Option("--text", help="UTF-8 text whose tokens are read.", metavar="FILE")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", help="Read the prompts of this task; can be repeated.", metavar="TASK")
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", help="Hold at most this much of a dictionary, such as 2GiB, and read the rest when it is needed."
    ),
]
Hooks = Annotated[
    str | None,
    typer.Option(
        "--hook",
        help="Where the features read, such as resid_post3, or read and write, such as mlp_in3,mlp_out3, for files "
        "that do not say it.",
        metavar="PLACE",
    ),
]


@loads_model
def dictionaries(
    folder: Folder,
    model: Annotated[
        str | None, typer.Option("--model", help="Measure how well it reconstructs this model.", metavar="MODEL")
    ] = None,
    text: Text = None,
    task: Tasks = None,
    hook: Hooks = None,
    memory: Memory = None,
    write: Annotated[
        str | None, typer.Option("--write", help="Write it in this format: circuit-tracer or sae-lens.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write it into.", metavar="DIR")] = None,
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Say what a dictionary of features holds, and with --model how well it reconstructs. Ignores --seed."""
    from acdc.cli.progress import bars
    from acdc.dictionaries.corpus import open_corpus
    from acdc.dictionaries.open import WRITERS, open_for, read_dictionary
    from acdc.dictionaries.quality import check_reconstructs, measure_quality, usual_prompts
    from acdc.model.load import load_model

    if (write is None) != (out is None) or (write is not None and write not in WRITERS):
        raise InputError(f"--write takes {' or '.join(WRITERS)}, and --out the folder to write into: give both or none")
    if model is None and (text is not None or task):
        raise InputError("--text and --task are prompts for a model: give --model, too")
    hooks, limit = parse_hooks(hook), parse_memory(memory)
    quality: list[Quality] = []
    if model is None:
        found = read_dictionary(folder, memory=limit, hooks=hooks)
    else:
        loaded = load_model(model, revision=revision, device=device, dtype=dtype.value)
        prompts = usual_prompts(open_corpus(loaded, text, task or ()).prompts())
        found = open_for(folder, loaded, memory=limit, hooks=hooks)
        quality = measure_quality(found, loaded, prompts, bars)
    print_dictionary(found, quality, as_json)
    if model is not None:
        check_reconstructs(found, loaded, prompts, quality)
    if write is not None and out is not None:
        check_empty(out)
        made = WRITERS[write].write(found, out)
        if not as_json:
            console().print(f"\nwrote {len(made)} files in {out}", soft_wrap=True)


def parse_hooks(text: str | None) -> list:
    """The places of --hook. Raises InputError for what is none."""
    from acdc.dictionaries.hooks import Hook

    return [] if text is None else [Hook.parse(part.strip()) for part in text.split(",")]


def parse_memory(text: str | None) -> int | None:
    """The bytes of --memory. Raises InputError for what is none."""
    from acdc.dictionaries.sizes import parse_bytes

    return None if text is None else parse_bytes(text)


def check_empty(folder: Path) -> None:
    """Raises InputError where a folder holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--out {folder} is there and not an empty folder: give another one")


def print_dictionary(found: "Dictionary", quality: "list[Quality]", as_json: bool) -> None:
    """Its sets of features, with figures where they were measured."""
    if as_json:
        say_json(_record(found, quality))
        return
    out = console()
    of = "" if found.model_name is None else f" of {found.model_name}"
    out.print(f"{found.name}: {found.kind}s{of}, {found.size:,} features ({found.format})", style="bold")
    print_table(
        out,
        "",
        ["reads", "writes", "features", "activation", "skip", *(QUALITY if quality else ())],
        _rows(found, quality),
    )


QUALITY = ("unexplained", "L0", "dead")


def _rows(found: "Dictionary", quality: "list[Quality]") -> list[list[str]]:
    rows = []
    for place, one in enumerate(found.sets):
        writes = str(one.writes[0]) if len(one.writes) == 1 else f"{one.writes[0]} to {one.writes[-1]}"
        row = [str(one.reads), writes, f"{one.size:,}", one.activation.describe(), "no" if one.skip is None else "yes"]
        rows.append(row + (quality_cells(quality[place]) if quality else []))
    return rows


def quality_cells(one: "Quality") -> list[str]:
    return [f"{one.unexplained:.2%}", f"{one.l0:.1f}", f"{one.dead:,}"]


def _record(found: "Dictionary", quality: "list[Quality]") -> dict:
    sets = []
    for place, one in enumerate(found.sets):
        figures = (
            {}
            if not quality
            else {"unexplained": quality[place].unexplained, "l0": quality[place].l0, "dead": quality[place].dead}
        )
        sets.append(
            {
                "reads": str(one.reads),
                "writes": [str(hook) for hook in one.writes],
                "kind": one.kind,
                "features": one.size,
                "activation": one.activation.describe(),
                "normalisation": one.normalisation.value,
                "skip": one.skip is not None,
                **figures,
            }
        )
    return {"name": found.name, "format": found.format, "model": found.model_name, "sets": sets}
