"""The Python interface to what surrounds a discovery: scores, comparisons, checks, plans, other tools' files, names."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc.arguments import checked
from acdc.artefacts.circuit import SIGN_CONVENTION, Circuit
from acdc.artefacts.comparison import Comparison
from acdc.artefacts.scores import Scores
from acdc.behaviour.ablations import ABLATIONS, Ablation
from acdc.display import Tabled
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.model.from_memory import load_from_memory
from acdc.model.from_memory import save_model as write_model
from acdc.model.load import Model
from acdc.model.load import load_model as load_named
from acdc.model.sources import BUNDLED, PACKAGED
from acdc.options import DEFAULT_THREADS, Extent, Level, choice
from acdc.planning.job_plan import JobPlan, plan_job
from acdc.progress import Progress, automatic
from acdc.runs.check_task import TaskCheck, check_loaded
from acdc.runs.exchange import FORMATS
from acdc.runs.minimise import minimal_circuit
from acdc.runs.saved import SavedRun, read_circuit
from acdc.runs.saved import load_run as read_saved
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import bind, edge_scores, prepare
from acdc.search.registry import METHODS, Method
from acdc.search.settings import DiscoverySettings, check_taken
from acdc.task.metrics import METRICS, Metric, MetricFunction
from acdc.task.registry import TASKS
from acdc.task.rows import Task
from acdc.verification.binding import check_same
from acdc.verification.compare import compare


@checked
def load_model(
    model: Any, *, revision: str | None = None, device: str = "auto", dtype: str = "float32", tokenizer: Any = None
) -> Model:
    """Load a model by its name (`acdc.models()`), path or hub name; its layers spread over `device` if that names
    several.

    `model` may also be a model of transformers, or a TransformerBridge of TransformerLens 4: it is written to a
    temporary folder, loaded from there, and must give the same logits; `tokenizer` goes with it, where it has none of
    its own. Raises InputError when it cannot be found or read, its family is not supported, or its components do not
    reproduce the bridge on a probe batch.
    """
    if isinstance(model, str | Path):
        if tokenizer is not None:
            raise InputError("tokenizer goes with a model that is given itself: a folder has its own")
        return load_named(str(model), revision=revision, device=device, dtype=dtype)
    if revision is not None:
        raise InputError("revision is of a model on the hub")
    return load_from_memory(model, device, dtype, tokenizer)


@checked
def save_model(model: Any, folder: str | Path, *, tokenizer: Any = None) -> None:
    """Write a model of transformers, or a TransformerBridge, into a folder that `load_model` and the command line take.

    Raises InputError for anything else, and where the folder holds a model already.
    """
    write_model(model, folder, tokenizer)


def method_of(given: str | Method | Callable[..., Any]) -> Method:
    """A method by its name, or one of a caller's, which this process then knows by its name."""
    if isinstance(given, str):
        return METHODS.find(given)
    if callable(given) and not isinstance(given, Method):
        given = Method(*_named(given, "method"))
    return given if given in METHODS.values() else METHODS.add(given)


def ablation_of(given: str | Ablation | Callable[..., Any]) -> str:
    """The name of an ablation, or of one of a caller's, which this process then knows by its name."""
    if isinstance(given, str):
        return given
    if callable(given) and not isinstance(given, Ablation):
        name, function, summary = _named(given, "ablation")
        given = Ablation(name, summary, function, has_within_head=False)
    return (given if given in ABLATIONS.values() else ABLATIONS.add(given)).name


def _named(function: Callable[..., Any], noun: str) -> tuple[str, Callable[..., Any], str]:
    """(name, the function, the first line of what it says of itself)."""
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise InputError(f"a function without a name is no {noun}: define it with def, or give a {noun.capitalize()}")
    return name, function, _first_line(function, "a function of the user's")


def _first_line(thing: object, otherwise: str) -> str:
    return next(iter((thing.__doc__ or "").strip().splitlines()), otherwise)


