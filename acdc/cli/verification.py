"""The commands verify, minimise and diff, and how their results are printed."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
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
    from acdc.artefacts.circuit import Circuit
    from acdc.artefacts.comparison import Comparison
    from acdc.artefacts.roles import RoleComparison
    from acdc.artefacts.verification.interval import Interval
    from acdc.artefacts.verification.report import Report
    from acdc.cli.show_run import RunPrinter
    from acdc.runs.extras import Extras
    from acdc.runs.finished import FinishedRun


Run = Annotated[
    Path | None, typer.Argument(help="Run directory; with --edges, the folder of the new run.", metavar="RUN")
]
ListedEdges = Annotated[
    Path | None,
    typer.Option(
        help="Verify the edges that this file lists, one in a line; needs --model and --task.", metavar="FILE"
    ),
]
Repeats = Annotated[
    int | None, typer.Option(help="Repeat the discovery on this many random quarters of its rows.", metavar="N")
]
Resamples = Annotated[
    int | None, typer.Option(help="Repeat the discovery on this many resamples of all its rows.", metavar="N")
]
Against = Annotated[
    list[Path] | None,
    typer.Option(help="A run of another task in the same model, to ablate each circuit on both.", metavar="RUN"),
]
Rivals = Annotated[
    int | None,
    typer.Option(help="Search this many times for another circuit, without edges of this one.", metavar="N"),
]
OwnDType = Annotated[opt.DType | None, typer.Option("--dtype", help="Must be the run's; default: the run's.")]
OwnSeed = Annotated[int | None, typer.Option(help="Must be the run's; default: the run's.")]


@loads_model
def verify(
    run: Run = None,
    edges: ListedEdges = None,
    model: Annotated[str | None, typer.Option(help="Model; default: the run's.", metavar="MODEL")] = None,
    task: Annotated[str | None, typer.Option(help="Task; default: the run's.", metavar="TASK")] = None,
    extent: opt.VerifyExtent = opt.Extent.full,
    rows: opt.VerifyRows = None,
    stability: Repeats = None,
    bootstraps: Resamples = None,
    against: Against = None,
    rivals: Rivals = None,
    everything: Annotated[bool, typer.Option("--all", help="Print all tables, as 'acdc show' does.")] = False,
    workers: Annotated[int | None, typer.Option(help="Share the work among this many Ray workers.")] = None,
    device: opt.Device = "auto",
    dtype: OwnDType = None,
    seed: OwnSeed = None,
    as_json: opt.Json = False,
) -> None:
    """Verify a run's circuit on the rows that discovery did not use. Continues an earlier verification."""
    from acdc.artefacts.circuit import Circuit
    from acdc.artefacts.feature_circuit import is_feature_circuit
    from acdc.cli.show_run import RunPrinter
    from acdc.runs.extras import Extras, plan_extras

    if edges is not None:
        run = _run_of_edges(edges, run, model, task, device, dtype, seed)
    elif run is None:
        raise InputError("RUN is missing: name a run directory, or give --edges, --model and --task")
    if extent is opt.Extent.none:
        raise InputError("--verify none measures nothing: give quick, standard or full")
    scope = Scope(extent, rows)
    scope.check()
    if is_feature_circuit(run):
        others: dict[str, object] = {
            "--stability": stability,
            "--bootstraps": bootstraps,
            "--against": against,
            "--rivals": rivals,
        }
        others |= {"--workers": workers, "--dtype": dtype, "--seed": seed}
        _verify_features(run, model, task, device, scope, others, everything, as_json)
        return
    circuit = Circuit.load(run)
    _check_own(circuit, dtype, seed)
    extras = Extras(stability, bootstraps, rivals, tuple(against or ()))
    for what in plan_extras(run, extras):
        tell(f"acdc: {what}")
    printer = RunPrinter(as_json)
    done = _verified(run, circuit, _Wanted(model, task, device, scope, extras), workers, printer)
    printer.finish(done, concluded=False)
    if not as_json:
        _print_asked(done, extras, everything)


@dataclass(frozen=True)
class _Wanted:
    """What to verify a run with, and how far."""

    model: str | None
    task: str | None
    device: str
    scope: Scope
    extras: "Extras"


def _verified(
    run: Path, circuit: "Circuit", wanted: _Wanted, workers: int | None, printer: "RunPrinter"
) -> "FinishedRun":
    """The run, verified here, or by so many workers."""
    from acdc.cli.progress import bars
    from acdc.jobs.executors import choose_executor
    from acdc.jobs.verification import verify_on
    from acdc.runs.finish import Finishing, reverify
    from acdc.runs.finished import open_run

    if workers is None:
        how = Finishing(bars, wanted.scope, watch=printer)
        return reverify(run, wanted.model, wanted.task, wanted.device, how, wanted.extras)
    executor = choose_executor(workers, threads=circuit.batch.threads)
    verify_on(executor, run, wanted.model, wanted.task, wanted.device, wanted.scope, wanted.extras)
    return open_run(run)


