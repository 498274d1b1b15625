"""What a verification measures only if asked for, as it searches again or needs other runs: stability, bootstraps,
rivals, and what circuits of other tasks do."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.circuit import Circuit
from acdc.model.load import Model
from acdc.progress import Progress
from acdc.runs.bootstraps import bootstrap_discovery, check_bootstraps, seconds_of
from acdc.runs.rivals import check_rivals, rival_circuits
from acdc.runs.run_directory import read_run
from acdc.runs.specificity import check_against, specificity_of
from acdc.runs.stability import plan_repeats, repeat_discovery, settings_of
from acdc.task.rows import Task
from acdc.verification.rivals import FLOPS as RIVAL_FLOPS
from acdc.verification.specificity import FLOPS as TASK_FLOPS
from acdc.words import count_of


@dataclass(frozen=True)
class Extras:
    """How often the discovery is repeated on parts of its rows, on resamples of all, and without the edges of the
    circuit; and the runs of other tasks that it is set against. None or empty: not at all."""

    stability: int | None = None
    bootstraps: int | None = None
    rivals: int | None = None
    against: tuple[Path, ...] = ()


NOTHING = Extras()


def plan_extras(path: Path, extras: Extras) -> list[str]:
    """What each extra takes, in a sentence without its full stop. Raises InputError for what a run cannot have."""
    found = []
    if extras.stability is not None:
        plan = plan_repeats(path, extras.stability)
        seeds = f", {count_of(plan.seeds, 'time')} with other seeds" if plan.seeds else ""
        found.append(
            f"repeating the discovery {count_of(plan.repeats, 'time')} on {plan.rows_each} of its "
            f"{count_of(plan.rows, 'row')}{seeds} and once on each template: {_about(plan.seconds)}"
        )
    if extras.bootstraps is not None:
        record, circuit = check_bootstraps(path, extras.bootstraps)
        found.append(
            f"repeating the discovery on {extras.bootstraps} resamples of its {len(circuit.task.discovery)} rows: "
            f"{_about(seconds_of(record, circuit, extras.bootstraps))}"
        )
    if extras.against:
        check_against(path, extras.against)
        count = len(extras.against) + 1
        found.append(
            f"ablating {count} circuits on the unseen rows of {count} tasks: about {TASK_FLOPS / 1e12:g} TFLOP for "
            "each task at most"
        )
    if extras.rivals is not None:
        record, circuit = check_rivals(path, extras.rivals)
        decides = settings_of(record, circuit).method.decides
        again = _about(record.seconds * extras.rivals) if decides else "from the scores that the run has"
        found.append(
            f"searching {count_of(extras.rivals, 'time')} without edges of the circuit: {again}; before each, at most "
            f"{RIVAL_FLOPS / 1e12:g} TFLOP to see which edges the model can do without"
        )
    return found


def _about(seconds: float) -> str:
    return f"about {seconds:.0f} s, going by how long the run took"


def measure_extras(
    path: Path, model: Model, task: Task, extras: Extras, progress: Progress
) -> Iterator[dict[str, object]]:
    """What a report has of each extra, by name, one after the other; `plan_extras` says what a run can have."""
    record, circuit = read_run(path), Circuit.load(path)
    if extras.stability is not None:
        yield {"stability": repeat_discovery(record, circuit, model, task, extras.stability, progress)}
    if extras.bootstraps is not None:
        found = bootstrap_discovery(path, record, circuit, model, task, extras.bootstraps, progress)
        yield {"bootstraps": found}
    if extras.against:
        yield {"specificity": specificity_of(circuit, model, task, extras.against, progress)}
    if extras.rivals is not None:
        yield {"rivals": rival_circuits(path, record, circuit, model, task, extras.rivals, progress)}
