"""The Python interface: load a model and a task, discover a circuit, verify it."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc.arguments import as_arguments, checked
from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.verification import GraphVerification
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.comparison import Comparison
from acdc.artefacts.patching import Direction, PatchRecord
from acdc.artefacts.verification.report import Report
from acdc.behaviour.ablations import Ablation
from acdc.circuit_api import (
    JobPlan,
    SavedRun,
    Scored,
    TaskCheck,
    ablation_of,
    ablations,
    check_task,
    diff,
    formats,
    import_circuit,
    load_model,
    load_run,
    method_of,
    methods,
    metrics,
    minimise,
    models,
    plan,
    save_model,
    score,
    tasks,
)
from acdc.errors import AcdcWarning, InputError
from acdc.feature_api import (
    AblationEffect,
    Explained,
    FeatureCircuit,
    FeatureDictionary,
    Steered,
    Trained,
    ablate_features,
    discover_features,
    draw_features,
    explain,
    load_dictionary,
    steer,
    train_dictionary,
    verify_features,
)
from acdc.jobs.batch import Silent
from acdc.jobs.batch import run_jobs as run_planned_jobs
from acdc.jobs.executors import choose_executor
from acdc.jobs.jobs_file import make_jobs, read_jobs
from acdc.jobs.store import StoredJob
from acdc.model.load import Model
from acdc.options import By, Choosing, Directions, Extent, Level, Scope, choice
from acdc.patching.patch import patch as run_patching
from acdc.patching.settings import PatchSettings, named_sites
from acdc.progress import Progress, automatic, silent
from acdc.prompt_api import Intervened, intervene, load_graph, trace, verify_graph
from acdc.render.difference import draw_difference as draw_both
from acdc.render.look import Look, choose_look
from acdc.render.patching.heat_map import draw as draw_heat_map
from acdc.render.shapes import Picture
from acdc.render.size import size_notes
from acdc.render.views import draw as draw_circuit
from acdc.runs.ranking import rank_by
from acdc.search.discover import Result
from acdc.search.discover import discover as run_discovery
from acdc.search.registry import Method
from acdc.search.settings import DiscoverySettings, check_taken
from acdc.search.sweep import Curve
from acdc.search.sweep import sweep as run_sweep
from acdc.task.load import load_task as load_named_task
from acdc.task.metrics import Metric, MetricFunction, RowBatch
from acdc.task.rows import Task
from acdc.verification.verify import verify as run_verification
from acdc.words import count_of

__all__ = [
    "Ablation",
    "AblationEffect",
    "AttributionGraph",
    "Circuit",
    "Comparison",
    "Curve",
    "Explained",
    "FeatureCircuit",
    "FeatureDictionary",
    "GraphVerification",
    "InputError",
    "Intervened",
    "JobPlan",
    "Method",
    "Metric",
    "MetricFunction",
    "Model",
    "PatchRecord",
    "Picture",
    "Report",
    "Result",
    "RowBatch",
    "SavedRun",
    "Scored",
    "Steered",
    "StoredJob",
    "Task",
    "TaskCheck",
    "Trained",
    "ablate_features",
    "ablations",
    "check_task",
    "diff",
    "discover",
    "discover_features",
    "draw",
    "draw_difference",
    "draw_features",
    "draw_patching",
    "explain",
    "formats",
    "import_circuit",
    "intervene",
    "load_dictionary",
    "load_graph",
    "load_model",
    "load_run",
    "load_task",
    "methods",
    "metrics",
    "minimise",
    "models",
    "patch",
    "plan",
    "run_jobs",
    "save_model",
    "score",
    "silent",
    "steer",
    "sweep",
    "tasks",
    "trace",
    "train_dictionary",
    "verify",
    "verify_features",
    "verify_graph",
]


FEW_ROWS = 8  # below which a verification warns


@checked
def load_task(name_or_path: str | Path, model: Model) -> Task:
    """A task by its name (`acdc.tasks()`), a task file, or a data set, tokenized for a model; `Task.of` takes rows.

    The task's metric is its header's; else squared_error for a model with one output, logit_diff where every row has
    both kinds of answers, else KL. Warns of answers that look like slips. Raises InputError naming the file and row
    that cannot be used.
    """
    return load_named_task(name_or_path, model)


@checked
def discover(
    model: Model,
    task: Task,
    method: str | Method | Callable[..., Any] = "acdc",
    *,
    metric: str | Metric | MetricFunction | None = None,
    ablation: str | Ablation | Callable[..., Any] = "resample",
    threshold: float | None = None,
    edges: int | None = None,
    faithfulness: float | None = None,
    choose: str = "top",
    bootstrap: int = 0,
    hurting: float = 0.0,
    limit: int | None = None,
    batch_size: int = 32,
    split_embeddings: bool = False,
    level: str = "edges",
    direct_edges: bool = False,
    seed: int = 0,
    threads: int = 2,
    progress: Progress = automatic,
    **options: Any,
) -> Result:
    """Find the circuit behind a task in a model.

    `acdc.methods()`, `acdc.metrics()` and `acdc.ablations()` list names; `method` may also be a `Method` or a function
    (behaviour, options, progress) -> Scores, and `ablation` an `Ablation` or a function (behaviour, batch) -> Ablated:
    this process then knows them by their names. Give at most one of `threshold`, `edges` and `faithfulness`. `choose`:
    take the best edges by their scores ("top"), go greedily backwards from the logits ("greedy"), take those that help
    before those that hurt ("signed"), or whole paths from the input to the logits ("paths"); the last two first take
    edges whose sign is certain over so many resamples of the rows (`bootstrap`). `hurting`: the share of a signed
    circuit that is taken from edges that hurt. `metric`: a name, a `Metric`, or a `MetricFunction` that is better if
    larger; by default the task's. `options` are those of the method: `steps` of integrated gradients, `updates` of
    learned masks, `sender_order` of acdc and hybrid, and those that a method of another package declares. Discovery
    uses a random half of the rows (by `seed`), or the first `limit`; `verify` uses the others. Warns of an empty
    circuit, of one that is smaller than was asked for, and where no rows are left. Raises InputError for settings that
    do not fit each other, the model or the task.
    """
    found = method_of(method)
    for name in options:
        check_taken(found, name)
    settings = DiscoverySettings(
        method=found,
        metric=metric,
        ablation=ablation_of(ablation),
        threshold=threshold,
        edges=edges,
        faithfulness=faithfulness,
        choose=choice(Choosing, "choose", choose),
        bootstrap=bootstrap,
        hurting=hurting,
        limit=limit,
        batch_size=batch_size,
        split_embeddings=split_embeddings,
        level=Level.named(level, "level"),
        direct_edges=direct_edges,
        options=options,
        seed=seed,
        threads=threads,
    )
    result = run_discovery(model, task, settings, progress)
    _warn_of(result)
    return result


def _warn_of(result: Result) -> None:
    """Warn, where `discover` was called, of an odd size and where no rows are left."""
    for note in size_notes(result.circuit):
        warnings.warn(as_arguments(note), AcdcWarning, stacklevel=4)
    if not result.circuit.task.verification:
        note = "discovery used all rows, and none are left for acdc.verify: give a smaller limit, or more rows"
        warnings.warn(note, AcdcWarning, stacklevel=4)


@checked
def sweep(
    model: Model,
    task: Task,
    thresholds: Sequence[float] | None = None,
    *,
    metric: str | Metric | MetricFunction | None = None,
    ablation: str = "resample",
    limit: int | None = None,
    batch_size: int = 32,
    split_embeddings: bool = False,
    level: str = "edges",
    direct_edges: bool = False,
    sender_order: str = "descending",
    seed: int = 0,
    threads: int = 2,
    progress: Progress = automatic,
) -> Curve:
    """Run acdc with many thresholds: by default 0.1% to 20% of the metric's range.

    It is a sweep of acdc, so it takes no method: for circuits of several sizes from one scoring, call `discover` with
    another method and `edges`. Returns one point per threshold, in rising order, each with the circuit that `discover`
    finds. Thresholds share work as long as their decisions agree. Raises InputError as `discover` does.
    """
    settings = DiscoverySettings(
        metric=metric,
        ablation=ablation,
        limit=limit,
        batch_size=batch_size,
        split_embeddings=split_embeddings,
        level=Level.named(level, "level"),
        direct_edges=direct_edges,
        options={"sender_order": sender_order},
        seed=seed,
        threads=threads,
    )
    return run_sweep(model, task, settings, thresholds, progress)


@checked
def verify(
    model: Model,
    task: Task,
    circuit: Circuit,
    *,
    metric: Metric | MetricFunction | None = None,
    extent: str = "standard",
    rows: int | None = None,
    scores: Mapping[str, float] | None = None,
    progress: Progress = automatic,
) -> Report:
    """Measure a circuit by ablation on the rows that its discovery did not use.

    `extent`: "quick" measures only its metrics; "standard" also random circuits and the removal of single edges, within
    a budget of about a minute; "full" everything that `acdc verify` measures, including CMD and CPR if `scores` of all
    edges are given (`Result.scores`). `rows`: the largest number of rows to use.
    `metric` is needed only if discovery was given a callable. Raises InputError if the circuit was found with another
    model or task, and for values that measure nothing.
    """
    ranking = None if scores is None else rank_by(circuit, scores)
    found = choice(Extent, "extent", extent)
    if found is Extent.none:
        raise InputError("extent 'none' measures nothing: give quick, standard or full")
    Scope(found, rows).check("rows")
    report = run_verification(
        model, task, circuit, metric=metric, extent=found, most_rows=rows, ranking=ranking, progress=progress
    )
    if 0 < report.rows < FEW_ROWS:
        note = f"verified on {count_of(report.rows, 'row')} only: what is measured on fewer than {FEW_ROWS} says little"
        warnings.warn(note, AcdcWarning, stacklevel=3)
    return report


@checked
def draw(
    shown: Circuit | Result | FeatureCircuit | PatchRecord,
    *,
    fixed: bool = False,
    group: str = "layer",
    report: Report | None = None,
    **around: Any,
) -> Picture:
    """A picture of a circuit, also of features, or the first map of a patching: a notebook shows it, `save` writes it
    as .svg, .dot, .pdf or .png.

    `fixed`: every component of the model has a fixed place, the same in the pictures of all circuits. `group`: "layer",
    or "role", which groups heads that attend to the same place, according to the `report` of a full verification.
    `around`: `detail` ("full" draws every edge, "summary" a map by layer and head with the strongest paths; "auto" is
    the latter above 150 edges), `landscape` (layers run to the right), `legend` ("right", "below" or "none"), `title`
    (False leaves it out), `colours` (of edges: by "input" or by "score") and `names` (of components, by id).
    Raises InputError for another value, and if the report does not say what heads attend to.
    """
    if isinstance(shown, FeatureCircuit | PatchRecord):
        if fixed or group != "layer" or report is not None or around:
            raise InputError("pictures of features and of patching have no options")
        return draw_features(shown) if isinstance(shown, FeatureCircuit) else draw_heat_map(shown.maps[0], shown)
    circuit = shown.circuit if isinstance(shown, Result) else shown
    if not isinstance(circuit, Circuit):
        raise InputError(f"a {type(shown).__name__} is not drawn: give a circuit, a result, or a patching")
    return draw_circuit(circuit, choose_look(circuit, fixed, group, report, **around))


@checked
def draw_difference(
    first: Circuit, second: Circuit, names: tuple[str, str] = ("first", "second"), *, fixed: bool = False
) -> Picture:
    """Two circuits of one model in one picture, with their names: what is in both, and what is in only one.

    Raises InputError for circuits of different models, or of different graphs of one model.
    """
    return draw_both(first, second, names, Look(fixed))


@checked
def patch(
    model: Model,
    task: Task,
    maps: Sequence[str] | None = None,
    *,
    direction: str = "denoise",
    by: str | None = None,
    heads_by_place: bool = False,
    subject: str | None = None,
    noise: float = 3.0,
    samples: int = 10,
    window: int | None = None,
    metric: str | Metric | MetricFunction | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    threads: int = 2,
    progress: Progress = automatic,
) -> PatchRecord:
    """Exact activation patching: run the corrupted prompts with one part of the clean run in them, for every part.

    `maps`: of layers "resid_pre", "resid_mid", "resid_post", "attn_out" and "mlp_out", one effect for each span or
    position; of heads "head" (its output), "q", "k", "v" and "pattern", all positions together unless `heads_by_place`;
    by default all but "resid_mid" and "resid_post". An effect of 0 means that the metric stays that of the run that is
    patched, 1 that it becomes that of the run that the patch is from. `direction`: "denoise" patches clean values into
    the corrupted run, "noise" the other way round, "both" does both. `by`: "spans" or "positions", by default spans if
    the task has them; all tokens of a span are patched together. Rows: the first `limit`, by default as many as a fixed
    number of operations allows.
    `subject`, a span, asks for causal tracing (Meng et al. 2022): in the place of corrupted prompts, the clean ones get
    Gaussian noise on that span's embeddings, with `noise` times their standard deviation, drawn `samples` times; and
    attention and MLP outputs are restored in `window` layers together. Raises InputError for settings that do not fit
    the model or the task.
    """
    settings = PatchSettings(
        sites=None if maps is None else named_sites(maps),
        direction=choice(Directions, "direction", direction),
        by=None if by is None else choice(By, "by", by),
        heads_by_place=heads_by_place,
        subject=subject,
        noise=noise,
        samples=samples,
        window=window,
        metric=metric,
        limit=limit,
        batch_size=batch_size,
        seed=seed,
        threads=threads,
    )
    return run_patching(model, task, settings, progress)


@checked
def draw_patching(record: PatchRecord, map: str = "resid_pre", direction: Direction = "denoise") -> Picture:
    """The heat map of one of the maps that `patch` made. Raises InputError for another one."""
    return draw_heat_map(record.map(map, direction), record)


@checked
def run_jobs(
    jobs: str | Path | Sequence[Mapping[str, Any]],
    out: str | Path,
    *,
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
    address: str | None = None,
    min_workers: int | None = None,
) -> list[StoredJob]:
    """Run many discoveries, each into a run directory in the folder `out`, and return how each of them ended.

    `jobs`: a job file, or tables as in one: their keys are the long options of `acdc discover`, and a list of values
    makes one job per value. Jobs that are finished in `out` are not run again. `workers`: the number of Ray workers, on
    this machine or on the cluster at `address`; None runs one job after another in this process. `min_workers`: on a
    cluster, with so many the first job begins, and the others join when there is room for them; None for all.
    Raises InputErrors, which names everything that is wrong with any job, before the first is run.
    """
    specified = read_jobs(Path(jobs)) if isinstance(jobs, str | Path) else make_jobs({}, jobs, Path())
    if not specified:
        raise InputError("jobs: there must be at least one table")
    threads = max(job.settings.threads for job in specified)
    executor = choose_executor(workers, gpus_per_worker, address, threads, min_workers)
    where = f"{jobs}: " if isinstance(jobs, str | Path) else ""
    return run_planned_jobs(specified, Path(out).resolve(), executor, Silent(), where)
