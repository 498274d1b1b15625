"""Find a circuit: split the rows, search, choose, and bind the result to everything that it depends on."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from acdc.circuit.choose import Choice, Ranking
from acdc.circuit.circuit import (
    SIGN_CONVENTION,
    BatchRecord,
    Circuit,
    MethodRecord,
    ModelRecord,
    ScoredEdge,
    TaskRecord,
    library_versions,
)
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.model.threads import DEFAULT_THREADS, MOST_THREADS, fixed_threads
from acdc.model.work import Work
from acdc.progress import Progress, silent
from acdc.search.options import SearchOptions
from acdc.search.registry import DEFAULT_METHOD, Method, find_method
from acdc.search.result import Decision, Decisions, Scores
from acdc.task.ablations import check_ablation
from acdc.task.behaviour import CANDIDATE_BYTES, CANDIDATE_TOKENS, DEFAULT_BATCH, Behaviour
from acdc.task.metrics import MetricFunction, find_metric, recovered_fraction
from acdc.task.rows import Task
from acdc.task.split import Split, split_rows

DEFAULT_FAITHFULNESS = 0.9


@dataclass(frozen=True)
class DiscoverySettings:
    """What a discovery depends on besides the model and the rows.

    One of `threshold`, `edges` and `faithfulness` says how large the circuit becomes: ACDC takes a threshold (its tau,
    in the metric's unit), other methods any of the three. `limit`: discover on the first rows instead of a random half.
    """

    method: str = DEFAULT_METHOD
    metric: str | MetricFunction | None = None
    ablation: str = "resample"
    threshold: float | None = None
    edges: int | None = None
    faithfulness: float | None = None
    limit: int | None = None
    batch_size: int = DEFAULT_BATCH
    split_embeddings: bool = False
    seed: int = 0
    threads: int = DEFAULT_THREADS

    def check(self) -> None:
        """Raises InputError for values that no discovery can use, before any work is done."""
        method = find_method(self.method)
        sizes = {name: getattr(self, name) for name in ("threshold", "edges", "faithfulness")}
        given = [name for name, value in sizes.items() if value is not None]
        if len(given) > 1:
            raise InputError(f"give only one of --threshold, --edges and --faithfulness, not {' and '.join(given)}")
        if method.decides and given and given != ["threshold"]:
            raise InputError(f"method 'acdc' takes --threshold, not --{given[0]}: use exact or eap with --{given[0]}")
        if self.threshold is not None and not 0 < self.threshold < np.inf:
            raise InputError(f"--threshold {self.threshold} must be a positive number")
        if self.faithfulness is not None and not 0 < self.faithfulness <= 1:
            raise InputError(f"--faithfulness {self.faithfulness} must be above 0 and at most 1")
        if self.batch_size < 1:
            raise InputError(f"--batch-size {self.batch_size} must be at least 1")
        if not 1 <= self.threads <= MOST_THREADS:
            raise InputError(f"--threads {self.threads} must be between 1 and {MOST_THREADS}")
        if self.edges is not None and self.edges < 1:
            raise InputError(f"--edges {self.edges} must be at least 1")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit} must be at least 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} must not be negative")


@dataclass(frozen=True)
class Result:
    """A found circuit with the scores of every candidate edge (None for acdc) or its decisions (empty otherwise).

    `work` is what was computed for it.
    """

    circuit: Circuit
    scores: dict[str, float] | None
    decisions: tuple[Decision, ...]
    work: Work


def prepare(model: Model, task: Task, settings: DiscoverySettings) -> Split:
    """The split of the rows. Raises InputError for settings that do not fit the model or the task, before any work."""
    settings.check()
    metric = find_metric(settings.metric or task.metric)
    metric.check(task.rows)
    find_method(settings.method).check(metric)
    check_ablation(settings.ablation)
    if settings.edges is not None or settings.split_embeddings:
        n_edges = model.executor(settings.split_embeddings).graph.n_edges
        if settings.edges is not None and settings.edges > n_edges:
            raise InputError(f"--edges {settings.edges} is more than the graph's {n_edges} edges")
    return split_rows(task.rows, settings.seed, settings.limit)


def discover(
    model: Model,
    task: Task,
    settings: DiscoverySettings,
    progress: Progress = silent,
) -> Result:
    """Find the circuit of a task in a model. Raises InputError for settings that do not fit the model or the task."""
    split = prepare(model, task, settings)
    with fixed_threads(settings.threads):
        behaviour = bind(model, task, settings, split.discovery)
        method = find_method(settings.method)
        found = method.run(behaviour, SearchOptions(settings.threshold, settings.seed), progress)
        if isinstance(found, Decisions):
            kept, selection = (
                found.kept,
                {"threshold": found.threshold, "tests": len(found.tests), "objective": found.objective},
            )
        else:
            choice, selection = _choose(behaviour, found, settings)
            kept = choice.edges
    circuit = _describe(behaviour, settings, split, found, kept, selection)
    if isinstance(found, Decisions):
        return Result(circuit, None, found.tests, behaviour.work)
    return Result(circuit, edge_scores(behaviour, found), (), behaviour.work)


def edge_scores(behaviour: Behaviour, scores: Scores) -> dict[str, float]:
    """Score of every candidate edge by its id, in the order of the graph."""
    return dict(zip(behaviour.graph.names, scores.values.tolist(), strict=True))


def bind(model: Model, task: Task, settings: DiscoverySettings, rows) -> Behaviour:
    """The behaviour that a search with these settings measures."""
    return Behaviour(
        model,
        task,
        rows,
        find_metric(settings.metric or task.metric),
        settings.ablation,
        batch_size=settings.batch_size,
        split_embeddings=settings.split_embeddings,
    )


def _choose(behaviour: Behaviour, scores: Scores, settings: DiscoverySettings) -> tuple[Choice, dict]:
    ranking = Ranking(behaviour.graph, scores.values)
    if settings.threshold is not None:
        choice, rule = ranking.by_threshold(settings.threshold), {"threshold": settings.threshold}
    elif settings.edges is not None:
        choice, rule = ranking.by_edges(settings.edges), {"edges": settings.edges}
    else:
        target = DEFAULT_FAITHFULNESS if settings.faithfulness is None else settings.faithfulness
        choice, rule = ranking.by_faithfulness(target, _faithfulness(behaviour)), {"faithfulness": target}
    return choice, rule | choice.counts


def _faithfulness(behaviour: Behaviour) -> Callable[[np.ndarray], float]:
    full, empty = behaviour.ends()
    return lambda kept: recovered_fraction(float(behaviour.measure(~kept[None])[0, 0].mean()), full, empty)


def _describe(
    behaviour: Behaviour,
    settings: DiscoverySettings,
    split: Split,
    found: Scores | Decisions,
    kept: np.ndarray,
    selection: dict,
) -> Circuit:
    model, task, graph = behaviour.model, behaviour.task, behaviour.graph
    return Circuit(
        model=describe_model(behaviour),
        task=TaskRecord(
            name=task.name,
            content_hash=task.content_hash(),
            rows_total=len(task.rows),
            split=split.rule,
            discovery=[row.id for row in behaviour.rows],
            verification=[row.id for row in task.select(split.verification)],
            twins=split.twins,
        ),
        method=_describe_method(find_method(settings.method), behaviour, selection),
        metric=behaviour.metric.name,
        larger_is_better=behaviour.metric.larger_is_better,
        ablation=behaviour.ablation,
        score_kind=found.kind,
        sign_convention=SIGN_CONVENTION[found.kind],
        edges_total=graph.n_edges,
        edges_effective=int(graph.prune(kept).sum()),
        edges=[ScoredEdge(id=graph.names[i], score=float(found.values[i])) for i in np.flatnonzero(kept)],
        seed=settings.seed,
        dtype=model.dtype_name,
        batch=describe_batch(settings),
        versions=library_versions(),
    )


def describe_model(behaviour: Behaviour) -> ModelRecord:
    """The model of a behaviour, as artefacts record it."""
    model = behaviour.model
    return ModelRecord(
        name=model.name,
        family=model.family,
        revision=model.revision,
        content_hash=model.content_hash,
        split_embeddings=behaviour.graph.split_embeddings,
        anatomy=asdict(model.anatomy),
    )


def describe_batch(settings: DiscoverySettings) -> BatchRecord:
    """What the last bits of a result may depend on, as artefacts record it."""
    return BatchRecord(
        size=settings.batch_size,
        threads=settings.threads,
        candidate_tokens=CANDIDATE_TOKENS,
        candidate_bytes=CANDIDATE_BYTES,
    )


def _describe_method(method: Method, behaviour: Behaviour, selection: dict) -> MethodRecord:
    return MethodRecord(
        name=method.name,
        objective=behaviour.metric.objective if method.decides else None,
        selection=selection,
    )
