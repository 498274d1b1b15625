"""Measure the circuit of a run beside those of other tasks in the same model."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.specificity import Specificity
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.progress import Progress
from acdc.runs.run_directory import read_run
from acdc.task.load import load_task
from acdc.task.rows import Task
from acdc.verification.specificity import Subject, measure_specificity


def check_against(path: Path, others: Sequence[Path]) -> None:
    """Raises InputError for a run that cannot be set against another: of another model, or of the same task."""
    first = Circuit.load(path)
    for other in others:
        read_run(other)
        circuit = Circuit.load(other)
        if circuit.model.content_hash != first.model.content_hash:
            raise InputError(
                f"--against {other}: it is of another model, {circuit.model.name}, and this run of {first.model.name}; "
                "'acdc compare' compares models"
            )
        if circuit.task.content_hash == first.task.content_hash:
            raise InputError(f"--against {other}: it is of the same task, {circuit.task.name}; name runs of others")


def specificity_of(
    circuit: Circuit, model: Model, task: Task, others: Sequence[Path], progress: Progress
) -> Specificity:
    """Of a run's circuit; `check_against` says which others there can be."""
    circuits = [Circuit.load(other) for other in others]
    tasks = [load_task(read_run(other).source.task, model) for other in others]
    names = _different([circuit.task.name, *(found.task.name for found in circuits)])
    pairs = zip(names, [task, *tasks], [circuit, *circuits], strict=True)
    return measure_specificity(model, [Subject(*one) for one in pairs], progress)


def _different(names: Sequence[str]) -> list[str]:
    """Names of tasks, with a number behind those that came before."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
