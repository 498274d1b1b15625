"""The commands verify, minimise and diff, and how their results are printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import say_json, tell
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.errors import InputError
from acdc.options import Scope
from acdc.words import count_of

if TYPE_CHECKING:
    from rich.console import Console

    from acdc.artefacts.circuit import Circuit
    from acdc.artefacts.comparison import Comparison
    from acdc.artefacts.roles import RoleComparison
    from acdc.artefacts.verification.full_verification import FullVerification
    from acdc.artefacts.verification.interval import Interval
    from acdc.artefacts.verification.mechanism import HeadHint
    from acdc.artefacts.verification.report import Report
    from acdc.artefacts.verification.stability import Stability
    from acdc.artefacts.verification.test_result import TestResult


@loads_model
def verify(
    run: opt.RunPath,
    model: Annotated[str | None, typer.Option(help="Model; default: the run's.", metavar="MODEL")] = None,
    task: Annotated[str | None, typer.Option(help="Task; default: the run's.", metavar="TASK")] = None,
    extent: opt.VerifyExtent = opt.Extent.full,
    rows: opt.VerifyRows = None,
    stability: Annotated[
        int | None, typer.Option(help="Repeat the discovery on this many random quarters of its rows.", metavar="N")
    ] = None,
    bootstraps: Annotated[
        int | None, typer.Option(help="Repeat the discovery on this many resamples of all its rows.", metavar="N")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A run of another task in the same model, to ablate each circuit on both.", metavar="RUN"),
    ] = None,
    rivals: Annotated[
        int | None,
        typer.Option(help="Search this many times for another circuit, without edges of this one.", metavar="N"),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Share the work among this many Ray workers.")] = None,
    device: opt.Device = "auto",
    dtype: Annotated[opt.DType | None, typer.Option("--dtype", help="Must be the run's; default: the run's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Must be the run's; default: the run's.")] = None,
    as_json: opt.Json = False,
) -> None:
    """Verify a run's circuit on the rows that discovery did not use. Continues an earlier verification."""
    from acdc.artefacts.circuit import Circuit
    from acdc.cli import show
    from acdc.cli.extras import print_extras
    from acdc.cli.progress import bars
    from acdc.cli.show_run import RunPrinter
    from acdc.jobs.executors import choose_executor
    from acdc.jobs.verification import verify_on
    from acdc.runs.extras import Extras, plan_extras
    from acdc.runs.finish import Finishing, reverify
    from acdc.runs.finished import open_run

    circuit = Circuit.load(run)
    _check_own(circuit, dtype, seed)
    if extent is opt.Extent.none:
        raise InputError("--verify none measures nothing: give quick, standard or full")
    scope = Scope(extent, rows)
    scope.check()
    extras = Extras(stability, bootstraps, rivals, tuple(against or ()))
    for what in plan_extras(run, extras):
        tell(f"acdc: {what}")
    printer = RunPrinter(as_json)
    if workers is None:
        done = reverify(run, model, task, device, Finishing(bars, scope, watch=printer), extras)
    else:
        executor = choose_executor(workers, threads=circuit.batch.threads)
        verify_on(executor, run, model, task, device, scope, extras)
        done = open_run(run)
    printer.finish(done)
    if not as_json and done.report.full_verification:
        _print_in_full(done.report, done.report.full_verification)
    if not as_json and done.report.stability:
        _print_stability(done.report.stability, show.console())
    if not as_json:
        print_extras(done.report, show.console())


@loads_model
def minimise(
    run: opt.RunPath,
    out: opt.Out = None,
    device: opt.Device = "auto",
    dtype: Annotated[opt.DType | None, typer.Option("--dtype", help="Must be the run's; default: the run's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Must be the run's; default: the run's.")] = None,
    as_json: opt.Json = False,
) -> None:
    """Remove edges from a run's circuit until every edge left is needed on the discovery rows. Writes a new run."""
    from acdc.artefacts.circuit import Circuit
    from acdc.cli.progress import bars
    from acdc.cli.show_run import RunPrinter
    from acdc.runs.finish import Finishing
    from acdc.runs.minimise import run_minimise

    circuit = Circuit.load(run)
    _check_own(circuit, dtype, seed)
    printer = RunPrinter(as_json)
    printer.finish(run_minimise(run, out, device, Finishing(bars, watch=printer)))


