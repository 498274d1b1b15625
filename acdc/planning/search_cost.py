"""What a search costs on one batch of rows, counted by a dry run: see `acdc.execution.dry_run`."""

import gc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from acdc.behaviour.behaviour import TOGETHER, Behaviour
from acdc.execution.dry_run import CostTracker, Operation
from acdc.graph.units import kind_of, units_of
from acdc.progress import silent
from acdc.search.acdc.slot_cost import PASS_BYTES
from acdc.search.acdc.tester import WIDEST
from acdc.search.methods.hybrid import proposal_size
from acdc.search.options import MaskOptions, SearchOptions
from acdc.search.registry import METHODS, Method

ROUNDS = 3  # assumed for acdc-complete, as the number of backup components is unknown
SAMPLES = 6  # of the runs of exact patching, of which there may be thousands alike


@dataclass(frozen=True)
class Effort:
    """Work: operations by how often, prompts run forward and back. A run of half the components is half a forward; a
    backward is one from the metric, however far it goes."""

    operations: Mapping[Operation, float] = field(default_factory=dict)
    forwards: float = 0.0
    backwards: float = 0.0

    @property
    def flops(self) -> float:
        return sum(operation.flops * times for operation, times in self.operations.items())

    def __add__(self, other: "Effort") -> "Effort":
        operations = Counter(self.operations)
        operations.update(other.operations)
        return Effort(operations, self.forwards + other.forwards, self.backwards + other.backwards)

    def __mul__(self, times: float) -> "Effort":
        operations = {operation: count * times for operation, count in self.operations.items()}
        return Effort(operations, self.forwards * times, self.backwards * times)


@dataclass(frozen=True)
class BatchCost:
    """What one batch costs: running its `clean` prompts; running a `subgraph` on it; what a search does `before` it
    decides about edges; and the whole search, at least and at most. Bytes that are held for it as long as the search
    goes on, and that are needed besides while it is at work on it."""

    clean: Effort
    subgraph: Effort
    before: Effort
    least: Effort
    most: Effort
    held: int
    working: int

    def resized(self, tokens: float, rows: float) -> "BatchCost":
        """The cost of a batch of so many times the tokens and the rows."""

        def resize(effort: Effort) -> Effort:
            return replace(effort * tokens, forwards=effort.forwards * rows, backwards=effort.backwards * rows)

        return BatchCost(
            clean=resize(self.clean),
            subgraph=resize(self.subgraph),
            before=resize(self.before),
            least=resize(self.least),
            most=resize(self.most),
            held=round(self.held * tokens),
            working=round(self.working * tokens),
        )


class BatchDryRun:
    """A behaviour of one batch, bound within `dry_run`, and the tracker of its costs."""

    def __init__(self, tracker: CostTracker, bind: Callable[[], Behaviour]):
        gc.collect()  # what an earlier one left behind would be taken for this one's
        self.tracker = tracker
        self._before = tracker.live
        tracker.peak = tracker.live
        tracker.flush()
        self.behaviour = bind()
        (batch,) = self.behaviour.batches
        self.rows, shape = len(batch.index), self.behaviour.graph.anatomy
        tracker.whole_number = max(row.answer_position for row in self.behaviour.rows)
        self._components = shape.n_layers * (shape.n_heads + (not shape.attn_only))
        self._evaluations = 0
        self.clean = self._page()
        if self.behaviour.ablation != "resample":
            # Means and optimal constants are of the whole task, once; zeros have their shape.
            self.behaviour.ablation = "zero"

    def _page(self) -> Effort:
        """What has been done since the last page."""
        operations, backwards = self.tracker.flush()
        done = self.behaviour.work.evaluations
        forwards, self._evaluations = (done - self._evaluations) / self._components, done
        return Effort(operations, forwards, float(backwards * self.rows))

    def of(self, work: Callable[[], object]) -> Effort:
        """The effort of some work."""
        work()
        return self._page()

    def cost(
        self, least: Effort, most: Effort, before: Effort | None = None, held: int = 0, working: int = 0
    ) -> BatchCost:
        """The cost of what has been run dry, with bytes that are known to come on top."""
        stays = self.tracker.live - self._before
        working = max(self.tracker.peak - self.tracker.live, working)
        return BatchCost(
            clean=self.clean,
            subgraph=self._subgraph(),
            before=self.clean + (before or Effort()),
            least=self.clean + least,
            most=self.clean + most,
            held=stays + held,
            working=working,
        )

    def _subgraph(self) -> Effort:
        """Of running one without every other edge, together with as many others as fit."""
        together = next(self.behaviour.parts(TOGETHER, self.behaviour.batches[0]))
        removed = np.arange(self.behaviour.graph.n_edges) % 2 == 0
        copies = np.tile(removed, (together.stop, 1))
        return self.of(lambda: self.behaviour.measure(copies)) * (1 / together.stop)


