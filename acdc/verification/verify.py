"""Show by ablation how far a circuit carries the behaviour, on rows that discovery did not see."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from acdc.circuit.choose import Choice, NeuronRanking, NodeRanking, Ranking
from acdc.circuit.circuit import Circuit
from acdc.errors import InputError
from acdc.graph import ComponentGraph
from acdc.model.load import Model
from acdc.model.threads import fixed_threads
from acdc.options import Level
from acdc.progress import Advance, Progress, nobody, silent
from acdc.task.behaviour import Behaviour
from acdc.task.crew import Crews, nobody_else
from acdc.task.metrics import NOISE, Metric, MetricFunction, all_metrics, find_metric, recovered_fraction
from acdc.task.rows import Task
from acdc.verification.audit import Audit, Audited, audit, measured_metrics, steps
from acdc.verification.integrated import EdgeRanking
from acdc.verification.report import Measure, RandomCircuits, Removal, Report

RANDOM_CIRCUITS = 20
CHUNK = 256


def verify(
    model: Model,
    task: Task,
    circuit: Circuit,
    *,
    metric: Metric | MetricFunction | None = None,
    full: bool = False,
    ranking: EdgeRanking | None = None,
    progress: Progress = silent,
    crews: Crews = nobody_else,
) -> Report:
    """Measure a circuit on its verification rows; `full`: with all that `acdc.verification.audit` asks,
    over all sizes too where there is a `ranking` of all edges.

    `metric` is only needed where discovery used a callable of the user's. `crews`: others who share in the work.
    Raises InputError when model or task are not those that the circuit was found with.
    """
    check_same(model, task, circuit)
    if metric is None and circuit.metric not in all_metrics():
        raise InputError(f"the circuit was found with a metric of the user's, {circuit.metric!r}: give it as metric=")
    metric = find_metric(metric or circuit.metric)
    if (metric.name, metric.larger_is_better) != (circuit.metric, circuit.larger_is_better):
        raise InputError(f"the circuit was found with metric {circuit.metric!r}, not with {metric.name!r}")
    rows = circuit.task.verification
    made = partial(
        Report,
        metric=circuit.metric,
        ablation=circuit.ablation,
        edges=len(circuit.edges),
        edges_total=circuit.edges_total,
    )
    if not rows:
        reason = f"discovery used all {circuit.task.rows_total} rows of task {circuit.task.name!r}"
        return made(rows=0, reason=reason)
    with fixed_threads(circuit.batch.threads):
        behaviour = behaviour_of(model, task, circuit, rows, metric, crews=crews)
        found = _audit(model, task, circuit, behaviour, ranking, progress) if full else None
        with progress("verify", len(circuit.parts) + RANDOM_CIRCUITS + 3, "runs") as advance:
            measures = measure_circuit(behaviour, circuit.ablated, circuit.own, advance)
            own = measures[metric.name]
            return made(
                rows=len(rows),
                twins=circuit.task.twins,
                measures=measures,
                random=random_circuits(behaviour, circuit, own, advance),
                removals=remove_each(behaviour, circuit, own, advance),
                audit=found,
            )


def behaviour_of(
    model: Model,
    task: Task,
    circuit: Circuit,
    rows: Sequence[str],
    metric: Metric,
    ablation: str | None = None,
    crews: Crews = nobody_else,
) -> Behaviour:
    """What a circuit is measured with, on rows by their ids; under its own ablation or another. Raises InputError for a
    row that the task does not have."""
    indices = {row.id: i for i, row in enumerate(task.rows)}
    if unknown := set(rows) - set(indices):
        raise InputError(f"the circuit names a row that task {task.name!r} does not have: {min(unknown)!r}")
    places = [indices[name] for name in rows]
    return Behaviour(
        model,
        task,
        places,
        metric,
        ablation or circuit.ablation,
        batch_size=circuit.batch.size,
        split_embeddings=circuit.model.split_embeddings,
        direct_edges=circuit.model.direct_edges,
        crew=crews(places),
    )


def _audit(
    model: Model,
    task: Task,
    circuit: Circuit,
    behaviour: Behaviour,
    ranking: EdgeRanking | None,
    progress: Progress,
) -> Audit:
    edges = circuit.mask if circuit.level is Level.edges else None
    audited = Audited(circuit.ablated, circuit.own, edges, circuit.seed, None if edges is None else ranking)

    def under(ablation: str) -> Behaviour:
        return behaviour_of(model, task, circuit, circuit.task.verification, behaviour.metric, ablation)

    with progress("audit", steps(audited), "runs") as advance:
        return audit(behaviour, under, audited, advance)


def check_same(model: Model, task: Task, circuit: Circuit) -> None:
    """Raises InputError for another model or task than a circuit was found with."""
    if model.content_hash != circuit.model.content_hash:
        raise InputError(f"the circuit was found in another model than {model.name!r}: their content hashes differ")
    if task.content_hash() != circuit.task.content_hash:
        raise InputError(
            f"the circuit was found on other rows than task {task.name!r} has: their content hashes differ"
        )
    if model.anatomy != circuit.graph.anatomy:
        raise InputError(f"the circuit's anatomy is not that of model {model.name!r}: its file was changed")
    if model.dtype_name != circuit.dtype:
        raise InputError(f"the circuit was found in {circuit.dtype}, the model is loaded in {model.dtype_name}")


def measure_circuit(
    behaviour: Behaviour, ablated: np.ndarray, own: np.ndarray, advance: Advance = nobody
) -> dict[str, Measure]:
    """Every metric that the rows have answers for, of a circuit given by all that is not in it and by what is its own,
    boolean as `Behaviour.measure` takes it."""
    metrics = measured_metrics(behaviour)
    means = behaviour.measure(np.stack([ablated, own, np.ones_like(own)]), metrics, advance).mean(axis=2)
    plain = (behaviour.plain(metrics).mean(axis=1), behaviour.plain(metrics, corrupted=True).mean(axis=1))
    return {
        metric.name: Measure(
            full=full,
            circuit=circuit,
            complement=complement,
            empty=empty,
            corrupted=outside,
            faithfulness=recovered_fraction(circuit, full, empty),
        )
        for metric, (circuit, complement, empty), full, outside in zip(
            metrics, means.tolist(), *(values.tolist() for values in plain), strict=True
        )
    }


def random_circuits(behaviour: Behaviour, circuit: Circuit, own: Measure, advance: Advance) -> RandomCircuits:
    """Random rankings cut where pruning leaves at most as many edges as the effective circuit has; for a circuit of
    nodes or of neurons, as many random ones."""
    generator = np.random.default_rng(circuit.seed)
    graph = behaviour.graph
    size = max(1, circuit.edges_effective)
    if circuit.level is Level.neurons:
        shape = len(graph.writers), graph.anatomy.d_model
        count = len(circuit.neurons)
        chosen = [NeuronRanking(graph, generator.random(shape)).top(count) for _ in range(RANDOM_CIRCUITS)]
    elif circuit.level is Level.nodes:
        chosen = [_random_nodes(graph, len(circuit.nodes), generator) for _ in range(RANDOM_CIRCUITS)]
    else:
        chosen = [Ranking(graph, generator.random(graph.n_edges)).by_edges(size) for _ in range(RANDOM_CIRCUITS)]
    values = behaviour.measure(np.stack([choice.removed for choice in chosen]), advance=advance)[0].mean(axis=1)
    return RandomCircuits(
        edges=[int(choice.edges.sum()) for choice in chosen],
        faithfulness=[recovered_fraction(value, own.full, own.empty) for value in values.tolist()],
    )


def _random_nodes(graph: ComponentGraph, count: int, generator: np.random.Generator) -> Choice:
    first, scores = len(graph.embeddings), np.zeros(len(graph.writers))
    scores[generator.choice(np.arange(first, len(scores)), count, replace=False)] = 1
    return NodeRanking(graph, scores).top(count)


def remove_each(behaviour: Behaviour, circuit: Circuit, own: Measure, advance: Advance) -> list[Removal]:
    """The circuit without each of its parts in turn."""
    ids = [part.id for part in circuit.parts]
    if not ids:
        return []
    base = behaviour.measure(circuit.ablated[None])[0, 0]
    found = []
    for start in range(0, len(ids), CHUNK):
        removed = np.stack([circuit.ablated_without(name) for name in ids[start : start + CHUNK]])
        found.append(behaviour.measure(removed, advance=advance)[0] - base)
    changes = np.concatenate(found)
    worse = behaviour.metric.sign * changes
    noise = NOISE * abs(own.full - own.empty)
    return [
        Removal(
            id=name,
            change=float(change.mean()),
            rows_worse=float((bad > noise).mean()),
            hurts=bool(bad.mean() > noise),
        )
        for name, change, bad in zip(ids, changes, worse, strict=True)
    ]