def _print_asked(done: "FinishedRun", extras: "Extras", everything: bool) -> None:
    """All tables, or those that were asked for besides, and the conclusion."""
    from acdc.cli.console import console
    from acdc.cli.extras import print_extras
    from acdc.cli.show_run import print_conclusion
    from acdc.cli.verified import print_stability, print_verified

    if everything:
        print_verified(done.report, console())
    else:
        if extras.stability and done.report.stability:
            print_stability(done.report.stability, console())
        asked = {"bootstraps": extras.bootstraps, "specificity": extras.against, "rivals": extras.rivals}
        others = {name: None for name, value in asked.items() if not value}
        print_extras(done.report.model_copy(update=others), console())
    print_conclusion(done, complete=everything)


def _verify_features(
    run: Path,
    model: str | None,
    task: str | None,
    device: str,
    scope: Scope,
    others: Mapping[str, object],
    everything: bool,
    as_json: bool,
) -> None:
    """Raises InputError for `others`, options that a circuit of features does not have."""
    from acdc.cli.features import print_features
    from acdc.cli.progress import bars
    from acdc.runs.features import reverify_features

    given = next((option for option, value in others.items() if value is not None), None)
    if given is not None:
        raise InputError(f"{given} does not apply to {run}, which holds a circuit of features")
    done = reverify_features(run, model, task, device, scope, bars)
    print_features(done, as_json, conclusion=True, everything=everything)


def _run_of_edges(
    file: Path,
    out: Path | None,
    model: str | None,
    task: str | None,
    device: str,
    dtype: opt.DType | None,
    seed: int | None,
) -> Path:
    """A new run, unverified so far, of a circuit that is written by hand. Raises InputError without model and task."""
    from acdc.cli.progress import bars
    from acdc.runs.importing import run_import
    from acdc.runs.spec import DiscoveryJob
    from acdc.search.settings import DiscoverySettings

    if model is None or task is None:
        raise InputError("--edges needs --model and --task: a file of edges does not say what it is a circuit of")
    settings = DiscoverySettings(seed=seed or 0)
    job = DiscoveryJob(
        model, task, settings, device=device, dtype=dtype.value if dtype else "float32", verify=opt.Extent.none
    )
    return run_import(file, "csv", job, out, bars).path


@loads_model
def minimise(
    run: opt.RunPath,
    out: opt.Out = None,
    device: opt.Device = "auto",
    dtype: OwnDType = None,
    seed: OwnSeed = None,
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
    first: Annotated[Path, typer.Argument(help="Run directory.", metavar="FIRST")],
    second: Annotated[Path, typer.Argument(help="Run directory to compare it with.", metavar="SECOND")],
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
    Circuits of different models are compared by what their components do, once both are verified in full; see also
    compare."""
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
        reports = load_report(first), load_report(second)
        _check_verified_in_full(dict(zip((first, second), reports, strict=True)))
        roles = compare_roles(circuits[0], reports[0], circuits[1], reports[1])
        say_json(roles.model_dump(mode="json")) if as_json else _print_roles(roles)
        return
    model = load_model(source.model, revision=source.revision, device=device, dtype=circuits[0].dtype)
    comparison = compare(model, load_task(source.task, model), *circuits)
    if as_json:
        say_json(comparison.model_dump(mode="json"))
        return
    units = circuits[0].units
    _print_comparison(comparison, "edges" if units.keep_whole_edges else units.plural)


def _check_verified_in_full(reports: "Mapping[Path, Report]") -> None:
    """Raises InputError for runs whose heads have not been looked at."""
    missing = [shlex.quote(str(run)) for run, report in reports.items() if report.full_verification is None]
    if missing:
        commands = " and ".join(f"'acdc verify {run}'" for run in missing)
        raise InputError(
            f"circuits of different models are compared by what their heads attend to, which a full verification finds "
            f"out: run {commands} first; 'acdc compare' compares circuits of one task in several models"
        )


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

    out, same = console(), not (comparison.edges.first or comparison.edges.second)
    if same:
        out.print(f"the two circuits have the same {comparison.edges.both:,} {units}\n", style="bold")
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


def _percent(interval: "Interval") -> str:
    from acdc.render.verdict import spread

    return spread(interval)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
