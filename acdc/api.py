"""The Python interface: load a model and a task, discover a circuit, verify it."""

from collections.abc import Callable

from acdc.circuit.circuit import Circuit
from acdc.errors import InputError
from acdc.model.load import Model, load_model
from acdc.progress import Progress, silent
from acdc.search.discover import DiscoverySettings, Result
from acdc.search.discover import discover as run_discovery
from acdc.task.load import load_task
from acdc.task.metrics import Metric
from acdc.task.rows import Task
from acdc.verification.report import Report
from acdc.verification.verify import verify as run_verification

__all__ = [
    "Circuit",
    "InputError",
    "Metric",
    "Model",
    "Report",
    "Result",
    "Task",
    "discover",
    "load_model",
    "load_task",
    "verify",
]


def discover(
    model: Model,
    task: Task,
    method: str = "acdc",
    *,
    metric: str | Metric | Callable | None = None,
    ablation: str = "resample",
    threshold: float | None = None,
    edges: int | None = None,
    faithfulness: float | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    split_embeddings: bool = False,
    seed: int = 0,
    threads: int = 2,
    progress: Progress = silent,
) -> Result:
    """Find the circuit that carries a task in a model.

    Give at most one of `threshold`, `edges` and `faithfulness`. `metric` is a name, a `Metric`, or a callable
    (logits [rows, V], RowBatch) -> values [rows] that is better when larger; default is the task's own.
    Discovery uses a seeded random half of the rows, or the first `limit`; `verify` uses the others.
    Raises InputError for settings that do not fit.
    """
    settings = DiscoverySettings(
        method, metric, ablation, threshold, edges, faithfulness, limit, batch_size, split_embeddings, seed, threads
    )
    return run_discovery(model, task, settings, progress)


def verify(
    model: Model, task: Task, circuit: Circuit, *, metric: Metric | Callable | None = None, progress: Progress = silent
) -> Report:
    """Measure a circuit by ablation on the rows that its discovery did not use.

    `metric` is needed only where discovery was given a callable. Raises InputError for another model or task than the
    circuit was found with.
    """
    return run_verification(model, task, circuit, metric=metric, progress=progress)
