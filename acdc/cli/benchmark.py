"""The command that tries methods on known circuits, and how its results are shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc.cli import options as opt
from acdc.cli.console import say_json
from acdc.cli.tables import make_table, width_of
from acdc.options import Level
from acdc.search.options import SCORING

if TYPE_CHECKING:
    from acdc.benchmark.run import FinishedBenchmark

WIDTH = 118  # of a table where it is no terminal that shows it
SECOND = 7  # the column that begins a second table where one is too wide


@opt.takes_options(*SCORING)
def benchmark(
    suite: Annotated[str, typer.Option(help="Suite of models; see 'acdc list suites'.")] = "compiled",
    methods: Annotated[
        str | None, typer.Option(help="Names with commas, or all (default: all but learned masks).", metavar="A,B")
    ] = None,
    cases: Annotated[str | None, typer.Option(help="Only cases whose name matches.", metavar="REGEX")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with models/ and tasks/ for published and stories.", metavar="DIR")
    ] = None,
    level: Annotated[
        Level,
        typer.Option(
            help="What known circuits consist of: edges, or edges at single positions, which take longer.",
            parser=Level.named,
            metavar="[edges|positions]",
        ),
    ] = Level.edges,
    option: opt.PluginOptions = None,
    workers: Annotated[
        int | None, typer.Option(help="Run on this many Ray workers (default: in this process).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results (default: runs/benchmark-SUITE, or with -LEVEL).", metavar="DIR"),
    ] = None,
    device: opt.Device = "auto",
    dtype: Annotated[opt.DType | None, typer.Option("--dtype", help="Default: float64 for compiled models.")] = None,
    seed: opt.Seed = 0,
    threads: opt.Threads = 1,
    as_json: opt.Json = False,
    **own: Any,
) -> None:
    """Run methods on models whose circuit is known, and score the circuits that they find."""
    from acdc.benchmark.run import Plan, choose_methods, run_benchmark
    from acdc.benchmark.suites import SUITES
    from acdc.cli.jobs import watching
    from acdc.jobs.executors import choose_executor
    from acdc.search.settings import DiscoverySettings

    settings = DiscoverySettings(
        options={**opt.given(own), **opt.named_values(option or [])}, level=level, seed=seed, threads=threads
    )
    chosen = choose_methods(methods, level)
    plan = Plan(SUITES.find(suite), chosen, settings, data, cases, device, dtype and dtype.value)
    name = f"benchmark-{suite}" if level is Level.edges else f"benchmark-{suite}-{level}"
    folder = (out or Path("runs") / name).resolve()
    executor = choose_executor(workers, threads=threads)
    with watching() as watch:
        done = run_benchmark(plan, folder, executor, watch)
    if as_json:
        say_json({"rows": [row.model_dump(mode="json") for row in done.rows]})
    else:
        _print(done)
    raise typer.Exit(1 if done.failed else 0)


def _print(done: "FinishedBenchmark") -> None:
    """A table for each group of cases, in two where a terminal is too narrow, and what was left out."""
    from acdc.benchmark.summary import HEADER, cells, ranked
    from acdc.cli.console import console

    out = console()
    if not out.is_terminal:
        out.width = max(out.width, WIDTH)
    for group, lines in done.summary.groups.items():
        rows = [list(cells(line)) for line in ranked(lines)]
        whole = width_of(HEADER, rows) <= out.width
        out.print(group.name, style="bold")
        for place in [range(len(HEADER))] if whole else [range(SECOND), [0, *range(SECOND, len(HEADER))]]:
            shown = [[row[i] for i in place] for row in rows]
            out.print(make_table([HEADER[i] for i in place], shown, out.width))
            out.print()
    if done.summary.broken:
        out.print(f"left out because these models no longer do their task: {', '.join(done.summary.broken)}")
    for case, method, reason in done.summary.missing:
        out.print(f"not run: {case}, {method}: {reason}", soft_wrap=True)
    for job in done.failed:
        out.print(f"{job.name} failed: {job.error}", soft_wrap=True)
    out.print(f"results  {done.out}", soft_wrap=True)
