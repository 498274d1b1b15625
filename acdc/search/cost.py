"""What a search costs on one batch of rows, counted by a dry run: see `acdc.execution.dry_run`.

Each method declares a function that counts its cost. It stands in the method's own file, or it is `once`.
"""

import gc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from acdc.artefacts.scores import Decisions, Scores
from acdc.behaviour.behaviour import TOGETHER, Behaviour
from acdc.execution.dry_run import CostTracker, Operation
from acdc.progress import Progress, silent
from acdc.search.options import SearchOptions


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
    """A behaviour of one batch, bound within `dry_run`, and the tracker of its costs.

    `batches`: how many the search has in all.
    """

    def __init__(self, tracker: CostTracker, bind: Callable[[], Behaviour], batches: int = 1):
        gc.collect()  # what an earlier one left behind would be taken for this one's
        self.tracker, self.batches = tracker, batches
        self._before = tracker.live
        tracker.peak = tracker.live
        tracker.flush()
        self.behaviour = bind()
        (batch,) = self.behaviour.batches
        self.rows, shape = len(batch.index), self.behaviour.graph.anatomy
        tracker.whole_number = max(row.last_answer for row in self.behaviour.rows)
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


Run = Callable[[Behaviour, Any, Progress], Scores | Decisions]  # a search with the options of its method
Cost = Callable[[BatchDryRun, Run, Any], BatchCost]


def once(dry: BatchDryRun, run: Run, options: SearchOptions) -> BatchCost:
    """The cost of a method whose work does not depend on what it measures: that of running it."""
    effort = dry.of(lambda: run(dry.behaviour, options, silent))
    return dry.cost(effort, effort)
