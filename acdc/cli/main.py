"""The `acdc` command: every subcommand, and how errors reach the user."""

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc.cli import options as opt
from acdc.cli import targets, usage
from acdc.cli.ablate import ablate
from acdc.cli.benchmark import benchmark
from acdc.cli.compare import compare
from acdc.cli.console import Enough, say, tell
from acdc.cli.dictionaries import dictionaries
from acdc.cli.exchange import export, import_
from acdc.cli.explain import explain
from acdc.cli.features import (
    ByPosition,
    Dictionary,
    ErrorNodes,
    Hook,
    Memory,
    Nodes,
    check_not_of_features,
    discover_features,
    print_features,
)
from acdc.cli.interrupts import Interruptible, tell_interrupted
from acdc.cli.intervene import intervene
from acdc.cli.job_options import CHOOSING, DECIDING, SCORING, SEARCHING, SIZING, VERIFYING, takes_job
from acdc.cli.opening import open_
from acdc.cli.patch import patch
from acdc.cli.progress import warn
from acdc.cli.steer import steer
from acdc.cli.trace import trace
from acdc.cli.train_dictionary import train_dictionary
from acdc.cli.verification import diff, minimise, verify
from acdc.errors import AcdcWarning, InputError, InputErrors, is_out_of_memory, printable, telling
from acdc.files import check_text
from acdc.idle_threads import short_waits

if TYPE_CHECKING:
    from acdc.runs.spec import DiscoveryJob

MOST_CHARACTERS = 1500  # of an error