@loads_model
def diff(
    first: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    second: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    picture: Annotated[
        Path | None, typer.Option(help="Draw both circuits in one picture: .svg, .dot, .pdf or .png.", metavar="FILE")
    ] = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Give every component of the model a fixed place in the picture.")
    ] = False,
    device: opt.Device = "auto",
    dtype: Annotated[opt.DType | None, typer.Option("--dtype", help="Must be the first run's, the default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Must be the first run's, the default.")] = None,
    as_json: opt.Json = False,
) -> None:
    """Compare the circuits of two runs: edges, nodes, scores, and faithfulness on rows that neither discovery used.
    Circuits of different models are compared by what their components do."""
    from acdc.artefacts.circuit import Circuit
    from acdc.artefacts.roles import compare_roles
    from acdc.files import write_bytes
    from acdc.model.load import load_model
    from acdc.runs.finished import load_report, warn_unverified
    from acdc.runs.run_directory import read_run
    from acdc.task.load import load_task
    from acdc.verification.compare import compare

    source, _ = (read_run(run).source for run in (first, second))
    circuits = Circuit.load(first), Circuit.load(second)
    _check_own(circuits[0], dtype, seed)
    for run in (first, second):
        warn_unverified(run)
    if picture is not None:
        write_bytes(picture, _picture_of_both(circuits, (first, second), picture, fixed))
    elif fixed:
        raise InputError("--fixed needs --picture")
    if circuits[0].model.content_hash != circuits[1].model.content_hash:
        roles = compare_roles(circuits[0], load_report(first), circuits[1], load_report(second))
        say_json(roles.model_dump(mode="json")) if as_json else _print_roles(roles)
        return
    model = load_model(source.model, revision=source.revision, device=device, dtype=circuits[0].dtype)
    comparison = compare(model, load_task(source.task, model), *circuits)
    if as_json:
        say_json(comparison.model_dump(mode="json"))
        return
    units = circuits[0].units
    _print_comparison(comparison, "edges" if units.keep_whole_edges else units.plural)


def _picture_of_both(circuits: "tuple[Circuit, Circuit]", runs: tuple[Path, Path], file: Path, fixed: bool) -> bytes:
    """Named after their folders, as far as these differ. Raises InputError for two that cannot be in one picture."""
    from acdc.render.difference import draw_difference
    from acdc.render.graphviz import format_of, write
    from acdc.render.look import Look

    format, (first, second) = format_of(file), runs
    names = first.resolve().name, second.resolve().name
    if names[0] == names[1]:
        names = (str(first), str(second)) if first != second else ("first", "second")
    return write(draw_difference(*circuits, names, Look(fixed)), format)


def _check_own(circuit: "Circuit", dtype: opt.DType | None, seed: int | None) -> None:
    """Raises InputError for another dtype or seed than a circuit was found with."""
    for name, given, there in (("dtype", dtype and dtype.value, circuit.dtype), ("seed", seed, circuit.seed)):
        if given is not None and given != there:
            raise InputError(f"--{name} {given} is not the run's {there}; leave it out")


def _print_comparison(comparison: "Comparison", units: str) -> None:
    from acdc.cli.console import console

    out = console()
    head = ("", "in both", "first alone", "second alone", "Jaccard")
    overlaps = {units: comparison.edges, "nodes and slots": comparison.nodes}
    rows = [[n, str(o.both), str(o.first), str(o.second), _number(o.jaccard)] for n, o in overlaps.items()]
    print_table(out, "what they share", head, rows)
    if comparison.correlation is not None:
        out.print(f"\nscores of shared {units} correlate with {comparison.correlation:.3f} (Pearson)")
    if comparison.rows:
        title = (
            f"\nfaithfulness in {comparison.metric} under {comparison.ablation} ablation, on "
            f"{count_of(comparison.rows, 'row')} that neither discovery used"
        )
        rows = [[name, _percent(interval)] for name, interval in comparison.faithfulness.items()]
        print_table(out, title, ("circuit", "recovered [95% interval]"), rows)
    else:
        out.print("\nno rows that neither discovery used: faithfulness is not compared")


def _print_roles(comparison: "RoleComparison") -> None:
    from acdc.cli.console import console

    out = console()
    rows = [
        [role, ", ".join(first) or "-", ", ".join(second) or "-"]
        for role, (first, second) in comparison.components.items()
    ]
    print_table(out, "different models, compared by what their components do", ("role", "first", "second"), rows)
    out.print(
        f"\nroles in both: {comparison.roles.both} (Jaccard {_number(comparison.roles.jaccard)}); edges between roles "
        f"in both: {comparison.edges.both} (Jaccard {_number(comparison.edges.jaccard)})",
        soft_wrap=True,
    )


def _print_in_full(report: "Report", full_verification: "FullVerification") -> None:
    """Tables of all that a full verification found, each with what its numbers mean."""
    from acdc.cli.console import console

    out = console()
    if full_verification.sampling is not None:
        out.print(f"\nintervals and tests: {full_verification.sampling.text}", soft_wrap=True)
    _print_claims(report, full_verification, out)
    _print_tests(full_verification.tests, out)
    _print_details(report, full_verification, out)


