"""The command compare: which roles circuits of one task share over models."""

from pathlib import Path
from typing import Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import say_json, tell
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table


@loads_model
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, two or more.", metavar="RUN...")],
    unrelated: Annotated[
        list[Path] | None,
        typer.Option(help="A run of another task, to see what circuits have in common anyway.", metavar="RUN"),
    ] = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Compare the circuits of one task in several models by the roles of their components: where heads attend, what
    components do to the metric, and how deep they are."""
    from acdc.cli.console import console
    from acdc.cli.progress import bars
    from acdc.render.universality import ROLES, pair_texts, roles_table, unrelated_text, verdict_text
    from acdc.runs.universality import check_runs, compare_runs

    others = tuple(unrelated or ())
    tell(f"acdc: {check_runs(runs, others)}")
    found = compare_runs(runs, others, device, seed, bars)
    if as_json:
        say_json(found.model_dump(mode="json"))
        return
    out = console()
    print_table(out, ROLES, *roles_table(found))
    out.print()
    for text in (*pair_texts(found), unrelated_text(found), verdict_text(found)):
        out.print(text, soft_wrap=True)