app = typer.Typer(
    name="acdc",
    help="Find, verify and draw the circuit behind a behaviour of a transformer.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


PREPARE, FIND = "Prepare", "Find and verify circuits"
UNDERSTAND, FEATURES = "Look at circuits and models", "Features of dictionaries"
EXCHANGE, JOBS = "Pictures and other tools", "Many jobs"


def command(panel: str, example: str, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command, in a group of the help, with an example in its own."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        text, shown = usage.paragraphs(function), f"Example: {example}"
        return app.command(name, help=text, rich_help_panel=panel, epilog=shown)(function)

    return register


def _say_version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        say(f"acdc {metadata.version('acdc')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Find, verify and draw the circuit behind a behaviour of a transformer."""


@command(FIND, "acdc discover --model trio --task ioi --out ioi")
@takes_job(features=discover_features)
def discover(
    job: "DiscoveryJob",
    given: frozenset[str],
    dictionary: Dictionary = None,
    nodes: Nodes = None,
    errors: ErrorNodes = None,
    by_position: ByPosition = False,
    hook: Hook = None,
    memory: Memory = None,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> None:
    """Find a circuit, draw it and verify it on unseen rows."""
    from acdc.cli.progress import bars
    from acdc.cli.show_run import RunPrinter
    from acdc.runs.discovery import run_discovery

    check_not_of_features(given)
    printer = RunPrinter(as_json)
    printer.finish(run_discovery(job, out, bars, watch=printer))


@command(FIND, "acdc plan --task ioi --method eap-ig-inputs")
@takes_job(told=True)
def plan(
    job: "DiscoveryJob",
    given: frozenset[str],
    jobs: Annotated[
        Path | None, typer.Argument(help="A job file, as for run, to plan in place of one discovery.", metavar="[JOBS]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Accepted as in discover; a plan writes no files.")] = None,
    probing: Annotated[
        bool,
        typer.Option("--probe/--no-probe", help="acdc: load the model and run a short search to estimate the time."),
    ] = True,
    machine: Annotated[
        str | None,
        typer.Option(
            help="Plan for GPUs that are not here: a100, h100 or h200, several as 8xh100, a part of one as 0.5xh100, "
            "with speeds as assumed.",
            metavar="GPUS",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="With JOBS: this many workers, each with the machine to itself.", metavar="N")
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Estimate the time and memory of a discovery, or of all jobs of a file. For the method acdc, load the model and
    run a short search."""
    from acdc.cli.plan import announce, print_jobs_plan, print_plan
    from acdc.cli.progress import bars
    from acdc.jobs.jobs_file import read_jobs
    from acdc.jobs.makespan import plan_file
    from acdc.planning.job_plan import plan_job
    from acdc.planning.machines import Machine

    there = None if machine is None else Machine.parse(machine)
    if jobs is None:
        if workers is not None:
            raise InputError("--workers needs a job file: a single discovery is planned for one process")
        print_plan(plan_job(job, probing, announce, bars, there), as_json)
        return
    own = {"jobs", "out", "probing", "machine", "workers", "as_json"}
    if others := sorted(given - own):
        raise InputError(f"--{others[0].replace('_', '-')} does not go with a job file: write it into {jobs}")
    print_jobs_plan(plan_file(read_jobs(jobs), workers, there, probing, announce, bars, f"{jobs}: "), jobs, as_json)


@command(FIND, "acdc sweep --task induction --thresholds 0.1,1,5")
@takes_job(without=("method", "propose", "option", *SIZING, *SCORING, *VERIFYING))
def sweep(
    job: "DiscoveryJob",
    thresholds: Annotated[
        str | None,
        typer.Option(help="Thresholds of acdc, separated by commas (default: 0.1% to 20% of the metric's range)."),
    ] = None,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> None:
    """Run acdc with many thresholds, to compare the size of a circuit with its faithfulness."""
    from acdc.cli import show
    from acdc.cli.progress import bars
    from acdc.runs.sweep import run_sweep

    show.print_curve(run_sweep(job, opt.numbers("--thresholds", thresholds), out, bars), as_json)


@command(FIND, "acdc score --task ioi --method eap --out scores")
@takes_job(without=(*CHOOSING, *DECIDING, *VERIFYING), method="eap")
def score(job: "DiscoveryJob", out: opt.Out = None, as_json: opt.Json = False) -> None:
    """Score every edge without choosing a circuit, on all rows of a task or the first ROWS."""
    from acdc.cli import show
    from acdc.cli.progress import bars
    from acdc.runs.discovery import run_scoring

    path, record = run_scoring(job, out, bars)
    show.print_scores(path, record, as_json)


@command(JOBS, "acdc run jobs.toml --out my-jobs")
def run(
    jobs: Annotated[
        Path,
        typer.Argument(
            help=opt.literal("TOML file: [defaults] and [[jobs]] with the options of discover."), metavar="JOBS"
        ),
    ],
    workers: Annotated[
        int | None,
        typer.Option(help="Run on this many Ray workers (default: in this process, one job after another)."),
    ] = None,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs for each worker; can be a fraction of one.")] = 0.0,
    address: Annotated[
        str | None, typer.Option(help="Use this running Ray cluster, from one of its machines: auto, HOST:PORT.")
    ] = None,
    min_workers: opt.MinWorkers = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run directories (default: runs/ and the file's name).")
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Run the jobs of a file. Finished jobs in the folder are not run again."""
    from acdc.cli.jobs import print_jobs, watching
    from acdc.jobs.batch import run_jobs
    from acdc.jobs.executors import choose_executor
    from acdc.jobs.jobs_file import read_jobs
    from acdc.jobs.state import describe
    from acdc.jobs.store import Status

    specified = read_jobs(jobs)
    folder = (out or Path("runs") / jobs.stem).resolve()
    threads = max(job.settings.threads for job in specified)
    executor = choose_executor(workers, gpus_per_worker, address, threads, min_workers)
    with watching() as watch:
        ended = run_jobs(specified, folder, executor, watch, f"{jobs}: ")
    print_jobs(describe(folder, ended, driven=False), as_json)
    raise typer.Exit(0 if all(job.status is Status.done for job in ended) else 1)


@command(UNDERSTAND, "acdc show runs/ioi-trio-acdc-001")
def show(
    run: opt.RunPath,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Print the result of a run, or an attribution graph."""
    from acdc.artefacts.attribution.store import is_trace
    from acdc.artefacts.feature_circuit import is_feature_circuit
    from acdc.artefacts.intervention import FILE_NAME, read_intervened
    from acdc.cli.console import console
    from acdc.cli.show_run import RunPrinter, print_conclusion
    from acdc.cli.verified import print_verified
    from acdc.files import is_there
    from acdc.runs.finished import open_run
    from acdc.runs.run_directory import read_run

    if is_trace(run):
        from acdc.cli.trace import print_trace
        from acdc.runs.traced import open_trace

        print_trace(open_trace(run), as_json)
        return
    if is_feature_circuit(run):
        from acdc.runs.finished_features import open_features

        print_features(open_features(run), as_json, conclusion=True, everything=True)
        return
    if is_there(run / FILE_NAME):
        from acdc.cli.intervene import print_interventions

        print_interventions(read_intervened(run), run, as_json, resumed=True)
        return
    if read_run(run).kind == "score":
        from acdc.cli.show import print_scores
        from acdc.runs.score_files import read_score_run, scores_path

        record, scores = read_score_run(run)
        print_scores(scores_path(run) or run, record.model_dump(mode="json") | {"edges": scores}, as_json)
        return
    found = open_run(run)
    RunPrinter(as_json).finish(found, concluded=not found.report.rows)
    if not as_json and found.report.rows:
        print_verified(found.report, console())
        print_conclusion(found, complete=True)


@command(PREPARE, "acdc list methods", name="list")
def list_(
    what: Annotated[opt.Listing, typer.Argument(help="What to list.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the runs.", metavar="DIR")] = Path("runs"),
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """List models, tasks, methods, suites, formats or runs."""
    from acdc.cli import listing

    listing.print_listing(what.value, out, as_json)


@command(PREPARE, "acdc check-task ioi --model trio", name="check-task")
@takes_job(without=("task", *SEARCHING, *SCORING, *CHOOSING, *DECIDING, *VERIFYING), batch_size=256)
def check_task(
    job: "DiscoveryJob",
    task: Annotated[str, typer.Argument(help="Bundled name, task file, or data set hf:NAME:SPLIT.", metavar="TASK")],
    as_json: opt.Json = False,
) -> None:
    """Check that a task fits a model, and measure how well the model does it."""
    from acdc.cli import show
    from acdc.runs.check_task import check

    show.print_check(check(replace(job, task=task)), as_json)


command(UNDERSTAND, 'acdc trace --model trio --prompt "When Mary and John went to the store"')(trace)
command(UNDERSTAND, 'acdc intervene --model trio --prompt "Then Anna and Paul" --set a1.h0=0')(intervene)
command(UNDERSTAND, "acdc explain m3.n244 --task greater_than")(explain)
command(UNDERSTAND, "acdc steer --at resid_post1@S2 --task ioi --pairs ioi --out curve")(steer)
command(UNDERSTAND, "acdc open runs/ioi-trio-acdc-001", name="open")(open_)
command(FIND, "acdc verify runs/ioi-trio-acdc-001 --all")(verify)
command(FIND, "acdc minimise runs/ioi-trio-acdc-001 --out smaller")(minimise)
command(UNDERSTAND, "acdc diff first second --picture both.svg")(diff)
command(UNDERSTAND, "acdc compare first second third")(compare)
command(UNDERSTAND, "acdc patch trio ioi")(patch)
command(EXCHANGE, "acdc export runs/ioi-trio-acdc-001 --format pdf --out figures/ioi.pdf")(export)
command(EXCHANGE, "acdc import graph.json --format eap-ig --task ioi --edges 40", name="import")(import_)
command(JOBS, "acdc benchmark --suite compiled --methods acdc,eap")(benchmark)
command(FEATURES, "acdc dictionaries trio-transcoders --model trio --task ioi")(dictionaries)
command(FEATURES, "acdc train-dictionary --task induction --out mine", name="train-dictionary")(train_dictionary)
command(FEATURES, "acdc ablate found --features m3.f444 --out off.json")(ablate)


@app.command(
    "feature-circuit", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
)
def feature_circuit() -> None:
    """What is now a level of discover."""
    raise InputError("feature-circuit is now 'acdc discover --level features --dictionary FOLDER'")


for function, example in targets.COMMANDS.items():
    command(JOBS, example)(function)


def main() -> None:
    """Run the command line; bad input ends with one sentence on stderr and exit code 2."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for what its encoding does not have
    os.environ.update(short_waits(os.environ))
    warnings.simplefilter("always", AcdcWarning)
    warnings.showwarning = telling(warn)
    usage_error: Any = typer.BadParameter.__base__  # that of click, which typer gives no name
    interruptible = Interruptible()
    try:
        _check_words(sys.argv[1:])
        with interruptible:
            _check_names()
            status = app(standalone_mode=False)
            sys.stdout.flush()
    except InputError as error:
        for problem in error.problems if isinstance(error, InputErrors) else [str(error)]:
            status = _fail(problem)
    except usage_error as error:
        status = _fail(usage.sentence(error))
    except (Enough, BrokenPipeError):
        _silence()
        status = 0
    except SystemExit:
        if not {"-h", "--help"} & set(sys.argv):
            raise
        _silence()  # typer prints the help itself, and ends so where nobody reads on
        status = 0
    except OSError as error:
        status = _fail(f"{error.filename or 'standard output'}: {error.strerror or error}")
        _silence()
    except KeyboardInterrupt:
        status = 130
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        status = _fail("out of memory: use a smaller --batch-size or --limit")
    if interruptible.status is not None:
        tell_interrupted()
        status = interruptible.status
    sys.exit(status if isinstance(status, int) else 0)


def _check_words(words: Sequence[str]) -> None:
    """Raises InputError for an empty word, which as a path would be the current folder."""
    for before, word in zip(["", *words], words, strict=False):
        name, given, value = word.partition("=")
        if not word.strip() or (name.startswith("--") and given and not value.strip()):
            what = name if given else before if before.startswith("-") else "an argument"
            raise InputError(f"{what} is empty: give it a value or leave it out")


def _fail(message: str) -> int:
    tell(f"acdc: error: {_of_readable_length(printable(message))}")
    return 2


def _of_readable_length(sentence: str) -> str:
    """A sentence without the middle of what it quotes, where that is a whole file."""
    return sentence if len(sentence) <= MOST_CHARACTERS else f"{sentence[:700]} ... {sentence[-200:]}"


def _silence() -> None:
    """Point stdout elsewhere, so that closing it does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_names() -> None:
    """Raises InputError for names of files that are no text: runs record the names of what they depend on."""
    for word in (*sys.argv[1:], str(Path.cwd())):
        check_text(word)
