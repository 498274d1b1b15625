"""How much the circuit of a run varies with its rows: the discovery repeated on resamples of all of them.

Most methods that score edges average scores over rows, so the scores of single rows, computed once, give those of every
resample: hundreds of bootstraps cost about as much as one search. Whether that is so is not assumed: the mean over the
rows as they are must be the scores of the run. Where it is not, the search is repeated for each resample.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.scores import Decisions, Scores
from acdc.artefacts.verification.stability import Bootstraps
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError, NothingToFind
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model
from acdc.options import Level
from acdc.progress import Advance, Progress, silent
from acdc.runs.run_directory import RunRecord, read_run
from acdc.runs.score_files import read_values
from acdc.runs.stability import settings_of
from acdc.search.discover import bind, choose
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Task
from acdc.verification.sampled_units import SampledUnits
from acdc.verification.stability import FEWEST, FEWEST_ROWS, measure_bootstraps

FEWEST_OF_SCORES = 100  # resamples of methods whose scores are averaged: they cost little
SAME = 1e-3  # difference of averaged scores from those of the run, as a share of the largest
Find = Callable[[np.ndarray], frozenset[str]]


def check_bootstraps(path: Path, count: int) -> tuple[RunRecord, Circuit]:
    """A run and its circuit. Raises InputError where its discovery cannot be repeated, or so few times tell nothing."""
    record, circuit = read_run(path), Circuit.load(path)
    if record.kind != "discover":
        raise InputError("--bootstraps repeats a discovery: name a run of 'acdc discover'")
    if circuit.level is not Level.edges:
        raise InputError(f"--bootstraps compares edges: it needs a circuit of edges, not of {circuit.level}")
    if len(circuit.task.discovery) < FEWEST_ROWS:
        raise InputError(f"--bootstraps needs a discovery on at least {FEWEST_ROWS} rows")
    method = settings_of(record, circuit).method
    fewest = FEWEST if method.decides or method.random else FEWEST_OF_SCORES
    if count < fewest:
        raise InputError(f"--bootstraps {count} must be at least {fewest} with {method.name}")
    return record, circuit


def seconds_of(record: RunRecord, circuit: Circuit, count: int) -> float:
    """About how long bootstraps take, going by how long the run took."""
    method = settings_of(record, circuit).method
    return record.seconds * (count if method.decides or method.random else 2)


def bootstrap_discovery(
    path: Path, record: RunRecord, circuit: Circuit, model: Model, task: Task, count: int, progress: Progress
) -> Bootstraps:
    """So many bootstraps of a run; `check_bootstraps` says whether it can have any."""
    settings, ids = _sized(settings_of(record, circuit), circuit), set(circuit.task.discovery)
    places = np.array([place for place, row in enumerate(task.rows) if row.id in ids])
    found = frozenset(edge.id for edge in circuit.effective)
    with fixed_threads(circuit.batch.threads):
        scores = None
        if not settings.method.decides and not settings.method.random:
            scores = _by_row(model, task, settings, places, read_values(path, circuit), progress)
        with progress("bootstraps", count, "discoveries") as advance:
            find = _searching(model, task, settings, places, advance)
            if scores is not None:
                find = _averaging(bind(model, task, settings, places.tolist()), settings, scores, circuit, advance)
            units = SampledUnits.of(task.select(places.tolist()))
            return measure_bootstraps(units, count, circuit.seed, found, find, scores is not None)


def _sized(settings: DiscoverySettings, circuit: Circuit) -> DiscoverySettings:
    """Resamples choose from scores as the run did. Only a faithfulness would have to be measured for each: in its place
    they take as many edges as the circuit has."""
    if settings.method.decides or settings.threshold is not None or settings.edges is not None:
        return settings
    return replace(settings, faithfulness=None, edges=max(1, circuit.edges_effective))


def _by_row(
    model: Model, task: Task, settings: DiscoverySettings, places: np.ndarray, of_run: np.ndarray, progress: Progress
) -> np.ndarray | None:
    """Scores [rows, edges] of single rows; None where their mean is not the score of the run."""
    scores = np.zeros((len(places), len(of_run)))
    with progress("scores of single rows", len(places), "rows") as advance:
        for number, place in enumerate(places.tolist()):
            try:
                found = settings.method.run(bind(model, task, settings, [place]), settings.search_options, silent)
            except InputError:  # a row by itself may show nothing, which the mean over all will tell
                continue
            finally:
                advance(1)
            assert isinstance(found, Scores)  # the method does not decide
            scores[number] = found.values
    difference = np.abs(scores.mean(axis=0) - of_run).max(initial=0.0)
    return scores if difference <= SAME * np.abs(of_run).max(initial=0.0) else None


def _search(behaviour: Behaviour, settings: DiscoverySettings) -> Scores | Decisions | None:
    """None where the rows show nothing to find."""
    try:
        return settings.method.run(behaviour, settings.search_options, silent)
    except NothingToFind:
        return None


def _averaging(
    behaviour: Behaviour, settings: DiscoverySettings, scores: np.ndarray, circuit: Circuit, advance: Advance
) -> Find:
    def find(rows: np.ndarray) -> frozenset[str]:
        advance(1)
        return _chosen(behaviour, Scores(scores[rows].mean(axis=0), circuit.score_kind), settings)

    return find


def _searching(model: Model, task: Task, settings: DiscoverySettings, places: np.ndarray, advance: Advance) -> Find:
    def find(rows: np.ndarray) -> frozenset[str]:
        behaviour = bind(model, task, settings, places[rows].tolist())
        found = _search(behaviour, settings)
        advance(1)
        return frozenset() if found is None else _chosen(behaviour, found, settings)

    return find


def _chosen(behaviour: Behaviour, found: Scores | Decisions, settings: DiscoverySettings) -> frozenset[str]:
    graph = behaviour.graph
    kept = graph.prune(found.kept) if isinstance(found, Decisions) else choose(behaviour, found, settings)[0].edges
    return frozenset(graph.ids(kept))