def _print_claims(report: "Report", full_verification: "FullVerification", out: "Console") -> None:
    """How faithful, complete and minimal the circuit is."""
    from acdc.render.verdict import complete_text, fewer_text, minimal_text, sizes_text

    rows = [[f.ablation, f.metric, _percent(f.denoised), _percent(f.noised)] for f in full_verification.faithfulness]
    head = ("ablation", "metric", "the circuit alone recovers", "ablating it loses")
    print_table(out, "\nfaithfulness: share of the behaviour [95% interval]", head, rows)
    if full_verification.only_under is not None:
        under = ", ".join(full_verification.only_under) or "none"
        out.print(f"faithful in {report.metric} (whole interval between 80% and 120%) only under: {under}")
    if full_verification.completeness:
        out.print(f"\ncompleteness: {complete_text(full_verification.completeness, report.metric)}", soft_wrap=True)
    if full_verification.minimality:
        out.print(f"\nminimality: {minimal_text(full_verification.minimality, report)}", soft_wrap=True)
    if full_verification.over_sizes:
        out.print(f"\nover all sizes: {sizes_text(full_verification.over_sizes)}", soft_wrap=True)
    for name, reason in full_verification.left_out.items():
        out.print(f"not measured: {name}: {reason}", soft_wrap=True)
    if full_verification.fewer_rows:
        out.print(f"\n{fewer_text(full_verification)}", soft_wrap=True)


def _print_tests(tests: "Sequence[TestResult]", out: "Console") -> None:
    """The numbers of each test, then its result in a sentence."""
    from acdc.render.verdict import result_text

    print_table(out, "\ntests, corrected together (Holm), at a level of 5%", TESTS, map(_test, tests))
    for test in tests:
        out.print(f"{test.name}: {result_text(test)}", soft_wrap=True)


def _print_details(report: "Report", full_verification: "FullVerification", out: "Console") -> None:
    """By groups of rows, by heads, and row by row."""
    head: tuple[str, ...]
    if full_verification.groups:
        head = ("rows of", "rows", "recovered [95% interval]", "circuit right", "full model right")
        rows = [
            [g.group, str(g.rows), _percent(g.faithfulness), _share(g.accuracy), _share(g.accuracy_full)]
            for g in full_verification.groups
        ]
        print_table(out, "\ngeneralisation", head, rows)
    if full_verification.hints:
        _print_heads(full_verification.hints, report.metric, out)
    if full_verification.composition:
        strongest = sorted(full_verification.composition, key=lambda c: (c.usual - c.score, c.edge))[:STRONGEST]
        rows = [[c.edge, f"{c.score:.3f}", f"{c.usual:.3f}"] for c in strongest]
        title = (
            "\ncomposition: how much of one head's output the next head reads, by their weights; pairs furthest above "
            "the model's mean"
        )
        print_table(out, title, ("edge", "composition", "model's mean"), rows)
    if full_verification.failures:
        head = ("row", f"{report.metric} of circuit", "of full model", "answer lost")
        rows = [
            [f.row, _number(f.circuit), _number(f.full), {True: "yes", False: "no", None: "?"}[f.wrong]]
            for f in full_verification.failures
        ]
        print_table(out, "\nrows on which the circuit does worst, lost answers first", head, rows)


def _print_heads(hints: "Sequence[HeadHint]", metric: str, out: "Console") -> None:
    """What heads add directly and what their labels rest on, then where they attend."""
    from acdc.render.hints import ADDS, EVIDENCE, LABELS, SHARES, evidence_cells, shares_table

    rows = [[h.id, _number(h.adds.value), *evidence_cells(h)] for h in hints]
    print_table(out, f"\n{ADDS.format(metric=metric)}\n{LABELS}", ("head", f"adds to {metric}", *EVIDENCE), rows)
    for at, text in SHARES.items():
        targets, cells = shares_table(hints, at)
        print_table(out, f"\n{text}", ("head", *targets), [[h.id, *row] for h, row in zip(hints, cells, strict=True)])


STRONGEST = 10
TESTS = ("test", "n", "effect", "p", "corrected p", "result", "power")


def _test(test: "TestResult") -> list[str]:
    if not test.testable:
        return [test.name, str(test.n), "", "", "", "not testable", ""]
    values = (_number(value) for value in (test.effect, test.p, test.adjusted))
    result = f"{test.speaks} the circuit" if test.rejected else "not significant"
    return [test.name, str(test.n), *values, result, _share(test.power)]


def _print_stability(stability: "Stability", out: "Console") -> None:
    from acdc.render.verdict import stable_text

    out.print(f"\nstability: {stable_text(stability)}", soft_wrap=True)
    for what, repeats in (("seeds", stability.seeds), ("templates", stability.templates)):
        if repeats is not None:
            rows = [[repeat.name, str(repeat.edges), _share(repeat.jaccard)] for repeat in repeats.each]
            among = (
                ""
                if repeats.jaccard is None
                else f"; any two share {_share(repeats.jaccard)} of their {stability.what} on average"
            )
            print_table(out, f"\nother {what}{among}", ("discovery", stability.what, "shared with the circuit"), rows)


def _percent(interval: "Interval") -> str:
    from acdc.render.verdict import spread

    return spread(interval)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
