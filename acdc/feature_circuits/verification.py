"""Show by ablation how far a feature circuit carries the behaviour, on rows that discovery did not see.

What is measured is what a circuit of the model's components is asked too, and lands in the same report: faithfulness by
every metric with intervals, random circuits of as many features, the circuit without its features one by one; in full
also every ablation, completeness, and tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from acdc.artefacts.feature_circuit import FeatureCircuitRecord
from acdc.artefacts.verification.completeness import Completeness
from acdc.artefacts.verification.faithfulness import Faithfulness
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.minimality import TOLERANCE
from acdc.artefacts.verification.report import Measure, RandomCircuits, Report
from acdc.artefacts.verification.test_result import TestResult
from acdc.dictionaries.dictionary import Dictionary
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.feature_circuits.circuits import Circuits, Errors
from acdc.feature_circuits.nodes import FeatureNode
from acdc.feature_circuits.record import check_of
from acdc.feature_circuits.runs import FeatureAblation, FeatureRuns, Values
from acdc.model.load import Model
from acdc.options import Extent, Scope
from acdc.progress import Progress, silent
from acdc.task.metrics import METRICS, NOISE, Metric, recovered_fraction
from acdc.task.rows import Task
from acdc.verification import statistics
from acdc.verification.budget import STRONGEST, spread_over
from acdc.verification.completeness import completeness_of, knocked_out, knockouts
from acdc.verification.faithful import faithfulness_of, only_under
from acdc.verification.full_verification import RowValues, failures_of, groups_of, measured_metrics, tests_of_rows
from acdc.verification.intervals import Bootstrap
from acdc.verification.measures import measures_of, removal_of, sample_of
from acdc.verification.sampled_units import SampledUnits
from acdc.words import count_of

RANDOM = 10  # circuits of as many features, drawn at random
MOST_REMOVALS = {Extent.standard: 40, Extent.full: 400}
ERRORS_TOO = "errors too"
NOT_IN_STANDARD = "only a full verification measures it"


def verify_features(
    model: Model,
    dictionary: Dictionary,
    task: Task,
    circuit: FeatureCircuitRecord,
    scope: Scope | None = None,
    progress: Progress = silent,
) -> Report:
    """Measure a feature circuit on its unseen rows. Raises InputError where model, dictionary or task are not those
    that it was found with."""
    scope = scope or Scope()
    _check_same(model, dictionary, task, circuit)
    unseen = circuit.verification_rows
    told: dict[str, Any] = {
        "extent": scope.extent,
        "most_rows": scope.rows,
        "unseen": len(unseen),
        "metric": circuit.metric,
        "ablation": circuit.ablation,
        "edges": len(circuit.nodes),
        "edges_total": circuit.candidates,
    }
    if not unseen or scope.extent is Extent.none:
        rows = count_of(len(circuit.discovery_rows), "row")
        reason = "none was asked for" if unseen else f"discovery used all {rows} of task {task.name!r}"
        return Report(rows=0, reason=reason, **told)
    chosen = tuple(spread_over(unseen, min(scope.rows or len(unseen), len(unseen))))
    bound = _Bound(model, dictionary, task, circuit, chosen, progress)
    with fixed_threads(circuit.threads):
        found: dict[str, Any] = {"measures": _measures(bound)}
        if scope.extent is not Extent.quick:
            found |= {"random": _random(bound), **_removals(bound, MOST_REMOVALS[scope.extent])}
            found["full_verification"] = _in_full(bound, scope.extent)
    return Report(rows=len(chosen), duplicates=circuit.duplicates, **told, **found)


def _check_same(model: Model, dictionary: Dictionary, task: Task, circuit: FeatureCircuitRecord) -> None:
    check_of(circuit, model, dictionary)
    if task.content_hash() != circuit.task_hash:
        raise InputError(f"the circuit was found on other rows than task {task.name!r} has")
    if circuit.spans_hash is not None and circuit.spans_hash != task.spans_hash():
        raise InputError(f"the circuit was found with other spans than the rows of task {task.name!r} have")
    if model.dtype_name != circuit.dtype:
        raise InputError(f"the circuit was found in {circuit.dtype}, the model is loaded in {model.dtype_name}")


@dataclass(frozen=True)
class _Bound:
    """A circuit with its model on some of its unseen rows."""

    model: Model
    dictionary: Dictionary
    task: Task
    circuit: FeatureCircuitRecord
    rows: tuple[str, ...]
    progress: Progress

    @cached_property
    def nodes(self) -> list[FeatureNode]:
        return [FeatureNode.parse(one.id, self.dictionary) for one in self.circuit.nodes]

    @cached_property
    def own(self) -> Circuits:
        """Circuits under the ablation that this one was found with."""
        return self.under(FeatureAblation(self.circuit.ablation))

    def under(self, ablation: FeatureAblation) -> Circuits:
        means = self._means if ablation is FeatureAblation.mean else None
        return Circuits(self._runs(self.rows, ablation, means), Errors(self.circuit.errors))

    @cached_property
    def _means(self) -> Values | None:
        """Those of the discovery rows, which means are taken of."""
        return self._runs(self.circuit.discovery_rows, FeatureAblation.mean).means

    def _runs(self, rows: Sequence[str], ablation: FeatureAblation, means: Values | None = None) -> FeatureRuns:
        one, number = self.circuit, {row.id: place for place, row in enumerate(self.task.rows)}
        places, metric = [number[name] for name in rows], METRICS.find(one.metric)
        at_places = bool(one.places)
        return FeatureRuns(
            self.model, self.dictionary, self.task, places, metric, ablation, one.batch_size, means, at_places
        )

    @cached_property
    def metrics(self) -> list[Metric]:
        return measured_metrics(self.own.runs.behaviour)

    @cached_property
    def bootstrap(self) -> Bootstrap:
        return Bootstrap(SampledUnits.of(self.own.runs.behaviour.rows), self.circuit.seed)

    @cached_property
    def values(self) -> "_Values":
        return _Values.of(self.own, self.nodes, self.metrics)

    @cached_property
    def span(self) -> float:
        """|full - empty| of the metric, 0 where they are alike."""
        full, empty = (float(values[0].mean()) for values in (self.values.full, self.values.empty))
        return 0.0 if recovered_fraction(full, full, empty) is None else abs(full - empty)


@dataclass(frozen=True)
class _Values:
    """Metrics [metrics, R] of a circuit, its complement, all nodes ablated, and the model; `bare`: the first three with
    all errors ablated as well."""

    circuit: np.ndarray
    complement: np.ndarray
    empty: np.ndarray
    full: np.ndarray
    bare: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, circuits: Circuits, nodes: Sequence[FeatureNode], metrics: Sequence[Metric]) -> "_Values":
        asked = [circuits.circuit(nodes), circuits.complement(nodes), circuits.circuit([])]
        asked += [circuits.bare(nodes), circuits.complement(nodes, bare=True), circuits.bare([])]
        circuit, complement, empty, *bare = circuits.runs.measure(asked, metrics=metrics).transpose(1, 0, 2)
        return cls(circuit, complement, empty, circuits.runs.behaviour.plain(metrics), (bare[0], bare[1], bare[2]))

    def faithfulness(self, ablation: str, metrics: Sequence[Metric], bootstrap: Bootstrap) -> list[Faithfulness]:
        own = (self.circuit, self.complement, self.empty)
        return self._faithfulness(ablation, own, metrics, bootstrap)

    def without_errors(self, ablation: str, metrics: Sequence[Metric], bootstrap: Bootstrap) -> list[Faithfulness]:
        return self._faithfulness(f"{ablation}, {ERRORS_TOO}", self.bare, metrics, bootstrap)

    def _faithfulness(
        self,
        name: str,
        own: tuple[np.ndarray, np.ndarray, np.ndarray],
        metrics: Sequence[Metric],
        bootstrap: Bootstrap,
    ) -> list[Faithfulness]:
        columns = zip(metrics, *own, self.full, strict=True)
        return [faithfulness_of(name, metric, (a, b, c, d), bootstrap) for metric, a, b, c, d in columns]


def _measures(bound: _Bound) -> dict[str, Measure]:
    """The mean of every metric that the rows have answers for."""
    behaviour, values = bound.own.runs.behaviour, bound.values
    corrupted: list[float | None] = [None] * len(bound.metrics)
    if behaviour.has_corrupted:
        corrupted = behaviour.plain(bound.metrics, corrupted=True).mean(axis=1).tolist()
    means = [x.mean(axis=1) for x in (values.full, values.circuit, values.complement, values.empty)]
    return measures_of(bound.metrics, np.stack(means), corrupted)


def _random(bound: _Bound) -> RandomCircuits:
    """As many nodes drawn from those that are active."""
    circuits, generator = bound.own, np.random.default_rng(bound.circuit.seed)
    pool, size = circuits.pool(), len(bound.nodes)
    drawn = [circuits.circuit(circuits.drawn(pool, size, generator)) for _ in range(RANDOM)]
    with bound.progress("random circuits", RANDOM, "circuits") as advance:
        values = circuits.runs.measure(drawn, advance)[0].mean(axis=1).tolist()
    shares = [recovered_fraction(value, circuits.full, circuits.empty) for value in values]
    return RandomCircuits(edges=[size] * RANDOM, faithfulness=shares, rows=len(bound.rows))


def _removals(bound: _Bound, most: int) -> dict[str, Any]:
    """The circuit without the strongest of its features, and without others drawn at random, in turn."""
    nodes, circuits = bound.nodes, bound.own
    others = np.random.default_rng(bound.circuit.seed).permutation(np.arange(STRONGEST, max(STRONGEST, len(nodes))))
    places = [*range(min(STRONGEST, len(nodes))), *sorted(others[: max(0, most - STRONGEST)].tolist())]
    removed = [circuits.circuit([one for one in nodes if one != nodes[place]]) for place in places]
    with bound.progress("removing features", len(places), "features") as advance:
        changes = circuits.runs.measure(removed, advance)[0] - bound.values.circuit[0]
    sign, tolerance, noise = circuits.runs.metric.sign, TOLERANCE * bound.span, NOISE * bound.span
    found = [
        removal_of(nodes[place].id, change, sign, noise, tolerance, bound.bootstrap)
        for place, change in zip(places, changes, strict=True)
    ]
    strongest = [node.id for node in nodes[:STRONGEST]]
    return {"removals": found, "sample": sample_of(len(nodes), found, strongest, len(bound.rows))}


def _in_full(bound: _Bound, extent: Extent) -> FullVerification:
    """Intervals, and where all is asked for, other ablations, completeness and tests."""
    circuit, metrics, bootstrap = bound.circuit, bound.metrics, bound.bootstrap
    found = bound.values.faithfulness(circuit.ablation, metrics, bootstrap)
    if circuit.errors != Errors.remove:
        found += bound.values.without_errors(circuit.ablation, metrics, bootstrap)
    left_out = {"minimality": "features are removed one by one alone"}
    complete, tests = None, list[TestResult]()
    rows, runs = bound.own.runs.behaviour.rows, _row_values(bound)
    if extent is Extent.full:
        under, why = _other_ablations(bound)
        found, left_out = found + under, left_out | why
        complete = _completeness(bound)
        tests = statistics.correct(tests_of_rows(bound.own.runs.metric, rows, runs, circuit.seed))
    else:
        left_out |= dict.fromkeys(("completeness", "other ablations", "tests against chance"), NOT_IN_STANDARD)
    return FullVerification(
        faithfulness=found,
        only_under=only_under(found, circuit.metric),
        completeness=complete,
        minimality=None,
        tests=tests,
        groups=groups_of(rows, runs, circuit.seed),
        failures=failures_of(bound.own.runs.metric, rows, runs),
        left_out=left_out,
        sampling=bootstrap.units.record,
    )


def _row_values(bound: _Bound) -> RowValues:
    values = bound.values
    names = [metric.name for metric in bound.metrics]
    right = [values.circuit, values.full] if "accuracy" in names else []
    answers = [x[names.index("accuracy")] for x in right]
    return RowValues(values.full[0], values.circuit[0], values.complement[0], values.empty[0], *answers)


def _other_ablations(bound: _Bound) -> tuple[list[Faithfulness], dict[str, str]]:
    """(how faithful the circuit is under these, why some say nothing)."""
    found, left_out = list[Faithfulness](), dict[str, str]()
    for ablation in FeatureAblation:
        if ablation.value != bound.circuit.ablation:
            try:
                values = _Values.of(bound.under(ablation), bound.nodes, bound.metrics)
            except InputError as error:  # of rows without corrupted prompts that correspond
                left_out[f"{ablation} ablation"] = str(error)
                continue
            found += values.faithfulness(ablation.value, bound.metrics, bound.bootstrap)
    return found, left_out


def _completeness(bound: _Bound) -> Completeness | None:
    """See `acdc.verification.completeness`: the same features are knocked out of circuit and model."""
    nodes, circuits = bound.nodes, bound.own
    if not nodes:
        return None
    every = np.arange(len(nodes))
    out = knocked_out(every, len(nodes), np.random.default_rng(bound.circuit.seed))
    kept = [[node for node, gone in zip(nodes, row, strict=True) if not gone] for row in out]
    gone = [[node for node, gone in zip(nodes, row, strict=True) if gone] for row in out]
    with bound.progress("completeness", 2 * knockouts(len(nodes)), "circuits") as advance:
        circuit = circuits.runs.measure([circuits.circuit(some) for some in kept], advance)[0]
        model = circuits.runs.measure([circuits.complement(some) for some in gone], advance)[0]
    return completeness_of(out.sum(axis=1), circuit, model, bound.span, bound.bootstrap)
