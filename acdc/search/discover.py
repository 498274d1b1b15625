"""Find a circuit: split the rows, search, choose, and bind the result to everything that it depends on."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acdc.artefacts.circuit import (
    SIGN_CONVENTION,
    Circuit,
    MethodRecord,
    TaskRecord,
    effect_convention,
    library_versions,
)
from acdc.artefacts.frames import found_frame
from acdc.artefacts.named_scores import named
from acdc.artefacts.scores import Decision, Decisions, Polish, Scores, Screening
from acdc.behaviour.ablations import ABLATIONS
from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.prompt_spans import spans_of
from acdc.behaviour.workers import ALONE, FindWorkers, Workers, no_workers
from acdc.display import show
from acdc.errors import AcdcWarning, InputError, RowTooLarge, is_out_of_memory
from acdc.execution.threads import fixed_threads
from acdc.execution.work import Work
from acdc.graph.masks import Mask
from acdc.graph.units import Choice, Listing, Units, kind_of, units_of
from acdc.model.load import Model
from acdc.options import Choosing, Level
from acdc.progress import Progress, silent
from acdc.search.acdc.journal import Journal
from acdc.search.bootstrap import certain_signs
from acdc.search.choosing import Ranking, helpfulness
from acdc.search.records import describe_batch, describe_model, describe_spans
from acdc.search.settings import DiscoverySettings, check_signed
from acdc.task.metrics import as_metric, recovered_fraction
from acdc.task.rows import Task
from acdc.task.split import Split, split_rows

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_FAITHFULNESS = 0.9
DRIFT_SHARE = 0.1  # of a threshold: rounding beyond that may have decided an edge


@dataclass(frozen=True)
class Result:
    """A found circuit with the scores of every candidate, edge or node (None for acdc), or its decisions (else empty);
    of more than a million candidates as `NamedScores`.

    `work` is what was computed for it, `screening` what ACDC removed without a test of its own, and `polish`
    what a second pass did.
    """

    circuit: Circuit
    scores: Mapping[str, float] | None
    decisions: tuple[Decision, ...]
    work: Work
    screening: Screening | None = None
    polish: Polish | None = None

    def __repr__(self) -> str:
        return f"<Result: {self.circuit!r}>"

    def save(self, path: str | Path) -> None:
        """Write the circuit with its scores or decisions into a folder, which is made, or which holds such files;
        `acdc.load_run` reads it. Raises InputError where that fails."""
        show("result in a folder", self, Path(path))

    def to_dataframe(self) -> "pd.DataFrame":
        """A row for each candidate, or for each test of acdc in its order: `edge` (of circuits that do not consist of
        edges: `unit`), `score` and `kept`.

        A score is metric(ablated) - metric(kept), in the metric's own sign, as in the circuit (`sign_convention`); of
        acdc that of the test, with `before` and `after`, the metric then, or where something else is minimised (a match
        or a share of KL) `objective_before` and `objective_after`. `decisions` have what was minimised: the negated
        metric where that is better if larger. Raises InputError without pandas.
        """
        return found_frame(self.circuit, self.scores, self.decisions)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        return str(show("result as HTML", self.circuit))


def units_for(model: Model, task: Task, settings: DiscoverySettings) -> Units:
    """The units that a discovery is about. Raises InputError for a level that the task's rows do not suit."""
    graph, kind = model.executor(settings.split_embeddings, settings.direct_edges).graph, kind_of(settings.level)
    spans = spans_of(task, model.anatomy) if kind.have_spans else None
    return units_of(graph, settings.level, spans, model.mlp_width if kind.have_neurons else None)


