"""Find a feature circuit: rank nodes by their effects, and keep as many as are asked for or as a faithfulness needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from acdc.dictionaries.dictionary import Dictionary
from acdc.errors import InputError
from acdc.feature_circuits.circuits import Circuits, Errors, Measured
from acdc.feature_circuits.edges import Edges, node_edges
from acdc.feature_circuits.effects import STEPS, EffectMethod, Effects, node_effects, ranked
from acdc.feature_circuits.nodes import FeatureNode
from acdc.feature_circuits.runs import FeatureAblation, FeatureRuns
from acdc.model.load import Model
from acdc.options import check_count
from acdc.progress import Progress, silent
from acdc.task.metrics import as_metric
from acdc.task.rows import Task
from acdc.task.split import Split, split_rows

MOST_EDGES = 64  # nodes, the strongest, between which edges are


@dataclass(frozen=True)
class FeatureSettings:
    """`nodes`: how many to keep; or those with an |effect| of `threshold`; else as many as reach `faithfulness` on the
    discovery rows. `by_position`: nodes are at single spans of the task, or positions."""

    method: EffectMethod = EffectMethod.ig
    ablation: FeatureAblation = FeatureAblation.resample
    errors: Errors = Errors.keep
    nodes: int | None = None
    faithfulness: float = 0.9
    metric: str | None = None
    steps: int = STEPS
    limit: int | None = None
    batch_size: int = 32
    seed: int = 0
    threshold: float | None = None
    by_position: bool = False

    def check(self) -> None:
        """Raises InputError for values that mean nothing."""
        if self.nodes is not None:
            check_count("--nodes", self.nodes)
        check_count("--steps", self.steps, 1000)
        check_count("--batch-size", self.batch_size)
        if not 0 < self.faithfulness <= 1:
            raise InputError(f"--faithfulness {self.faithfulness:g} must be above 0 and at most 1")
        if self.threshold is not None and not 0 < self.threshold < inf:
            raise InputError(f"--threshold {self.threshold:g} must be a positive number")
        if self.threshold is not None and self.nodes is not None:
            raise InputError("give only one of --nodes and --threshold: each says how large the circuit becomes")


@dataclass(frozen=True)
class FeatureCircuit:
    """Nodes with their effects, strongest first; edges among the strongest of them. `curve`: (nodes, faithfulness) on
    the discovery rows, where the sizes were tried."""

    nodes: tuple[tuple[FeatureNode, float], ...]
    candidates: int
    edges: Edges
    curve: tuple[tuple[int, float], ...]
    discovery: Measured
    metric: str
    larger_is_better: bool
    split: Split
    effects: Effects
    places: tuple[str, ...]


def discover_features(
    model: Model, dictionary: Dictionary, task: Task, settings: FeatureSettings, progress: Progress = silent
) -> FeatureCircuit:
    """Raises InputError for settings that do not fit, NothingToFind where ablating everything changes nothing."""
    settings.check()
    split, metric = split_rows(task.rows, settings.seed, settings.limit), as_metric(settings.metric or task.metric)
    runs = FeatureRuns(
        model,
        dictionary,
        task,
        split.discovery,
        metric,
        settings.ablation,
        settings.batch_size,
        by_position=settings.by_position,
    )
    circuits = Circuits(runs, settings.errors)
    circuits.check()
    effects = node_effects(runs, settings.method, settings.steps, progress)
    order = ranked({node: effect for node, effect in effects.items() if circuits.ranks(node)})
    count, curve = _size(circuits, [(node, effects[node]) for node in order], settings, progress)
    nodes = order[:count]
    return FeatureCircuit(
        tuple((node, effects[node]) for node in nodes),
        len(order),
        node_edges(runs, nodes[:MOST_EDGES], progress) if not metric.steps else {},
        curve,
        circuits.measured(nodes),
        metric.name,
        metric.larger_is_better,
        split,
        effects,
        runs.places,
    )


def _size(
    circuits: Circuits, order: Sequence[tuple[FeatureNode, float]], settings: FeatureSettings, progress: Progress
) -> tuple[int, tuple[tuple[int, float], ...]]:
    """(how many of the ranked nodes are kept, what was measured on the way): without a size or a threshold, sizes are
    doubled until one is faithful enough, and the last step is halved."""
    nodes = [node for node, _ in order]
    if settings.nodes is not None or settings.threshold is not None:
        strong = sum(abs(effect) >= settings.threshold for _, effect in order) if settings.threshold else len(order)
        count = min(settings.nodes or strong, len(order))
        return count, ((count, circuits.faithfulness(nodes[:count])),)
    curve: dict[int, float] = {}

    def enough(count: int) -> bool:
        curve[count] = circuits.faithfulness(nodes[:count])
        return curve[count] >= settings.faithfulness

    count = 1
    with progress("choosing", np.log2(max(2, len(nodes))) * 2, "circuits") as advance:
        while count < len(nodes) and not enough(count):
            count = min(2 * count, len(nodes))
            advance(1)
        low, high = count // 2, count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
            advance(1)
    if high not in curve:
        enough(high)
    return high, tuple(sorted(curve.items()))