def search_cost(dry: BatchDryRun, method: Method, options: SearchOptions, batches: int) -> BatchCost:
    """What a method costs on a batch, which is one of so many."""
    if method.name == "exact":
        return _exact(dry, options)
    if isinstance(options, MaskOptions):
        return _learnt(dry, method, options, batches)
    if method.decides:
        return _decided(dry, method, options)
    effort = dry.of(lambda: method.run(dry.behaviour, options, silent))
    return dry.cost(effort, effort)


def _exact(dry: BatchDryRun, options: SearchOptions) -> BatchCost:
    """Runs at even distances among all that exact patching makes, each for the runs around it."""
    behaviour = dry.behaviour
    (batch,), tried = behaviour.batches, units_of(behaviour.graph, options.level)
    count = tried.count
    parts = [
        range(start + part.start, start + part.stop)
        for start in range(0, count, TOGETHER)
        for part in behaviour.parts(min(TOGETHER, count - start), batch)
    ]
    effort = dry.of(lambda: (behaviour.full(), behaviour.prompts))
    samples = min(SAMPLES, len(parts))
    sampled = [parts[(2 * place + 1) * len(parts) // (2 * samples)] for place in range(samples)]

    def run(part: range) -> Effort:
        return dry.of(lambda: behaviour.measure(tried.alone(np.array(part))))

    for part in sampled:
        effort += run(part) * (count / sum(map(len, sampled)))
    run(parts[0])  # takes the most memory, as it begins at the first layer
    return dry.cost(effort, effort)


def _learnt(dry: BatchDryRun, method: Method, options: MaskOptions, batches: int) -> BatchCost:
    """Updates take turns over the batches; they end between half and all of those that are allowed. What each training
    begins with is not done again at every update."""
    updates = options.updates / batches

    def training(count: int) -> Effort:
        return dry.of(lambda: method.run(dry.behaviour, options.model_copy(update={"updates": count}), silent))

    first, one, two = training(1), training(1), training(2)  # what the first keeps is there for the others
    update = two + one * -1.0
    setup = first + update * -1.0
    least, most = (setup + update * (share * updates) for share in (0.5, 1.0))
    return dry.cost(least, most)


def _decided(dry: BatchDryRun, method: Method, options: SearchOptions) -> BatchCost:
    """From nothing kept, which is what the dry run comes to as every measure is alike, to one run of the whole model
    for every candidate, which is what the naive algorithm takes; to two where passes are such runs, as of candidates
    tried together the results after a kept one are lost."""
    behaviour, graph = dry.behaviour, dry.behaviour.graph
    ends = dry.of(behaviour.empty)
    options = options.model_copy(update={"threshold": 1.0})
    least = ends + dry.of(lambda: method.run(behaviour, options, silent))
    if method.name == "hybrid":
        proposing = dry.of(lambda: METHODS["eap-ig-inputs"].run(behaviour, options, silent))
        count = proposal_size(graph, options)
    else:
        proposing = Effort()
        count = units_of(graph, options.level).count
    (batch,) = behaviour.batches
    present = sum(block.numel() * block.element_size() for block in batch.clean.blocks)
    changed = min(PASS_BYTES, WIDEST[behaviour.model.device.type] * present)  # all that a candidate may change
    if method.name == "acdc-complete":
        count *= ROUNDS
    runs = count * (1 if kind_of(options.level).are_edges and not behaviour.executor.scaled_bias else 2)
    most = ends + proposing + dry.clean * runs
    return dry.cost(least, most, ends + proposing, held=present, working=changed)
