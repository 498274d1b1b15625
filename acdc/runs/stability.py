"""Repeat the discovery of a run: on parts of its rows, on rows that other seeds draw, on the rows of each template."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.stability import Stability
from acdc.errors import InputError, NothingToFind
from acdc.model.load import Model
from acdc.options import MOST_REPEATS, check_count
from acdc.progress import Progress, silent
from acdc.runs.run_directory import RunRecord, read_run
from acdc.search.discover import discover
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Row, Task
from acdc.verification.stability import FEWEST, FEWEST_ROWS, compare_repeats, measure_stability, rows_of_a_repeat

SEEDS = 3  # other ones
FEWEST_OF_A_TEMPLATE, MOST_TEMPLATES = 4, 8


@dataclass(frozen=True)
class RepeatPlan:
    """What repeating a discovery comes to, as far as the run alone can tell: discoveries on parts of its rows and under
    other seeds, and about how many seconds; those on single templates take at most as long as one more."""

    repeats: int
    rows_each: int
    rows: int
    seeds: int
    seconds: float


def plan_repeats(path: Path, repeats: int) -> RepeatPlan:
    """Raises InputError for a run that cannot be repeated, or too few repetitions to tell anything."""
    record, circuit = read_run(path), Circuit.load(path)
    if record.kind != "discover":
        raise InputError("--stability repeats a discovery: name a run of 'acdc discover'")
    if repeats < FEWEST:
        raise InputError(f"--stability {repeats} must be at least {FEWEST}: fewer repetitions cannot show anything")
    check_count("--stability", repeats, MOST_REPEATS)
    rows = len(circuit.task.discovery)
    if rows < FEWEST_ROWS:
        raise InputError(f"--stability needs a discovery on at least {FEWEST_ROWS} rows")
    each, seeds = rows_of_a_repeat(rows), SEEDS if _draws(settings_of(record, circuit)) else 0
    return RepeatPlan(repeats, each, rows, seeds, record.seconds * (repeats * each / rows + seeds + 1))


def repeat_discovery(
    record: RunRecord, circuit: Circuit, model: Model, task: Task, repeats: int, progress: Progress
) -> Stability:
    """How stable the circuit of a run is; `plan_repeats` says what can be repeated."""
    settings, found = settings_of(record, circuit), _found(circuit)
    ids = set(circuit.task.discovery)
    rows = tuple(row for row in task.rows if row.id in ids)
    templates = _templates(rows)
    seeds = [circuit.seed + 1 + i for i in range(SEEDS)] if _draws(settings) else []

    def find(some: Sequence[Row], chosen: DiscoverySettings) -> frozenset[str]:
        try:
            found = _found(discover(model, replace(task, rows=tuple(some)), chosen, silent).circuit)
        except NothingToFind:
            found = frozenset()
        advance(1)
        return found

    with progress("stability", repeats + len(seeds) + len(templates), "discoveries") as advance:
        stability = measure_stability(
            len(rows),
            repeats,
            circuit.seed,
            found,
            lambda places: find([rows[i] for i in places], replace(settings, limit=len(places))),
        )
        by_seed = {f"seed {seed}": find(task.rows, replace(settings, seed=seed)) for seed in seeds}
        by_template = {name: find(some, replace(settings, limit=len(some))) for name, some in templates.items()}
    return stability.model_copy(
        update={
            "what": circuit.units.plural if circuit.units.have_neurons else "edges",
            "seeds": compare_repeats(found, by_seed) if by_seed else None,
            "templates": compare_repeats(found, by_template) if by_template else None,
        }
    )


def _found(circuit: Circuit) -> frozenset[str]:
    """What repetitions are asked for: its edges; of a circuit of neurons, its heads and neurons."""
    units = circuit.members if circuit.units.have_neurons else circuit.effective
    return frozenset(unit.id for unit in units)


def settings_of(record: RunRecord, circuit: Circuit) -> DiscoverySettings:
    """Those of the discovery of a run, with the metric that it came to."""
    return DiscoverySettings.of_record(record.inputs | {"metric": circuit.metric})


def _draws(settings: DiscoverySettings) -> bool:
    """Whether a seed makes any difference: to the rows that are drawn, or to what the method itself draws."""
    return settings.limit is None or settings.method.random


def _templates(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of every template that has enough of them, the most frequent first; none where there is only one."""
    counts = Counter(row.group for row in rows if row.group is not None)
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_TEMPLATES]
    names = [name for name in frequent if counts[name] >= FEWEST_OF_A_TEMPLATE]
    return {name: [row for row in rows if row.group == name] for name in names} if len(counts) > 1 else {}
