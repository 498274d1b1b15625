"""A circuit and what it is measured with: its model, its task, its rows and its metric."""

from collections.abc import Sequence

from acdc.artefacts.circuit import Circuit
from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.workers import FindWorkers, no_workers
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.task.metrics import METRICS, Metric, MetricFunction, as_metric
from acdc.task.rows import Row, Task


def check_same(model: Model, task: Task, circuit: Circuit) -> None:
    """Raises InputError for another model or task than a circuit was found with."""
    if model.content_hash != circuit.model.content_hash:
        raise InputError(f"the circuit was found in another model than {model.name!r}: their content hashes differ")
    if task.content_hash() != circuit.task.content_hash:
        raise InputError(
            f"the circuit was found on other rows than task {task.name!r} has: their content hashes differ"
        )
    if circuit.spans and circuit.spans.content_hash != (task.spans_hash() if task.span_names else None):
        raise InputError(f"the circuit was found with other spans than the rows of task {task.name!r} have")
    if model.anatomy != circuit.graph.anatomy:
        raise InputError(f"the circuit's anatomy is not that of model {model.name!r}: its file was changed")
    if circuit.mlp_width is not None and circuit.mlp_width != model.mlp_width:
        raise InputError(f"the circuit's mlp_width is not that of model {model.name!r}: its file was changed")
    if model.dtype_name != circuit.dtype:
        raise InputError(f"the circuit was found in {circuit.dtype}, the model is loaded in {model.dtype_name}")


def own_metric(circuit: Circuit, metric: Metric | MetricFunction | None = None) -> Metric:
    """The metric that a circuit was found with; `metric` is needed only where that is a callable of the user's.

    Raises InputError where it is another or missing.
    """
    if metric is None and circuit.metric not in METRICS:
        raise InputError(f"the circuit was found with a user-defined metric, {circuit.metric!r}: give it as metric=")
    found = as_metric(metric or circuit.metric)
    if (found.name, found.larger_is_better) != (circuit.metric, circuit.larger_is_better):
        raise InputError(f"the circuit was found with metric {circuit.metric!r}, not with {found.name!r}")
    return found


def rows_of(task: Task, names: Sequence[str]) -> list[Row]:
    """Rows of a task by their ids. Raises InputError for one that the task does not have."""
    return list(task.select(_places(task, names)))


def behaviour_of(
    model: Model,
    task: Task,
    circuit: Circuit,
    rows: Sequence[str],
    metric: Metric,
    ablation: str | None = None,
    find_workers: FindWorkers = no_workers,
) -> Behaviour:
    """What a circuit is measured with, on rows by their ids; under its own ablation or another. Raises InputError for a
    row that the task does not have."""
    places = _places(task, rows)
    return Behaviour(
        model,
        task,
        places,
        metric,
        ablation or circuit.ablation,
        batch_size=batch_size_of(circuit),
        split_embeddings=circuit.model.split_embeddings,
        direct_edges=circuit.model.direct_edges,
        workers=find_workers(places),
    )


def batch_size_of(circuit: Circuit) -> int:
    """Rows in a batch: as asked for, or as many as memory sufficed for when the circuit was found."""
    return int(circuit.method.selection.get("batch_size", circuit.batch.size))


def _places(task: Task, names: Sequence[str]) -> list[int]:
    indices = {row.id: i for i, row in enumerate(task.rows)}
    if unknown := set(names) - set(indices):
        raise InputError(f"the circuit names a row that task {task.name!r} does not have: {min(unknown)!r}")
    return [indices[name] for name in names]
