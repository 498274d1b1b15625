"""Show by ablation how far a circuit carries the behaviour, on rows that discovery did not see, stage by stage."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.over_sizes import EdgeRanking
from acdc.artefacts.verification.plan import VerificationPlan
from acdc.artefacts.verification.report import Measure, RandomCircuits, Report
from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.workers import FindWorkers, no_workers
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model
from acdc.options import Extent
from acdc.progress import Progress, silent
from acdc.task.metrics import Metric, MetricFunction
from acdc.task.rows import Task
from acdc.verification.binding import behaviour_of, check_same, own_metric, rows_of
from acdc.verification.budget import STRONGEST, plan_verification, sample_order, spread_over
from acdc.verification.full_verification import Verified, full_verification
from acdc.verification.measures import measure_circuit, random_circuits, remove_each, sample_of
from acdc.words import count_of


def verify(
    model: Model,
    task: Task,
    circuit: Circuit,
    *,
    metric: Metric | MetricFunction | None = None,
    extent: Extent = Extent.standard,
    most_rows: int | None = None,
    ranking: EdgeRanking | None = None,
    progress: Progress = silent,
    find_workers: FindWorkers = no_workers,
) -> Report:
    """Measure a circuit on its verification rows: the last report of `verify_in_stages`."""
    stages = verify_in_stages(
        model,
        task,
        circuit,
        metric=metric,
        extent=extent,
        most_rows=most_rows,
        ranking=ranking,
        progress=progress,
        find_workers=find_workers,
    )
    *_, report = stages
    return report


def verify_in_stages(
    model: Model,
    task: Task,
    circuit: Circuit,
    *,
    metric: Metric | MetricFunction | None = None,
    extent: Extent = Extent.standard,
    most_rows: int | None = None,
    ranking: EdgeRanking | None = None,
    before: Report | None = None,
    progress: Progress = silent,
    find_workers: FindWorkers = no_workers,
) -> Iterator[Report]:
    """Measure a circuit on its verification rows: the report after each stage, of which the last is complete.

    First every metric of circuit, complement, empty and full model; then, unless `extent` is quick, random circuits and
    the circuit without its parts one by one; where it is full, all that `acdc.verification.full_verification` asks,
    over all sizes too where there is a `ranking` of all edges. How much of each is measured is decided by
    `acdc.verification.budget`.

    `most_rows`: at most so many rows. `before`: an earlier verification of the circuit; what that measured on the same
    rows is not measured again. `metric` is only needed where discovery used a callable of the user's. `find_workers`:
    others who share in the work. Raises InputError when model or task are not those that the circuit was found with."""
    plan = plan_of(model, task, circuit, extent, most_rows)
    stages = _Stages(model, task, circuit, own_metric(circuit, metric), plan, progress, find_workers, most_rows)
    if plan is None:
        yield stages.report(extent, before, {})
        return
    with fixed_threads(circuit.batch.threads):
        report = stages.report(extent, before, stages.known(before))
        if extent is Extent.quick:
            yield report.model_copy(update={"complete": True})
            return
        yield report
        if report.random is None and circuit.size:
            report = report.model_copy(update={"random": stages.random()})
            yield report
        if not stages.has_removed(report):
            report = report.model_copy(update=stages.removals(report))
        if extent is Extent.full:
            yield report
            report = report.model_copy(update={"full_verification": stages.full_verification(report, ranking)})
        yield report.model_copy(update={"complete": True})


def plan_of(
    model: Model, task: Task, circuit: Circuit, extent: Extent, most_rows: int | None = None
) -> VerificationPlan | None:
    """What verifying a circuit will measure; None where there is no row for it. Raises InputError when model or task
    are not those that it was found with."""
    check_same(model, task, circuit)
    unseen = rows_of(task, circuit.task.verification)
    if not unseen:
        return None
    return plan_verification(model, circuit, rows_of(task, circuit.task.discovery), unseen, extent, most_rows)


@dataclass(frozen=True)
class _Stages:
    """What is measured at each stage of one verification."""

    model: Model
    task: Task
    circuit: Circuit
    metric: Metric
    _plan: VerificationPlan | None
    progress: Progress
    find_workers: FindWorkers
    most_rows: int | None = None
    _bound: dict[tuple[str, int], Behaviour] = field(default_factory=dict)

    @cached_property
    def plan(self) -> VerificationPlan:
        assert self._plan is not None  # nothing is measured without rows
        return self._plan

    def report(self, extent: Extent, before: Report | None, known: dict[str, Any]) -> Report:
        """A report with what is known so far."""
        circuit, plan, task = self.circuit, self._plan, self.circuit.task
        reason = f"discovery used all {count_of(task.rows_total, 'row')} of task {task.name!r}"
        return Report(
            extent=extent,
            complete=plan is None,
            rows=0 if plan is None else plan.rows,
            reason=None if plan else reason,
            unseen=len(task.verification),
            most_rows=self.most_rows,
            metric=circuit.metric,
            ablation=circuit.ablation,
            edges=circuit.edges_effective,
            edges_total=circuit.edges_total,
            duplicates=task.duplicates if plan else 0,
            **({} if before is None else before.extras),
            **known,
        )

    def known(self, before: Report | None) -> dict[str, Any]:
        """The metrics, and beside them what an earlier verification has measured on the same rows."""
        plan = self.plan
        if before is None or before.rows != plan.rows:
            return {"measures": self.measures()}
        random = before.random
        same_random = random is not None and (len(random.edges), random.rows) == (plan.random, plan.random_rows)
        same_rows = before.sample is not None and before.sample.rows == plan.removal_rows
        return {
            "measures": before.measures,
            "random": random if same_random else None,
            "removals": before.removals if same_rows else [],
            "sample": before.sample if same_rows else None,
        }

    def on(self, rows: int, ablation: str | None = None) -> Behaviour:
        """The behaviour on so many of the unseen rows, under the circuit's own ablation or another."""
        key = (ablation or self.circuit.ablation, rows)
        if key not in self._bound:
            for bound in self._bound.values():  # somebody may still hold it, but not need its runs
                bound.release()
            self._bound.clear()
            names = spread_over(self.circuit.task.verification, rows)
            find_workers = self.find_workers if ablation is None else no_workers
            self._bound[key] = behaviour_of(
                self.model, self.task, self.circuit, names, self.metric, key[0], find_workers
            )
        return self._bound[key]

    def measures(self) -> dict[str, Measure]:
        rows = self.plan.rows
        with self.progress(f"metrics on {count_of(rows, 'unseen row')}", 3 * rows, "prompts") as advance:
            return measure_circuit(self.on(rows), self.circuit.ablated, self.circuit.own, advance)

    def random(self) -> RandomCircuits:
        count, rows = self.plan.random, self.plan.random_rows
        with self.progress(count_of(count, "random circuit"), count * rows, "prompts") as advance:
            return random_circuits(self.on(rows), self.circuit, count, advance)

    def _removed(self) -> list[str]:
        return [self.circuit.parts[place].id for place in self.plan.removed]

    def has_removed(self, report: Report) -> bool:
        """Whether all parts that are to be removed have been."""
        return report.sample is not None and {r.id for r in report.removals} == set(self._removed())

    def removals(self, report: Report) -> dict[str, object]:
        """The removals, and what they say of all parts."""
        circuit, rows = self.circuit, self.plan.removal_rows
        known = {removal.id: removal for removal in report.removals}
        asked = len([name for name in self._removed() if name not in known])
        with self.progress(self._what(asked), asked * rows, "prompts") as advance:
            found = remove_each(self.on(rows), circuit, self.plan.removed, report.tolerance, known, advance)
        strongest = [circuit.parts[place].id for place in sample_order(circuit)[:STRONGEST]]
        return {"removals": found, "sample": sample_of(len(circuit.parts), found, strongest, rows)}

    def _what(self, asked: int) -> str:
        parts, name = len(self.circuit.parts), self.circuit.part_name
        return f"removing {parts:,} {name}" if asked == parts else f"removing {asked:,} of {parts:,} {name}"

    def full_verification(self, report: Report, ranking: EdgeRanking | None) -> FullVerification:
        circuit = self.circuit
        edges = circuit.kept if circuit.units.are_edges else None
        verified = Verified(circuit.ablated, circuit.own, edges, circuit.seed, None if edges is None else ranking)
        return full_verification(self.on, self.plan, report.removals, verified, self.progress)
