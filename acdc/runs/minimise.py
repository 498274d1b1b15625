"""Make a run's circuit locally minimal on the rows that it was found on, as a run of its own."""

import hashlib
import shlex
from pathlib import Path

from acdc.artefacts.circuit import FILE_NAME as CIRCUIT
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.minimality import TOLERANCE
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model, load_model
from acdc.progress import Progress
from acdc.runs.finish import Finishing, finish_run
from acdc.runs.finished import FinishedRun
from acdc.runs.run_directory import RunDirectory, read_run
from acdc.task.load import load_task
from acdc.task.metrics import METRICS
from acdc.task.rows import Task
from acdc.verification.binding import behaviour_of, check_same
from acdc.verification.minimality import minimise
from acdc.words import count_of


def run_minimise(path: Path, out: Path | None, device: str, how: Finishing) -> FinishedRun:
    """The minimised circuit, verified on unseen rows and drawn. Raises InputError for a circuit of other units than
    edges, or edges at positions."""
    record, circuit = read_run(path), Circuit.load(path)
    if not circuit.units.count_as_edges:
        raise InputError(
            f"run {path} holds a circuit of {circuit.level}: only circuits of edges or positions are minimised"
        )
    if circuit.metric not in METRICS:
        raise InputError(f"the circuit was found with a user-defined metric, {circuit.metric!r}")
    model = load_model(record.source.model, revision=record.source.revision, device=device, dtype=circuit.dtype)
    task = load_task(record.source.task, model)
    check_same(model, task, circuit)
    inputs = {"circuit": hashlib.sha256(circuit.model_dump_json().encode()).hexdigest(), "tolerance": TOLERANCE}
    label, command = f"{task.name}-{model.name}-minimal", shlex.join(["acdc", "minimise", str(path)])
    run = RunDirectory.open(out, label, "minimise", inputs, command, record.source, model.where)
    resumed = run.has(CIRCUIT)
    if not resumed:
        run.write(CIRCUIT, minimal_circuit(model, task, circuit, how.progress).to_json())
    finished = finish_run(run, model, task, resumed, how)
    run.note(complete=True)
    return finished


def minimal_circuit(model: Model, task: Task, circuit: Circuit, progress: Progress) -> Circuit:
    """A locally minimal part of a circuit of edges, also at positions, decided on the rows that it was found on."""
    with fixed_threads(circuit.batch.threads):
        behaviour = behaviour_of(model, task, circuit, circuit.task.discovery, METRICS[circuit.metric])
        span = abs(float(behaviour.full().mean() - behaviour.empty().mean()))
        edges, rows = circuit.size_in_edges, len(behaviour.rows)
        with progress(f"minimising {count_of(edges, 'edge')}", edges * rows, "prompts") as advance:
            kept = minimise(behaviour, circuit.listed, span, advance, circuit.level)
    return circuit.part(kept, {"minimised_from": edges, "tolerance": TOLERANCE * span})