def prepare(model: Model, task: Task, settings: DiscoverySettings) -> Split:
    """The split of the rows. Raises InputError for settings that do not fit the model or the task, before any work."""
    settings.check()
    metric = as_metric(settings.metric or task.metric)
    metric.check(task.rows, model.anatomy.d_vocab_out)
    settings.method.check(metric)
    ABLATIONS.find(settings.ablation).check(task.rows)
    kind = kind_of(settings.level)
    if kind.have_neurons:
        ABLATIONS.find(settings.ablation).check_neurons()
    if settings.edges is not None or settings.split_embeddings or kind.have_spans or kind.have_neurons:
        most = units_for(model, task, settings).most_edges
        if settings.edges is not None and settings.edges > most:
            raise InputError(f"--edges {settings.edges} is more than the graph's {most} edges")
    return split_rows(task.rows, settings.seed, settings.limit)


def discover(
    model: Model,
    task: Task,
    settings: DiscoverySettings,
    progress: Progress = silent,
    journal: Journal | None = None,
    find_workers: FindWorkers = no_workers,
) -> Result:
    """Find the circuit of a task in a model. Raises InputError for settings that do not fit the model or the task.

    `journal`: of an earlier attempt at the same discovery by ACDC, which goes on where that ended. `find_workers`:
    others who share in the work."""
    split = prepare(model, task, settings)
    with fixed_threads(settings.threads_in(model.anatomy)):
        behaviour, found = _search(model, task, settings, split.discovery, progress, journal, find_workers)
        if isinstance(found, Decisions):
            circuit = describe_decisions(behaviour, settings, split, found)
            return Result(circuit, None, found.tests, behaviour.work, found.screening, found.polish)
        choice, selection = choose(behaviour, found, settings, progress)
    method = _describe_method(settings, behaviour, selection)
    circuit = describe_choice(behaviour, settings, split, found, choice, method)
    return Result(circuit, part_scores(behaviour, found, settings.level), (), behaviour.work)


