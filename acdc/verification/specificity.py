"""Whether a circuit is specific: all of its edges are ablated in the full model, and other tasks are measured too.

A circuit of what every behaviour needs, such as the first MLP, would pass tests of its own task alone. So each of
several circuits is ablated on the unseen rows of each task, under one ablation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.specificity import AblatedTask, Harm, Specificity
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model
from acdc.progress import Progress
from acdc.task.rows import Task
from acdc.verification.binding import behaviour_of, check_same, own_metric, rows_of
from acdc.verification.budget import Costs, rows_within, spread_over
from acdc.verification.intervals import Bootstrap, mean, recovered
from acdc.verification.sampled_units import SampledUnits

FLOPS = 5e12  # for each task
FEWEST = 16  # rows of a task, whatever the budget


@dataclass(frozen=True)
class Subject:
    """A task with its circuit, under the name that results call it by."""

    name: str
    task: Task
    circuit: Circuit


def measure_specificity(model: Model, subjects: Sequence[Subject], progress: Progress) -> Specificity:
    """Of the first subject, beside the others; under its circuit's ablation and with its seed.

    Raises InputError where circuits are of other models, of different graphs, or leave no rows to measure."""
    first = subjects[0].circuit
    for subject in subjects:
        _check(model, subject, first)
    rows = {subject.name: _rows(model, subject, len(subjects)) for subject in subjects}
    total, harms = len(subjects) * sum(map(len, rows.values())), []
    with progress("specificity", total, "prompts") as advance, fixed_threads(first.batch.threads):
        for subject in subjects:
            metric, names = own_metric(subject.circuit), rows[subject.name]
            behaviour = behaviour_of(model, subject.task, subject.circuit, names, metric, first.ablation)
            ablated = [behaviour.measure(one.circuit.own, advance=advance)[0, 0] for one in subjects]
            harms += _harms(behaviour, subject.name, [one.name for one in subjects], ablated, first.seed)
    ours = {edge.id for edge in first.effective}
    tasks = [
        AblatedTask(
            name=subject.name,
            metric=subject.circuit.metric,
            rows=len(rows[subject.name]),
            edges=subject.circuit.edges_effective,
            shared=len(ours & {edge.id for edge in subject.circuit.effective}),
        )
        for subject in subjects
    ]
    return Specificity(ablation=first.ablation, tasks=tasks, harms=harms)


def _harms(
    behaviour: Behaviour, task: str, circuits: Sequence[str], ablated: Sequence[np.ndarray], seed: int
) -> list[Harm]:
    """`ablated`: the metric [rows] of the task without each circuit."""
    full, empty, bootstrap = behaviour.full(), behaviour.empty(), Bootstrap(SampledUnits.of(behaviour.rows), seed)
    return [
        Harm(
            circuit=name,
            task=task,
            lost=bootstrap.of(lambda *means: 1 - recovered(*means), values, full, empty),
            change=bootstrap.of(mean, values - full),
        )
        for name, values in zip(circuits, ablated, strict=True)
    ]


def _check(model: Model, subject: Subject, first: Circuit) -> None:
    check_same(model, subject.task, subject.circuit)
    if subject.circuit.graph.names != first.graph.names:
        raise InputError(
            f"the circuit of {subject.name} is of another graph: one splits embeddings or tests within-head edges, the "
            "other does not"
        )
    if not subject.circuit.task.verification:
        raise InputError(f"discovery used all rows of {subject.name}: none are left to measure what it loses")


def _rows(model: Model, subject: Subject, runs: int) -> list[str]:
    """As many of the unseen rows as the budget allows, by their ids."""
    names = subject.circuit.task.verification
    unseen = rows_of(subject.task, names)
    count = rows_within(FLOPS, runs + 1, Costs.of(model, subject.circuit.graph, unseen), FEWEST, len(unseen))
    return spread_over(names, count)
