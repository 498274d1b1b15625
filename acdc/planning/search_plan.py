"""Plan a search before it is run: what it computes and the memory that it takes, from shapes alone.

Batches of one shape cost nearly the same, so one of each shape is dry-run; of many or similar shapes some are, and each
batch counts as the nearest of them, in proportion to its tokens. Counted is the search: binding the rows (a clean run
of each) and the method, and a run of one subgraph on all rows, of which what comes after the search is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from acdc.behaviour.ablations import ABLATIONS
from acdc.behaviour.batches import budget_on
from acdc.behaviour.behaviour import split_into_batches
from acdc.behaviour.optimal import UPDATES
from acdc.errors import InputError
from acdc.execution.dry_run import CostTracker
from acdc.model.load import Model
from acdc.model.shape import Shape
from acdc.search.cost import BatchCost, BatchDryRun, Effort
from acdc.search.discover import bind, prepare, units_for
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Row, Task
from acdc.task.split import Split

MOST_SHAPES = 4
ALIKE = 0.75  # a batch of so much of another's tokens costs in proportion


@dataclass(frozen=True)
class Memory:
    """Bytes of tensors: `weights`, what is `held` of all batches throughout, what the largest is `working` with, and
    what `loading` takes at its peak, weights included. All is on the home device, but for weights `elsewhere`."""

    weights: int
    held: int
    working: int
    loading: int
    elsewhere: dict[str, int]

    @property
    def peak(self) -> int:
        return max(self.weights + self.held + self.working, self.loading)


@dataclass(frozen=True)
class SearchPlan:
    """A planned search: its size, its effort at least and at most (equal where they are known in advance), its memory.

    `candidates`: the edges or nodes that the method scores or decides about. `split`: the rows of discovery and
    verification. `clean`: the effort of a run of the full model on all rows of discovery, `subgraph`
    of a part of it. `before`: the effort before anything is decided.
    """

    edges: int
    candidates: int
    rows: int
    batches: int
    longest: int
    split: Split
    clean: Effort
    subgraph: Effort
    before: Effort
    least: Effort
    most: Effort
    memory: Memory

    @property
    def is_range(self) -> bool:
        return self.least.flops < self.most.flops


def plan_search(
    tracker: CostTracker,
    shape: Shape,
    task: Task,
    settings: DiscoverySettings,
    loading: int,
    free: int | None = None,
) -> SearchPlan:
    """Plan a search; call it within `dry_run`. `loading`: bytes that loading takes besides the weights; `free`: that
    the home device has without them, None where that is unknown.

    Raises InputError for settings that do not fit the model or the task.
    """
    model = shape.model
    weights = tracker.live - sum(shape.elsewhere.values())
    split = prepare(model, task, settings)
    rows = task.select(split.discovery)
    units = units_for(model, task, settings)
    graph = units.graph
    batches = split_into_batches(rows, model, graph, settings.batch_size)
    costs = _costs(tracker, shape, Task(task.name, rows, task.metric), settings, batches)
    per_token = costs[0].clean * (1 / _tokens(rows, batches[0]))
    means = _means(settings.ablation, per_token, sum(len(row.clean) for row in task.rows), costs[0].clean)
    return SearchPlan(
        edges=graph.n_edges,
        candidates=units.count,
        rows=len(rows),
        batches=len(batches),
        longest=max(len(row.clean) for row in rows),
        split=split,
        clean=sum((cost.clean for cost in costs), Effort()),
        subgraph=sum((cost.subgraph for cost in costs), Effort()),
        before=sum((cost.before for cost in costs), means),
        least=sum((cost.least for cost in costs), means),
        most=sum((cost.most for cost in costs), means),
        memory=Memory(
            weights=weights,
            held=_held(model, rows, costs, None if free is None else free - weights, settings.method.decides),
            working=max(cost.working for cost in costs),
            loading=weights + loading,
            elsewhere=shape.elsewhere,
        ),
    )


def _held(model: Model, rows: Sequence[Row], costs: Sequence[BatchCost], free: int | None, rereads: bool) -> int:
    """Bytes that are held of all batches: their runs, of which no more than a budget and the last one are kept, and in
    any case the logits of the clean prompts. `rereads`: see `budget_on`."""
    wide = torch.promote_types(model.dtype, torch.float32).itemsize
    logits = model.anatomy.d_vocab_out * wide * sum(len(row.answers) for row in rows)
    every, largest = sum(cost.held for cost in costs), max(cost.held for cost in costs)
    return min(every, round(budget_on(model.device_kind, free, rereads)) + largest + logits)


def _means(ablation: str, per_token: Effort, tokens: int, clean: Effort) -> Effort:
    """What it takes to know means or optimal constants: clean runs of the whole task, of so many tokens, and for the
    latter updates, each of which runs a batch forward and back; going back costs about as much again."""
    if ablation in ("resample", "zero"):
        return Effort()
    if ablation not in ABLATIONS.built_in:
        raise InputError(f"what ablation {ablation!r} of another package would compute is not known: plan with another")
    means = per_token * tokens
    if ablation != "optimal":
        return means
    back = replace(clean, backwards=clean.forwards, forwards=0.0)
    return means * 2 + (clean + back) * UPDATES


def _costs(
    tracker: CostTracker, shape: Shape, task: Task, settings: DiscoverySettings, batches: Sequence[list[int]]
) -> list[BatchCost]:
    """What each batch costs."""
    options, method = settings.search_options, settings.method
    count = method.cost
    if count is None:
        raise InputError(
            f"the cost of method {method.name!r} is unknown, as its package declares none: plan with another method"
        )

    def cost(index: list[int]) -> BatchCost:
        dry = BatchDryRun(tracker, lambda: bind(shape.model, task, settings, index), len(batches))
        found = count(dry, method.run, options)
        if settings.bootstrap:  # each row is scored once more
            found = replace(found, least=found.least * 2, most=found.most * 2)
        return found

    typical = [(index, cost(index)) for index in _typical(task.rows, batches)]
    found = []
    for index in batches:
        tokens = _tokens(task.rows, index)
        known, known_cost = min(typical, key=lambda case: abs(_tokens(task.rows, case[0]) - tokens))
        found.append(known_cost.resized(tokens / _tokens(task.rows, known), len(index) / len(known)))
    return found


def _typical(rows: Sequence[Row], batches: Sequence[list[int]]) -> list[list[int]]:
    """Batches of different sizes, at most so many, from the largest down at even distances."""
    by_size: dict[int, list[int]] = {}
    for index in sorted(batches, key=lambda index: min(rows[i].unchanged for i in index), reverse=True):
        by_size[_tokens(rows, index)] = index  # of one size, that with most to compute
    sizes: list[int] = []
    for size in sorted(by_size, reverse=True):
        if not sizes or size < ALIKE * sizes[-1]:
            sizes.append(size)
    step = max(1.0, (len(sizes) - 1) / (MOST_SHAPES - 1))
    return [by_size[sizes[round(place * step)]] for place in range(min(MOST_SHAPES, len(sizes)))]


def _tokens(rows: Sequence[Row], index: Sequence[int]) -> int:
    """Tokens of a batch, padding included."""
    return len(index) * max(len(rows[i].clean) for i in index)
