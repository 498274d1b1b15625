"""Search again for other circuits than that of a run, by the method that found it."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.scores import Scores
from acdc.artefacts.verification.rivals import Rivals
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model
from acdc.progress import Progress
from acdc.runs.run_directory import RunRecord, read_run
from acdc.runs.score_files import read_values
from acdc.runs.stability import settings_of
from acdc.search.acdc.search import decide
from acdc.search.discover import choose
from acdc.search.options import OrderOptions
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Task
from acdc.verification.binding import behaviour_of, own_metric, rows_of
from acdc.verification.budget import Costs, spread_over
from acdc.verification.rivals import FLOPS, Measured, Search, find_rivals

MOST_UNSEEN = 64  # rows that a rival is verified on
EXACT = "acdc"  # of the methods that decide, the one that can be told what to decide about


def check_rivals(path: Path, count: int) -> tuple[RunRecord, Circuit]:
    """A run and its circuit. Raises InputError where its search cannot be repeated with other edges."""
    record, circuit = read_run(path), Circuit.load(path)
    if count < 1:
        raise InputError(f"--rivals {count} must be at least 1")
    if record.kind != "discover":
        raise InputError("--rivals repeats a discovery: name a run of 'acdc discover'")
    if not circuit.units.are_edges:
        raise InputError(f"--rivals leaves out edges: it needs a circuit of edges, not of {circuit.level}")
    if circuit.model.direct_edges:
        raise InputError("--rivals leaves out edges between components: it needs a run without --direct-edges")
    method = settings_of(record, circuit).method
    if method.decides and method.name != EXACT:
        raise InputError(f"--rivals works with {EXACT} and with methods that score edges, not with {method.name}")
    return record, circuit


def rival_circuits(
    path: Path, record: RunRecord, circuit: Circuit, model: Model, task: Task, count: int, progress: Progress
) -> Rivals:
    """So many rivals of a run's circuit; `check_rivals` says whether it can have any."""
    metric, names = own_metric(circuit), circuit.task
    unseen = spread_over(names.verification, min(MOST_UNSEEN, len(names.verification)))
    with fixed_threads(circuit.batch.threads):
        on = behaviour_of(model, task, circuit, names.discovery, metric)
        measured = Measured.of(on, behaviour_of(model, task, circuit, unseen, metric) if unseen else None)
        each = Costs.of(model, circuit.graph, rows_of(task, names.discovery)).subgraph * len(names.discovery)
        search = _search(path, record, circuit, on, progress)
        return find_rivals(circuit, measured, count, max(1, int(FLOPS // each)), search, progress)


def _search(path: Path, record: RunRecord, circuit: Circuit, behaviour: Behaviour, progress: Progress) -> Search:
    settings = settings_of(record, circuit)
    if settings.method.decides:
        threshold = float(circuit.method.selection["threshold"])
        return partial(_decide, behaviour, settings, threshold, progress)
    return partial(_choose, behaviour, settings, Scores(read_values(path, circuit), circuit.score_kind))


def _decide(
    behaviour: Behaviour,
    settings: DiscoverySettings,
    threshold: float,
    progress: Progress,
    allowed: np.ndarray,
    target: float,
) -> np.ndarray:
    """Under the threshold of the circuit, however faithful that is. A second pass would add edges that are left out."""
    options = settings.search_options
    assert isinstance(options, OrderOptions)  # `EXACT` decides edge by edge
    single = options.model_copy(update={"polish": False})
    return behaviour.graph.prune(decide(behaviour, [threshold], single, progress, allowed)[0].kept)


def _choose(
    behaviour: Behaviour, settings: DiscoverySettings, scores: Scores, allowed: np.ndarray, target: float
) -> np.ndarray:
    """As large as it takes to be faithful, whatever the size of the circuit. What has a score of 0 is never chosen."""
    sized = replace(settings, threshold=None, edges=None, faithfulness=target)
    return choose(behaviour, replace(scores, values=np.where(allowed, scores.values, 0.0)), sized)[0].edges
