"""ACDC under many thresholds: how the circuit's size and the metric trade off."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.curve import CurvePoint, CurveRecord, circuit_file
from acdc.behaviour.behaviour import Behaviour
from acdc.display import show
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.execution.work import Work
from acdc.graph.masks import concatenate
from acdc.model.load import Model
from acdc.options import MOST_THRESHOLDS, Level, check_count
from acdc.progress import Progress, silent
from acdc.search.acdc.search import candidates, decide
from acdc.search.discover import bind, describe_decisions, prepare
from acdc.search.options import OrderOptions
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import recovered_fraction
from acdc.task.rows import Task

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Point:
    """One threshold: its circuit, and the mean metric of that on the discovery rows and on the unseen ones.

    Metrics are in their own sign and unit; those on unseen rows are None where discovery used all rows.
    """

    circuit: Circuit
    metric: float
    faithfulness: float | None
    unseen_metric: float | None
    unseen_faithfulness: float | None

    @property
    def threshold(self) -> float:
        return self.circuit.method.selection["threshold"]


@dataclass(frozen=True)
class Curve:
    """Points by rising threshold, and the work that they took together."""

    points: tuple[Point, ...]
    work: Work

    @property
    def record(self) -> CurveRecord:
        """What is written of it, the circuits under their file names."""
        first = self.points[0].circuit
        points = [
            CurvePoint(
                threshold=point.threshold,
                edges=len(point.circuit.edges),
                edges_effective=point.circuit.edges_effective,
                nodes=len(point.circuit.nodes) if Level.nodes in first.units.lists else None,
                tests=int(point.circuit.method.selection["tests"]),
                metric=point.metric,
                faithfulness=point.faithfulness,
                unseen_metric=point.unseen_metric,
                unseen_faithfulness=point.unseen_faithfulness,
                circuit=circuit_file(point.threshold),
            )
            for point in self.points
        ]
        return CurveRecord(
            model=first.model,
            task=first.task,
            metric=first.metric,
            larger_is_better=first.larger_is_better,
            ablation=first.ablation,
            level=first.level,
            sender_order=str(first.method.options["sender_order"]),
            edges_total=first.edges_total,
            seed=first.seed,
            dtype=first.dtype,
            batch=first.batch,
            versions=first.versions,
            points=points,
        )

    def to_svg(self, path: str | Path) -> None:
        """Write its picture: faithfulness over the circuit's size."""
        from acdc.files import write_text

        write_text(Path(path), self._repr_svg_())

    def __repr__(self) -> str:
        return f"<Curve: {len(self.points)} thresholds>"

    def to_dataframe(self) -> "pd.DataFrame":
        """A row for each threshold: what `CurvePoint` says of it. Raises InputError without pandas."""
        return show("rows as data frame", (point.model_dump(exclude={"circuit"}) for point in self.record.points))

    def _repr_svg_(self) -> str:
        """What notebooks show."""
        return str(show("curve as SVG", self.record))


def sweep(
    model: Model,
    task: Task,
    settings: DiscoverySettings,
    thresholds: Sequence[float] | None = None,
    progress: Progress = silent,
) -> Curve:
    """Run ACDC under each threshold; by default under shares of the metric's range, 0.1 % to 20 %.

    Raises InputError for another method, for thresholds that are not positive, and for settings that do not fit.
    """
    check_thresholds(settings, thresholds)
    split = prepare(model, task, settings)
    with fixed_threads(settings.threads_in(model.anatomy)):
        behaviour = bind(model, task, settings, split.discovery)
        ends = behaviour.ends()
        if thresholds is None:
            thresholds = [share * abs(ends[0] - ends[1]) for share in DEFAULT_SHARES]
        options = settings.search_options
        assert isinstance(options, OrderOptions)  # a sweep is of acdc
        found = decide(behaviour, sorted(set(thresholds)), options, progress, candidates(behaviour, options, progress))
        work = behaviour.work
        circuits = [describe_decisions(behaviour, settings, split, decisions) for decisions in found]
        seen = _measure(behaviour, circuits)
        unseen: Sequence[tuple[float | None, float | None]] = [(None, None)] * len(circuits)
        if split.verification:
            unseen = _measure(bind(model, task, settings, split.verification), circuits)
    points = (Point(c, *here, *there) for c, here, there in zip(circuits, seen, unseen, strict=True))
    return Curve(tuple(points), work)


def check_thresholds(settings: DiscoverySettings, thresholds: Sequence[float] | None) -> None:
    """Raises InputError for what no sweep can use, before any work is done."""
    if not settings.method.decides:
        raise InputError(f"a sweep over thresholds works only with method acdc, not with {settings.method.name}")
    if thresholds is not None and not thresholds:
        raise InputError("a sweep needs at least one threshold")
    settings.check()
    check_count("--thresholds: a list of", len(thresholds or (0,)), MOST_THRESHOLDS)
    for threshold in thresholds or ():
        if not 0 < threshold < np.inf:
            raise InputError(f"--thresholds: {threshold} is not a positive number")


def _measure(behaviour: Behaviour, circuits: Sequence[Circuit]) -> list[tuple[float, float | None]]:
    """(mean metric, faithfulness) of each circuit."""
    full, empty = float(behaviour.full().mean()), float(behaviour.empty().mean())
    removed = concatenate([circuit.units.ablated(circuit.listed) for circuit in circuits])
    means = behaviour.measure(removed)[0].mean(axis=1).tolist()
    return [(mean, recovered_fraction(mean, full, empty)) for mean in means]