@dataclass(frozen=True, repr=False)
class Scored(Tabled):
    """The score of every edge by its id, on all rows of a task or the first `limit`; see `sign_convention`."""

    task: str
    model: str
    method: str
    metric: str
    sign_convention: str
    scores: Mapping[str, float]

    def summary(self) -> str:
        return f"{self.task} in {self.model}, {self.method}, {self.metric}, {len(self.scores):,} edges"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each `edge` with its `score`."""
        return ({"edge": name, "score": score} for name, score in self.scores.items())


@checked
def score(
    model: Model,
    task: Task,
    method: str | Method | Callable[..., Any] = "eap-ig-inputs",
    *,
    metric: str | Metric | MetricFunction | None = None,
    ablation: str | Ablation | Callable[..., Any] = "resample",
    limit: int | None = None,
    batch_size: int = 32,
    split_embeddings: bool = False,
    seed: int = 0,
    threads: int = DEFAULT_THREADS,
    progress: Progress = automatic,
    **options: Any,
) -> Scored:
    """Score every edge, without choosing a circuit: `discover` does both, on half of the rows.

    Raises InputError for a method that decides edge by edge, as acdc does, and as `discover` does.
    """
    found = method_of(method)
    for name in options:
        check_taken(found, name)
    settings = DiscoverySettings(
        found,
        metric,
        ablation_of(ablation),
        limit=limit,
        batch_size=batch_size,
        split_embeddings=split_embeddings,
        options=options,
        seed=seed,
        threads=threads,
    )
    if found.decides:
        raise InputError(f"method {found.name!r} decides edge by edge and gives no scores: use discover")
    prepare(model, task, settings)
    with fixed_threads(threads):
        behaviour = bind(model, task, settings, range(min(limit or len(task.rows), len(task.rows))))
        scores = found.run(behaviour, settings.search_options, progress)
        assert isinstance(scores, Scores)  # what decides was refused
        every = edge_scores(behaviour, scores)
    said = SIGN_CONVENTION[scores.kind]
    return Scored(task.name, model.name, found.name, behaviour.metric.name, said, every)


@checked
def diff(model: Model, task: Task, first: Circuit, second: Circuit) -> Comparison:
    """Which edges two circuits of a task share, and how faithful each is, both together, and what they share.

    `faithfulness` has these as "first", "second", "union" and "intersection", by the metric and under the ablation of
    the first, with 95% intervals, on the rows that neither discovery used. Raises InputError for circuits of different
    models, tasks or graphs.
    """
    return compare(model, task, first, second)


@checked
def minimise(model: Model, task: Task, circuit: Circuit, *, progress: Progress = automatic) -> Circuit:
    """A part of a circuit that is as good on the rows that it was found on, and none of whose edges can leave alone.

    As good: its metric is worse by at most 0.1% of what lies between full model and empty circuit. Raises InputError
    for circuits of other units than edges, or edges at positions, and for a metric of a user's.
    """
    if not circuit.units.count_as_edges:
        raise InputError(f"only circuits of edges or positions are minimised, not of {circuit.level}")
    if circuit.metric not in METRICS:
        raise InputError(f"the circuit was found with a user-defined metric, {circuit.metric!r}")
    check_same(model, task, circuit)
    return minimal_circuit(model, task, circuit, progress)


@checked
def check_task(
    model: Model, task: Task, *, metric: str | None = None, batch_size: int = 32, seed: int = 0
) -> TaskCheck:
    """What the plain model does on a task: every metric on clean and corrupted prompts, and what is suspicious
    (`warnings`), such as a model that gives wrong answers. Raises InputError for a metric that does not fit."""
    settings = DiscoverySettings(metric=metric, batch_size=batch_size, seed=seed)
    settings.check()
    return check_loaded(model, task, settings)


@checked
def plan(
    model: str,
    task: str | Path,
    method: str | Method = "acdc",
    *,
    device: str = "auto",
    dtype: str = "float32",
    verify: str = "standard",
    probe: bool = True,
    progress: Progress = automatic,
    **settings: Any,
) -> JobPlan:
    """How long `discover` would take on this machine, and how much memory: `seconds`, `peak` and more.

    `model` and `task` are names or paths, as nothing but a model's configuration is read; `probe`: acdc is tried for a
    short while, for which the model is loaded. `settings`: `edges`, `limit` and others of `discover`. Raises InputError
    as `discover` does.
    """
    if not isinstance(model, str):
        raise InputError(f"a plan is made from a model's name or folder, not from a {type(model).__name__}")
    found = method_of(method)
    own = {name: settings.pop(name) for name in list(settings) if name in found.options.own()}
    try:
        chosen = DiscoverySettings(method=found, options=own, **settings)
    except TypeError as error:
        raise InputError(f"a discovery has no such setting: {error}") from None
    job = DiscoveryJob(model, str(task), chosen, None, device, dtype, choice(Extent, "verify", verify))
    return plan_job(job, probe, progress=progress)


@checked
def import_circuit(
    model: Model,
    task: Task,
    file: str | Path,
    format: str,
    *,
    edges: int | None = None,
    threshold: float | None = None,
    faithfulness: float | None = None,
    metric: str | None = None,
    ablation: str = "resample",
    level: str = "edges",
    limit: int | None = None,
    seed: int = 0,
) -> Circuit:
    """The circuit in a file of another tool (`acdc.formats()`), or one chosen from its scores by `edges`, `threshold`
    or `faithfulness`; `circuit.method.imported.lost` says what was lost.

    The rows are split as a discovery splits them. Raises InputError for a file that is none of its format or does not
    fit the model.
    """
    settings = DiscoverySettings(
        metric=metric,
        ablation=ablation,
        threshold=threshold,
        edges=edges,
        faithfulness=faithfulness,
        limit=limit,
        level=Level.named(level, "level"),
        seed=seed,
    )
    return read_circuit(model, task, Path(file), format, settings).circuit


@checked
def load_run(path: str | Path) -> SavedRun:
    """What a run of the command line, or a folder that `result.save` wrote, holds: `circuit`, `report` and `scores`,
    None for what it has none of. Raises InputError for what is none of these, and for damaged files."""
    return read_saved(Path(path))


def models() -> dict[str, str]:
    """Names of models, and what they are; `load_model` takes folders and names of the hub too."""
    found = {name: one.title if one.folder else f"{one.title}: {one.how_to_install}" for name, one in PACKAGED.items()}
    return dict.fromkeys(BUNDLED, "bundled") | found


def tasks() -> dict[str, str]:
    """Names of tasks, and what they are."""
    return {name: one.summary for name, one in TASKS.items()}


def methods() -> dict[str, str]:
    """Names of methods of `discover`, and what they do."""
    return {name: one.summary for name, one in METHODS.items()}


def metrics() -> dict[str, str]:
    """Names of metrics, and what they measure."""
    return {name: _first_line(one.function, "a metric of the user's") for name, one in METRICS.items()}


def ablations() -> dict[str, str]:
    """Names of ablations, and what removed edges carry under them."""
    return {name: one.summary for name, one in ABLATIONS.items()}


def formats() -> dict[str, str]:
    """Names of formats of files, and what they hold; those that `circuit.export` and `import_circuit` take."""
    return {name: one.summary for name, one in FORMATS.items()}
