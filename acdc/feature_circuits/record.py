"""Feature circuits as artefacts, and the effect of ablating some features everywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc.artefacts.circuit import library_versions
from acdc.artefacts.feature_circuit import (
    AblatedFeatures,
    DictionaryRecord,
    FeatureCircuitRecord,
    FeatureEdge,
    MeasuredRecord,
    NodeRecord,
)
from acdc.artefacts.verification.interval import Interval
from acdc.dictionaries.dictionary import Dictionary
from acdc.display import Tabled
from acdc.errors import InputError
from acdc.feature_circuits.discover import FeatureCircuit, FeatureSettings
from acdc.feature_circuits.effects import EffectMethod
from acdc.feature_circuits.nodes import EVERYWHERE, FeatureNode, Removed
from acdc.feature_circuits.runs import FeatureAblation, FeatureRuns
from acdc.model.load import Model
from acdc.options import DEFAULT_THREADS
from acdc.task.metrics import METRICS, Metric
from acdc.task.rows import Task
from acdc.verification.intervals import Bootstrap, mean
from acdc.verification.sampled_units import SampledUnits

_SHARES = ("faithfulness", "completeness", "faithfulness_without_errors")


def dictionary_record(dictionary: Dictionary, given: str | Path) -> DictionaryRecord:
    return DictionaryRecord(given=str(given), name=dictionary.name, format=dictionary.format, digest=dictionary.digest)


def to_record(
    found: FeatureCircuit,
    model: Model,
    task: Task,
    dictionary: DictionaryRecord,
    settings: FeatureSettings,
    threads: int = DEFAULT_THREADS,
) -> FeatureCircuitRecord:
    """`threads`: with which it was found."""
    at_places = found.places != EVERYWHERE
    edges = sorted(found.edges.items(), key=lambda item: (-abs(item[1]), item[0]))
    return FeatureCircuitRecord(
        model=model.name,
        model_hash=model.content_hash,
        dtype=model.dtype_name,
        task=task.name,
        task_hash=task.content_hash(),
        dictionary=dictionary,
        metric=found.metric,
        larger_is_better=found.larger_is_better,
        method=settings.method.value,
        steps=settings.steps if settings.method is EffectMethod.ig else None,
        ablation=settings.ablation.value,
        errors=settings.errors.value,
        seed=settings.seed,
        batch_size=settings.batch_size,
        threads=threads,
        split=found.split.rule,
        discovery_rows=tuple(task.rows[place].id for place in found.split.discovery),
        verification_rows=tuple(task.rows[place].id for place in found.split.verification),
        duplicates=found.split.duplicates,
        places=found.places if at_places else (),
        spans_hash=task.spans_hash() if at_places and task.span_names else None,
        candidates=found.candidates,
        nodes=tuple(NodeRecord(id=node.id, effect=effect) for node, effect in found.nodes),
        edges=tuple(FeatureEdge(source=ends[0], target=ends[1], effect=effect) for ends, effect in edges),
        curve=found.curve,
        discovery=MeasuredRecord(**vars(found.discovery), **{name: getattr(found.discovery, name) for name in _SHARES}),
        libraries=library_versions(),
    )


@dataclass(frozen=True, repr=False)
class AblationEffect(Tabled):
    """A metric of a task as the model is and with features ablated, and its change row by row, with intervals."""

    task: str
    metric: str
    rows: int
    before: Interval
    after: Interval
    change: Interval

    def summary(self) -> str:
        means = f"{self.before.value:.4g} before, {self.after.value:.4g} after"
        return f"{self.metric} of {self.task}, {means}, on {self.rows} rows"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row each for `before`, `after` and `change`: the `value` with its 95% interval."""
        for name in ("before", "after", "change"):
            yield {"what": name, "task": self.task, "metric": self.metric, **getattr(self, name).model_dump()}


def check_of(record: AblatedFeatures | FeatureCircuitRecord, model: Model, dictionary: Dictionary) -> None:
    """Raises InputError where a file is of another model or dictionary."""
    if record.model_hash != model.content_hash:
        raise InputError(f"the features are of another model, {record.model!r}, than {model.name!r}")
    if record.dictionary.digest != dictionary.digest:
        raise InputError(
            f"the features are of another dictionary, {record.dictionary.name!r}, than {dictionary.name!r}"
        )


def bound_features(chosen: AblatedFeatures, model: Model, dictionary: Dictionary) -> AblatedFeatures:
    """The same with names as acdc writes them, and as interventions. Raises InputError where they are of another model
    or dictionary, and for what is no feature of it."""
    check_of(chosen, model, dictionary)
    ids = tuple(FeatureNode.parse(name, dictionary).id for name in chosen.features)
    found = chosen.model_copy(update={"features": ids})
    return found.model_copy(update={"set": found.interventions() if found.to == "zero" else ()})


def _within(interval: Interval, values: np.ndarray) -> Interval:
    """The interval of a mean, which rounding may leave just outside of all values."""
    ends = {name: end for name in ("low", "high") if (end := getattr(interval, name)) is not None}
    clipped = {name: float(np.clip(end, values.min(), values.max())) for name, end in ends.items()}
    return interval.model_copy(update=clipped)


def ablation_effects(
    model: Model, dictionary: Dictionary, task: Task, chosen: AblatedFeatures, seed: int = 0, batch_size: int = 32
) -> list[AblationEffect]:
    """Of a task's metric and, where it is another one, of its accuracy. Means are over the task's clean prompts."""
    nodes = [FeatureNode.parse(text, dictionary) for text in chosen.features]
    removed = Removed.these(nodes, dictionary)
    metrics: list[Metric] = [METRICS.find(task.metric)]
    if task.metric != "accuracy" and all(row.correct for row in task.rows):
        metrics.append(METRICS.find("accuracy"))
    found = []
    for metric in metrics:
        runs = FeatureRuns(
            model, dictionary, task, range(len(task.rows)), metric, FeatureAblation(chosen.to), batch_size
        )
        before, after = np.array(runs.behaviour.full()), runs.measure([removed])[0, 0]
        bootstrap = Bootstrap(SampledUnits.of(runs.behaviour.rows), seed)
        values = (_within(bootstrap.of(mean, one), one) for one in (before, after, after - before))
        found.append(AblationEffect(task.name, metric.name, len(task.rows), *values))
    return found
