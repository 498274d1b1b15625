"""Find a feature circuit: rank nodes by their effects, keep as many as a faithfulness needs, verify on unseen rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from acdc.dictionaries.dictionary import Dictionary
from acdc.errors import InputError, NothingToFind
from acdc.feature_circuits.edges import Edges, node_edges
from acdc.feature_circuits.effects import STEPS, EffectMethod, Effects, active_nodes, node_effects, ranked
from acdc.feature_circuits.nodes import FeatureNode, Removed
from acdc.feature_circuits.runs import FeatureAblation, FeatureRuns
from acdc.model.load import Model
from acdc.options import check_count
from acdc.progress import Progress, silent
from acdc.task.metrics import NOISE, as_metric
from acdc.task.rows import Task
from acdc.task.split import Split, split_rows

RANDOM, REMOVED, MOST_EDGES = 10, 10, 64


class Errors(StrEnum):
    """What becomes of what the dictionary does not reconstruct: it stays in every circuit, it is ablated in every one,
    or errors are ranked among the features."""

    keep = "keep"
    remove = "remove"
    rank = "rank"


@dataclass(frozen=True)
class FeatureSettings:
    """`nodes`: how many to keep; else as many as reach `faithfulness` on the discovery rows."""

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

    def check(self) -> None:
        """Raises InputError for values that mean nothing."""
        if self.nodes is not None:
            check_count("--nodes", self.nodes)
        check_count("--steps", self.steps, 1000)
        if not 0 < self.faithfulness <= 1:
            raise InputError(f"--faithfulness {self.faithfulness:g} must be above 0 and at most 1")


@dataclass(frozen=True)
class Measured:
    """Mean metrics on rows: of the model, of the circuit, of all without the circuit's nodes, and with every node
    ablated; all with errors as the circuit has them. `errors_removed`: of the circuit with errors ablated too."""

    rows: int
    full: float
    circuit: float
    complement: float
    empty: float
    errors_removed: float
    empty_without_errors: float

    @property
    def faithfulness(self) -> float:
        return (self.circuit - self.empty) / (self.full - self.empty)

    @property
    def completeness(self) -> float:
        """The share that is left without the circuit: 0 where it has all that matters."""
        return (self.complement - self.empty) / (self.full - self.empty)

    @property
    def faithfulness_without_errors(self) -> float:
        return (self.errors_removed - self.empty_without_errors) / (self.full - self.empty_without_errors)


@dataclass(frozen=True)
class FeatureCircuit:
    """Nodes with their effects, strongest first; edges among the strongest of them. `curve`: (nodes, faithfulness) on
    the discovery rows. `removals`: by node, by how much the metric of the model changes on unseen rows when it
    alone is ablated. `random`: faithfulness of as many features drawn at random from those that are active."""

    nodes: tuple[tuple[FeatureNode, float], ...]
    candidates: int
    edges: Edges
    curve: tuple[tuple[int, float], ...]
    discovery: Measured
    unseen: Measured | None
    removals: tuple[tuple[FeatureNode, float], ...]
    random: tuple[float, ...]
    metric: str
    split: Split
    effects: Effects


def discover_features(
    model: Model, dictionary: Dictionary, task: Task, settings: FeatureSettings, progress: Progress = silent
) -> FeatureCircuit:
    """Raises InputError for settings that do not fit, NothingToFind where ablating everything changes nothing."""
    settings.check()
    split, metric = split_rows(task.rows, settings.seed, settings.limit), as_metric(settings.metric or task.metric)
    runs = FeatureRuns(model, dictionary, task, split.discovery, metric, settings.ablation, settings.batch_size)
    search = _Search(runs, settings)
    effects = node_effects(runs, settings.method, settings.steps, progress)
    candidates = {node: effect for node, effect in effects.items() if search.ranks_errors or not node.is_error}
    order = ranked(candidates)
    count, curve = search.size(order, progress)
    nodes = order[:count]
    unseen, removals, random = None, list[tuple[FeatureNode, float]](), list[float]()
    if split.verification:
        other = FeatureRuns(
            model, dictionary, task, split.verification, metric, settings.ablation, settings.batch_size, runs.means
        )
        check = _Search(other, settings)
        unseen = check.measured(nodes)
        removals = check.removals(nodes[:REMOVED])
        random = check.random(nodes, settings.seed, progress)
    return FeatureCircuit(
        tuple((node, effects[node]) for node in nodes),
        len(candidates),
        node_edges(runs, nodes[:MOST_EDGES], progress) if not metric.steps else {},
        curve,
        search.measured(nodes),
        unseen,
        tuple(removals),
        tuple(random),
        metric.name,
        split,
        effects,
    )


class _Search:
    """Circuits of some rows, with errors as the settings have them."""

    def __init__(self, runs: FeatureRuns, settings: FeatureSettings):
        self.runs, self.errors, self.wanted = runs, settings.errors, settings
        self.full = runs.full()
        self.empty = self._mean(self._circuit([]))
        if abs(self.full - self.empty) <= NOISE * max(abs(self.full), abs(self.empty)):
            raise NothingToFind(
                f"metric {runs.metric.name!r} is {self.full:.6g} with and without all features of "
                f"{runs.dictionary.name}: there is nothing for a circuit to recover"
            )

    @property
    def ranks_errors(self) -> bool:
        return self.errors is Errors.rank

    def _circuit(self, nodes: Sequence[FeatureNode]) -> Removed:
        return Removed.all_but(nodes, self.runs.dictionary, self.errors is not Errors.keep)

    def _mean(self, removed: Removed) -> float:
        return float(self.runs.measure([removed])[0].mean())

    def faithfulness(self, nodes: Sequence[FeatureNode]) -> float:
        return (self._mean(self._circuit(nodes)) - self.empty) / (self.full - self.empty)

    def size(self, order: Sequence[FeatureNode], progress: Progress) -> tuple[int, tuple[tuple[int, float], ...]]:
        """(how many of the ranked nodes are kept, what was measured on the way): sizes are doubled until one is
        faithful enough, and the last step is halved."""
        if self.wanted.nodes is not None:
            count = min(self.wanted.nodes, len(order))
            return count, ((count, self.faithfulness(order[:count])),)
        curve: dict[int, float] = {}

        def enough(count: int) -> bool:
            curve[count] = self.faithfulness(order[:count])
            return curve[count] >= self.wanted.faithfulness

        count = 1
        with progress("choosing", np.log2(max(2, len(order))) * 2, "circuits") as advance:
            while count < len(order) and not enough(count):
                count = min(2 * count, len(order))
                advance(1)
            low, high = count // 2, count
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if enough(middle) else (middle, high)
                advance(1)
        if high not in curve:
            enough(high)
        return high, tuple(sorted(curve.items()))

    def measured(self, nodes: Sequence[FeatureNode]) -> Measured:
        dictionary = self.runs.dictionary
        without = Removed.these(nodes, dictionary)
        gone = without.errors | (frozenset(dictionary.targets) if self.errors is Errors.remove else frozenset())
        bare = [Removed.all_but([n for n in some if not n.is_error], dictionary, True) for some in (nodes, [])]
        values = self.runs.measure([self._circuit(nodes), Removed(without.features, gone), *bare]).mean(1)
        circuit, complement, removed, empty = map(float, values)
        return Measured(len(self.runs.behaviour.rows), self.full, circuit, complement, self.empty, removed, empty)

    def removals(self, nodes: Sequence[FeatureNode]) -> list[tuple[FeatureNode, float]]:
        """Of each of the strongest nodes: metric without it less metric with it, in the model with all else."""
        removed = [Removed.these([node], self.runs.dictionary) for node in nodes]
        values = self.runs.measure(removed).mean(1) if removed else []
        return [(node, float(value) - self.full) for node, value in zip(nodes, values, strict=True)]

    def random(self, nodes: Sequence[FeatureNode], seed: int, progress: Progress) -> list[float]:
        """Faithfulness of as many nodes drawn at random."""
        pool = [node for node in active_nodes(self.runs) if self.ranks_errors or not node.is_error]
        generator = np.random.default_rng(seed)
        found = []
        with progress("random circuits", RANDOM, "circuits") as advance:
            for _ in range(RANDOM):
                drawn = generator.permutation(len(pool))[: len(nodes)]
                found.append(self.faithfulness([pool[place] for place in sorted(drawn)]))
                advance(1)
        return found