def _search(
    model: Model,
    task: Task,
    settings: DiscoverySettings,
    rows: Sequence[int],
    progress: Progress,
    journal: Journal | None,
    find_workers: FindWorkers,
) -> tuple[Behaviour, Scores | Decisions]:
    """What a method finds. If memory does not suffice for a single candidate on a batch, it starts over with half as
    many rows in each, alone, as other workers have whole batches."""
    options, size = settings.search_options.model_copy(update={"journal": journal}), settings.batch_size
    if journal is not None and journal.batch_size is not None:
        size = journal.batch_size
    while True:
        workers = find_workers(rows) if size == settings.batch_size else ALONE
        largest = min(size, len(rows))
        try:
            behaviour = bind(model, task, replace(settings, batch_size=size), rows, workers)
            largest = max(len(batch.rows) for batch in behaviour.batches)
            return behaviour, settings.method.run(behaviour, options, progress)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or isinstance(error, RowTooLarge) or largest == 1:
                raise
            behaviour = None  # before the next takes as much
        size = -(-largest // 2)
        warnings.warn(
            f"memory does not suffice for batches of {largest} rows: starting over with at most {size} in each",
            AcdcWarning,
            stacklevel=3,
        )
        if journal is not None:
            journal.restart(size)


def describe_decisions(behaviour: Behaviour, settings: DiscoverySettings, split: Split, found: Decisions) -> Circuit:
    """The circuit that ACDC decided on; a warning where rounding came near its threshold."""
    if found.drift > DRIFT_SHARE * found.threshold:
        warnings.warn(
            f"rounding in {behaviour.model.dtype_name} moved the objective by up to {found.drift:.2g}, which is near "
            f"the threshold of {found.threshold:.2g}: take a larger threshold, or load the model with --dtype float64",
            AcdcWarning,
            stacklevel=3,
        )
    selection = {
        "threshold": found.threshold,
        "tests": len(found.tests),
        "objective": found.objective,
        "drift": found.drift,
    }
    selection |= {} if settings.faithfulness is None else {"faithfulness": settings.faithfulness}
    if found.proposal is not None:
        proposal = asdict(found.proposal)
        batch_splits = proposal.pop("batch_splits")
        selection |= {f"proposal_{name}": value for name, value in proposal.items()}
        selection |= {"batch_splits": batch_splits} if batch_splits else {}
        selection |= {"edges": settings.edges} if settings.edges is not None else {}
    if found.screening is not None:
        selection |= {f"screened_{name}": value for name, value in found.screening.totals().items()}
    if found.polish is not None:
        selection |= found.polish.counts
    method = _describe_method(settings, behaviour, selection, found.minimised)
    listed = _listing(behaviour.units(settings.level), found)
    raw = found.minimised == behaviour.metric.objective
    return _describe(behaviour, settings, split, found, listed, method, None if raw else "objective")


def _listing(units: Units, found: Decisions) -> Listing:
    """What a circuit lists of ACDC's decisions: over edges, what was kept; at spans, of that what does not dangle."""
    if not units.keep_whole_edges:
        return units.listing(units.choose(found.kept), found.values)
    names = units.graph.names
    edges = {names[i]: float(found.values[i]) for i in np.flatnonzero(found.kept)}
    return {Level.edges: edges} | ({} if found.units is None else {units.level: found.units})


def describe_choice(
    behaviour: Behaviour,
    settings: DiscoverySettings,
    split: Split,
    scores: Scores,
    choice: Choice,
    method: MethodRecord,
    convention: str | None = None,
) -> Circuit:
    """The circuit that was chosen from scores; `convention`: what these mean, by default what their kind says."""
    units = behaviour.units(settings.level)
    listed = units.listing(choice, units.of(scores.level, scores.values))
    return _describe(behaviour, settings, split, scores, listed, method, convention)


def edge_scores(behaviour: Behaviour, scores: Scores) -> Mapping[str, float]:
    """Score of every candidate edge by its id, in the order of the graph."""
    return named(scores.values, behaviour.units(Level.edges))


def part_scores(behaviour: Behaviour, scores: Scores, level: Level) -> Mapping[str, float]:
    """Score of every candidate on a level by its id."""
    units = behaviour.units(level)
    return named(units.of(scores.level, scores.values), units)


def bind(
    model: Model, task: Task, settings: DiscoverySettings, rows: Sequence[int], workers: Workers = ALONE
) -> Behaviour:
    """The behaviour that a search with these settings measures."""
    return Behaviour(
        model,
        task,
        rows,
        as_metric(settings.metric or task.metric),
        settings.ablation,
        batch_size=settings.batch_size,
        split_embeddings=settings.split_embeddings,
        direct_edges=settings.direct_edges,
        workers=workers,
    )


def choose(
    behaviour: Behaviour, scores: Scores, settings: DiscoverySettings, progress: Progress = silent
) -> tuple[Choice, dict]:
    """(the circuit, how its size came to be). Raises InputError for scores that do not fit the settings."""
    if settings.choose is Choosing.signed:
        check_signed(scores.kind)
    units, certain = behaviour.units(settings.level), None
    signs: dict[str, int | float] = {}
    if settings.bootstrap:
        options = settings.search_options
        certain = certain_signs(behaviour, settings.method, options, settings.bootstrap, progress)
        signs = {"bootstrap": settings.bootstrap, "certain": int(certain.sum())}
    if settings.hurting:
        signs["hurting"] = settings.hurting
    values = units.of(scores.level, scores.values)
    helps = helpfulness(values, scores.kind, behaviour.metric.sign)
    ranking = Ranking(units, values, settings.choose, helps, certain, settings.hurting)
    if settings.threshold is not None:
        choice, rule = ranking.by_threshold(settings.threshold), {"threshold": settings.threshold}
    elif settings.edges is not None:
        choice, rule = ranking.by_edges(settings.edges), {"edges": settings.edges}
    else:
        target = DEFAULT_FAITHFULNESS if settings.faithfulness is None else settings.faithfulness
        recovered = _faithfulness(behaviour)
        choice, rule = ranking.by_faithfulness(target, recovered), {"faithfulness": target}
        if ranking.is_spent(choice) and (reached := recovered(choice.ablated)) < target:
            rule["reached"] = reached
    rule |= signs | choice.counts | ({"batch_splits": scores.batch_splits} if scores.batch_splits else {})
    return choice, rule | _why_small(ranking, choice, settings)


def _why_small(ranking: Ranking, choice: Choice, settings: DiscoverySettings) -> dict[str, int | float]:
    """What explains a circuit that is empty, or has fewer edges than were asked for."""
    found: dict[str, int | float] = {}
    if settings.edges is not None and choice.size < settings.edges and ranking.is_spent(choice):
        found["scored_zero"] = len(ranking.scores) - int(np.count_nonzero(ranking.scores))
    elif settings.edges is not None and choice.size < settings.edges:
        found["next_size"] = ranking.next_size(choice)
    if not choice.edges.any():
        found["largest_score"] = float(np.abs(ranking.scores).max(initial=0.0))
    return found


def _faithfulness(behaviour: Behaviour) -> Callable[[Mask], float]:
    full, empty = behaviour.ends()

    def recovered(removed: Mask) -> float:
        fraction = recovered_fraction(float(behaviour.measure(removed)[0, 0].mean()), full, empty)
        assert fraction is not None  # `Behaviour.ends` refuses what spans nothing
        return fraction

    return recovered


def _describe(
    behaviour: Behaviour,
    settings: DiscoverySettings,
    split: Split,
    found: Scores | Decisions,
    listed: Listing,
    method: MethodRecord,
    convention: str | None = None,
) -> Circuit:
    """`convention`: what scores mean, by default what their kind says."""
    model, task, graph = behaviour.model, behaviour.task, behaviour.graph
    members: dict[str, Any] = {
        level.value: [{"id": name, "score": score} for name, score in own.items()] for level, own in listed.items()
    }
    return Circuit(
        model=describe_model(behaviour),
        task=TaskRecord(
            name=task.name,
            content_hash=task.content_hash(),
            rows_total=len(task.rows),
            split=split.rule,
            discovery=[row.id for row in behaviour.rows],
            verification=[row.id for row in task.select(split.verification)],
            duplicates=split.duplicates,
        ),
        method=method,
        metric=behaviour.metric.name,
        larger_is_better=behaviour.metric.larger_is_better,
        ablation=behaviour.ablation,
        level=settings.level,
        spans=describe_spans(behaviour) if kind_of(settings.level).have_spans else None,
        mlp_width=model.mlp_width if kind_of(settings.level).have_neurons else None,
        score_kind=found.kind,
        sign_convention=SIGN_CONVENTION[convention] if convention else _convention(found, settings.level),
        edges_total=graph.n_edges,
        edges_effective=int(graph.prune(graph.mask(listed[Level.edges])).sum()),
        **members,
        seed=settings.seed,
        dtype=model.dtype_name,
        batch=describe_batch(settings.batch_size, settings.threads_in(model.anatomy), model),
        versions=library_versions(),
    )


def _convention(found: Scores | Decisions, level: Level) -> str:
    if found.kind != "effect":
        return SIGN_CONVENTION[found.kind]
    kind = kind_of(level)
    return effect_convention(kind, embeddings_scored=isinstance(found, Scores) and kind.scores_embeddings)


def _describe_method(
    settings: DiscoverySettings, behaviour: Behaviour, selection: dict, minimised: str | None = None
) -> MethodRecord:
    method, splits = settings.method, behaviour.work.pass_splits
    selection |= {"pass_splits": splits} if splits else {}
    selection |= {"batch_size": behaviour.batch_size} if behaviour.batch_size < settings.batch_size else {}
    return MethodRecord(
        name=method.name,
        objective=(minimised or behaviour.metric.objective) if method.decides else None,
        choose=None if method.decides else settings.choose,
        options=settings.search_options.own_values(),
        selection=selection,
    )
