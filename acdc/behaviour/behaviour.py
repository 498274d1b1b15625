"""A model, rows, a metric and an ablation, bound together: the thing that searches and verification measure.

Rows of like length share a batch, the shorter ones padded at their end, which their answers cannot see; models that
depend on a prompt's end or length get batches of one length. A batch has at most as many tokens as keep one run of it,
every component's output included, below `BATCH_BYTES`. Many candidate subgraphs are run at once, as many as fit
`CANDIDATE_TOKENS` and `CANDIDATE_BYTES`. All are constants of a kind of device, so that the arithmetic does not depend
on the machine.
"""

import warnings
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.ablations import ABLATIONS, Hidden, clean_tokens, corrupted_tokens, mean_ablated, mean_hidden
from acdc.behaviour.batches import Batch, Cached, Pairing, RunCache, as_positions, budget_on
from acdc.behaviour.optimal import optimal_constants
from acdc.behaviour.prompt_spans import spans_of, where_in
from acdc.behaviour.workers import ALONE, Workers, share_out
from acdc.errors import AcdcWarning, InputError, NothingToFind
from acdc.execution.ablated import Ablated, AblatedStream
from acdc.execution.executor import Executor, SlotInputs, Trace
from acdc.execution.hidden import HiddenRecord
from acdc.execution.machine import free_memory, return_free_memory
from acdc.execution.required_positions import RequiredPositions
from acdc.execution.retreat import Retreat
from acdc.execution.subgraph import Prompts, SubgraphRun
from acdc.execution.suffix import Earlier
from acdc.execution.work import Work
from acdc.graph import ComponentGraph
from acdc.graph.masks import EdgeMask, Mask, NeuronMask, PositionalMask
from acdc.graph.task_spans import TaskSpans
from acdc.graph.units import Units, kind_of, units_of
from acdc.model.load import Model
from acdc.options import Level
from acdc.progress import Advance, Ticks, nobody
from acdc.task.metrics import METRICS, NOISE, Metric, RowBatch, distance, recovered_fraction
from acdc.task.rows import Row, Task, bucket
from acdc.words import count_of

DEFAULT_BATCH = 32
PADDING = 1.5  # how much longer than its shortest row a batch may be where attention does not look ahead
TOGETHER = 32  # candidates that another process measures at a time
# A GPU is busy only with some hundred tokens at a time, of which an 8B model takes 9 MB each.
BATCH_BYTES = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}
CANDIDATE_TOKENS = 4096
CANDIDATE_BYTES = 128 * 2**20
MEASURING = "measuring"  # a kind of passes, see `acdc.execution.retreat`


# of a behaviour, computed once
_OF_THE_TASK = (
    *("means", "positional_means", "hidden_means", "positional_hidden_means", "optimal_constants", "spans"),
)


class Behaviour:
    """What is measured: `measure` gives the metric of any subgraph, row by row."""

    def __init__(
        self,
        model: Model,
        task: Task,
        rows: Sequence[int],
        metric: Metric,
        ablation: str = "resample",
        *,
        batch_size: int = DEFAULT_BATCH,
        split_embeddings: bool = False,
        direct_edges: bool = False,
        workers: Workers = ALONE,
    ):
        """`rows` are indices into the task; means for mean ablation are taken over the whole task. `workers`: others
        who have the same behaviour, and share in what is measured of many subgraphs.

        Raises InputError for rows without the answers that the metric needs or the corrupted prompts that the ablation
        needs, and for logits that are not finite.
        """
        self.model, self.task, self.metric, self.workers = model, task, metric, workers
        self.ablation = ABLATIONS.find(ablation).name
        self.batch_size = batch_size
        self.rows: tuple[Row, ...] = task.select(rows)
        self._places = tuple(rows)  # of the rows in the task
        if not self.rows:
            raise InputError(f"task {task.name!r} has no rows to measure")
        metric.check(self.rows, model.anatomy.d_vocab_out)
        ABLATIONS.find(ablation).check(self.rows)
        if direct_edges and not ABLATIONS.find(ablation).has_within_head:
            raise InputError(
                f"ablation {ablation!r} has no values for queries, keys and values: leave out --direct-edges"
            )
        self.executor: Executor = model.executor(split_embeddings, direct_edges)
        return_free_memory()  # of what was bound before
        self._work_before = model.components.work.snapshot()
        places = split_into_batches(self.rows, model, self.graph, batch_size)
        self._inputs = [_Inputs.of([self.rows[i] for i in index], model.device) for index in places]
        budget = budget_on(model.device_kind, free_memory(model.device)) / 2
        # not held by their own caches, so that a behaviour's runs are gone as soon as nobody uses it
        me = weakref.ref(self)
        self.retreat = Retreat(model.components.work, lambda: _there(me).release())
        self._clean = RunCache(lambda place: _there(me)._run_clean(place), lambda trace: trace.nbytes, budget)
        self._prompts = RunCache(lambda place: _there(me)._make_prompts(place), lambda found: found.nbytes, budget)
        self._neurons = RunCache(lambda place: _there(me).ablated_neurons(_there(me).batches[place]), _size, budget / 2)
        self.batches = [self._batch(place, index) for place, index in enumerate(places)]

    def keep_runs(self) -> None:
        """Hold as many runs as memory allows, for a search that reads those of all batches at every test. Warns where
        that is not all of them."""
        budget = budget_on(self.model.device_kind, free_memory(self.model.device), rereads=True) / 2
        budget = min(self._clean.grow(budget), self._prompts.grow(budget))
        tokens, each = sum(inputs.clean.numel() for inputs in self._inputs), self.model.anatomy.d_model
        needed = tokens * each * len(self.graph.writers) * self.model.dtype.itemsize
        if needed > budget and len(self.batches) > 1:
            warnings.warn(
                f"what all components write on {count_of(len(self.rows), 'row')} takes {needed / 2**30:.1f} GiB, more "
                f"than the {budget / 2**30:.1f} GiB that can be kept: each test computes it again, which is slow; use "
                "fewer rows (--limit)",
                AcdcWarning,
                stacklevel=2,
            )

    @property
    def has_corrupted(self) -> bool:
        """Whether all rows have corrupted prompts."""
        return all(row.corrupted is not None for row in self.rows)

    @property
    def graph(self) -> ComponentGraph:
        return self.executor.graph

    @cached_property
    def spans(self) -> TaskSpans:
        """The spans of the task's prompts, or their positions. Raises InputError for rows that have neither in
        common."""
        return spans_of(self.task, self.model.anatomy)

    def units(self, level: Level) -> Units:
        """The units of a level. Raises InputError for a level that the task's rows do not suit."""
        kind = kind_of(level)
        width = self.model.mlp_width if kind.have_neurons else None
        return units_of(self.graph, level, self.spans if kind.have_spans else None, width)

    def where(self, batch: Batch) -> np.ndarray:
        """The span of every position of a batch, int [rows, positions]."""
        return where_in(batch.rows, self.spans)

    @property
    def work(self) -> Work:
        """What has been computed since this behaviour was bound."""
        return self.model.components.work - self._work_before

    @torch.no_grad()
    def _run_clean(self, place: int) -> Trace:
        inputs = self._inputs[place]
        return self.executor.collect(inputs.clean, inputs.positions)

    def _batch(self, place: int, index: list[int]) -> Batch:
        rows, inputs = tuple(self.rows[i] for i in index), self._inputs[place]
        logits = self._clean.get(place).logits
        full = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if not full.isfinite().all():
            row = RowBatch.of(rows, full).rows[int((~full.isfinite().all(-1)).nonzero()[0])]
            raise InputError(f"model {self.model.name!r} gives logits that are not finite on row {row.id!r}")
        answers, run = RowBatch.of(rows, full), partial(self._clean.get, place)
        return Batch(tuple(index), rows, inputs.clean, inputs.corrupted, inputs.positions, answers, run, inputs.pairing)

    def release(self) -> None:
        """Let go of all runs that are kept; they are computed again when asked for."""
        self._clean.clear()
        self._prompts.clear()
        self._neurons.clear()

    def run(self, batch: Batch, slots: SlotInputs | None = None, corrupted: bool = False) -> Trace:
        """Run one batch's clean (or corrupted) prompts; what a corrupted one gives stands where the clean one has it.

        Raises InputError where rows have no corrupted ones."""
        tokens, pairing = (batch.corrupted, batch.pairing) if corrupted else (batch.tokens, None)
        if tokens is None:
            raise InputError(f"task {self.task.name!r} has rows without corrupted prompts")
        positions = batch.positions if pairing is None else pairing.positions
        if slots is None and not torch.is_grad_enabled():
            trace = self.executor.collect(tokens, positions)
        else:
            trace = self.executor.run(tokens, positions, slots)
        return trace if pairing is None else pairing.place(trace)

    @torch.no_grad()
    def ablated(self, batch: Batch) -> Ablated:
        """What removed edges carry for a batch's rows."""
        ablated = ABLATIONS.find(self.ablation).carried(self, batch)
        rows, positions = batch.tokens.shape
        wanted = (len(self.graph.writers),), (1, rows), (1, positions), (self.model.anatomy.d_model,)
        found = ablated.values.shape
        if len(found) != len(wanted) or any(size not in sizes for size, sizes in zip(found, wanted, strict=True)):
            raise InputError(
                f"ablation {self.ablation!r} gives values of shape {list(found)} where [writers, rows or 1, positions "
                f"or 1, d] are {[sizes[-1] for sizes in wanted]}"
            )
        return ablated

    @torch.no_grad()
    def change(self, batch: Batch) -> Tensor:
        """What ablation changes of every component's output on the clean prompts: ablated minus clean, [writers, N,
        P, d]."""
        if self.ablation == "resample":
            return self.run(batch, corrupted=True).values.sub_(batch.clean.values)
        return self.ablated(batch).values - batch.clean.values

    @torch.no_grad()
    def hidden(self, batch: Batch, corrupted: bool = False) -> Hidden:
        """The hidden neurons of every MLP on a batch's clean (or corrupted) prompts; what a corrupted one gives stands
        where the clean one has it."""
        record = HiddenRecord()
        self.run(batch, record, corrupted)
        place = batch.pairing.placed if corrupted and batch.pairing else None
        return tuple(record.values if place is None else map(place, record.values))

    @torch.no_grad()
    def ablated_neurons(self, batch: Batch) -> Hidden:
        """What removed neurons carry for a batch's rows. Raises InputError for an ablation that does not say."""
        ablation = ABLATIONS.find(self.ablation)
        ablation.check_neurons()
        assert ablation.hidden is not None
        return ablation.hidden(self, batch)

    def alone(self, row: int) -> "Behaviour":
        """The same of one of its rows. What ablation takes from the whole task is not computed again."""
        graph, places = self.graph, [self._places[row]]
        one = Behaviour(
            self.model,
            self.task,
            places,
            self.metric,
            self.ablation,
            batch_size=self.batch_size,
            split_embeddings=graph.split_embeddings,
            direct_edges=graph.direct_edges,
        )
        vars(one).update({name: vars(self)[name] for name in _OF_THE_TASK if name in vars(self)})
        return one

    @cached_property
    def means(self) -> Ablated:
        """Means over the clean prompts of the whole task, all positions together: [writers, 1, 1, d]."""
        return mean_ablated(self.executor, self._task_batches(self.batch_size), positional=False)

    @cached_property
    def positional_means(self) -> Ablated:
        """The same for each position by itself: [writers, 1, longest, d]."""
        return mean_ablated(self.executor, self._task_batches(self.batch_size), positional=True)

    @cached_property
    def hidden_means(self) -> Hidden:
        """Means of hidden neurons, as `means` has them: [1, 1, F] of each MLP."""
        return mean_hidden(self.executor, self._task_batches(self.batch_size), positional=False)

    @cached_property
    def positional_hidden_means(self) -> Hidden:
        """The same for each position by itself: [1, longest, F]."""
        return mean_hidden(self.executor, self._task_batches(self.batch_size), positional=True)

    @cached_property
    def optimal_constants(self) -> Ablated:
        """See `acdc.behaviour.optimal`: [writers, 1, 1, d]."""
        return optimal_constants(self.executor, self._task_batches(DEFAULT_BATCH), self.means)

    def _task_batches(self, size: int) -> list[tuple[Tensor, Tensor]]:
        """(clean tokens, answer positions) of all rows of the task."""
        tokens = tokens_together(self.model, self.graph)
        batches = bucket(self.task.rows, size, tokens=tokens)
        inputs = (_Inputs.of(self.task.select(index), self.model.device) for index in batches)
        return [(found.clean, found.positions) for found in inputs]

    @property
    def prompts(self) -> Sequence[Prompts]:
        """The batches as runs of subgraphs need them; computed when asked for."""
        return Cached(self._prompts, len(self.batches))

    @torch.no_grad()
    def _make_prompts(self, place: int) -> Prompts:
        batch = self.batches[place]
        embedded, ablated = self.executor.embed(batch.tokens), self.ablated(batch)
        constant = not self.executor.scaled_bias
        components = self.model.components
        stream = AblatedStream.of(components, ablated.values, len(embedded)) if constant else None
        if stream is None or self.ablation != "resample" or components.whole_prompts:
            return Prompts(embedded, batch.positions, ablated, stream)
        unchanged = min(row.unchanged for row in batch.rows)
        earlier = Earlier.of(components, stream, unchanged)
        return Prompts(embedded, batch.positions, ablated, stream, unchanged, earlier)

    def measure(
        self,
        removed: Mask | np.ndarray,
        metrics: Sequence[Metric] | None = None,
        advance: Advance = nobody,
    ) -> np.ndarray:
        """Metric of subgraphs by what each ablates, of edges also as a boolean array [candidates, edges]: float64
        [metrics, candidates, rows].

        Without `metrics`, the behaviour's own alone. `advance` is told of finished work, in prompts run.
        """
        metrics, removed = tuple(metrics or [self.metric]), removed if isinstance(removed, Mask) else EdgeMask(removed)
        step = TOGETHER if self.workers.size else max(1, len(removed))
        parts = [_Candidates(removed[at : at + step], metrics) for at in range(0, len(removed), step)]
        values, due, ticks = [], 0, Ticks(advance)
        here = partial(_measure, advance=ticks)
        for part, found in zip(parts, share_out(self.workers, self, _measure, parts, here), strict=True):
            values.append(found)
            due += len(part.removed) * len(self.rows)
            ticks.catch_up(due)
        return np.concatenate(values, axis=1) if values else np.empty((len(metrics), 0, len(self.rows)))

    def prompts_without(self, place: int, removed: Mask) -> Prompts:
        """A batch as runs without what a mask removes need it."""
        found = self.prompts[place]
        if not isinstance(removed, NeuronMask):
            return found
        return replace(found, ablated=replace(found.ablated, hidden=self._neurons.get(place)))

    def logits(self, batch: Batch, prompts: Prompts, removed: Mask, columns: Tensor | None) -> Tensor:
        """Logits [candidates * rows, V or K] of subgraphs: of what they consist of, or where nothing of the model is
        left out, of all that comes after what is first removed."""
        if isinstance(removed, EdgeMask) and prompts.stream is not None:
            required = RequiredPositions.of(self.graph, ~np.all(removed.values, axis=0))
            if not required.complete:
                return SubgraphRun(self.model.components, required, prompts, ~removed.values).logits(columns)
        where = None
        if isinstance(removed, PositionalMask):
            if removed.graph.spans != self.spans:
                raise InputError(f"task {self.task.name!r} has other spans than those that edges are removed at")
            where = self.where(batch)
        return self.executor.resume_without(
            batch.clean, removed, prompts.ablated, batch.positions, prompts.stream, columns, where
        ).logits

    def parts(self, candidates: int, batch: Batch) -> Iterator[slice]:
        """Runs of candidates that are measured in one pass over a batch."""
        tokens = batch.tokens.numel()
        per_candidate = tokens * len(self.graph.writers) * self.model.anatomy.d_model * self.model.dtype.itemsize
        width = max(1, min(CANDIDATE_TOKENS // tokens, CANDIDATE_BYTES // per_candidate))
        yield from (slice(start, min(start + width, candidates)) for start in range(0, candidates, width))

    def full(self) -> np.ndarray:
        """Metric of the full model, float64 [rows]."""
        return self.plain([self.metric])[0]

    def empty(self) -> np.ndarray:
        """Metric with every edge removed, float64 [rows]; under resample ablation, that of the corrupted run."""
        return self.measure(np.ones((1, self.graph.n_edges), dtype=bool))[0, 0]

    def ends(self) -> tuple[float, float]:
        """Mean metric of the full model and of the empty circuit.

        Raises NothingToFind where they are alike: then no circuit can be told from another by this metric.
        """
        full, empty = float(self.full().mean()), float(self.empty().mean())
        if recovered_fraction(full, full, empty) is None:
            raise NothingToFind(
                f"metric {self.metric.name!r} is {full:.6g} for the full model and for the empty circuit alike: under "
                f"{self.ablation} ablation {self._why_alike()}"
            )
        return full, empty

    def _why_alike(self) -> str:
        """Why no circuit can be told from another: the rows, or that a mean is taken over them."""
        if np.allclose(self.full(), self.empty(), rtol=NOISE, atol=0.0):
            return "these rows do not tell them apart"
        return (
            "the means over these rows do not tell them apart, though single rows do: use "
            f"{distance(self.model.anatomy.d_vocab_out).name}"
        )

    @torch.no_grad()
    def plain(self, metrics: Sequence[Metric], corrupted: bool = False) -> np.ndarray:
        """Metrics of the plain model on the clean or the corrupted prompts, float64 [metrics, rows]."""
        values = np.empty((len(metrics), len(self.rows)))
        for batch in self.batches:
            logits = self.run(batch, corrupted=True).logits if corrupted else batch.answers.full_logits
            values[:, list(batch.index)] = apply(metrics, logits[None], batch.answers)[:, 0]
        return values


def _size(hidden: Hidden) -> int:
    return sum(neurons.nbytes for neurons in hidden)


def _there(behaviour: "weakref.ref[Behaviour]") -> Behaviour:
    found = behaviour()
    assert found is not None, "a batch outlived its behaviour"
    return found


def split_into_batches(rows: Sequence[Row], model: Model, graph: ComponentGraph, most: int) -> list[list[int]]:
    """Places of rows, at most so many together, and as few as `BATCH_BYTES` asks for."""
    stretch = 1.0 if model.components.whole_prompts else PADDING
    return bucket(rows, most, stretch, tokens_together(model, graph))


def tokens_together(model: Model, graph: ComponentGraph) -> int:
    """How many tokens a batch of several rows may have."""
    return BATCH_BYTES[model.device_kind] // (len(graph.writers) * model.anatomy.d_model * model.dtype.itemsize)


@dataclass(frozen=True)
class _Inputs:
    """Token ids [rows, positions] of a batch's clean and corrupted prompts (None where a row has none), the positions
    of answers as in a `Batch`, and how the prompts correspond, where not position by position."""

    clean: Tensor
    corrupted: Tensor | None
    positions: Tensor
    pairing: Pairing | None

    @classmethod
    def of(cls, rows: Sequence[Row], device: torch.device) -> "_Inputs":
        positions = as_positions([[answers.position for answers in row.answers] for row in rows], device)
        clean, corrupted = clean_tokens(rows, device), corrupted_tokens(rows, device)
        return cls(clean, corrupted, positions, Pairing.of(rows, clean, corrupted))


@dataclass(frozen=True)
class _Candidates:
    """What is removed in each of some subgraphs, as `Behaviour.measure` takes it, and the metrics to measure."""

    removed: Mask
    metrics: tuple[Metric, ...]


@torch.no_grad()
def _measure(behaviour: Behaviour, candidates: _Candidates, advance: Advance = nobody) -> np.ndarray:
    """Float64 [metrics, candidates, rows]."""
    removed, metrics = candidates.removed, candidates.metrics
    values = np.empty((len(metrics), len(removed), len(behaviour.rows)))
    for place, batch in enumerate(behaviour.batches):
        answers, prompts = batch.answers.for_metrics(metrics), behaviour.prompts_without(place, removed)
        for part in _passes(behaviour, len(removed), batch):
            run = partial(_run_some, behaviour, batch, prompts, removed[part], metrics, answers)
            for some, found in behaviour.retreat.passes(MEASURING, part.stop - part.start, run):
                values[:, part.start + some.start : part.start + some.stop, list(batch.index)] = found
                advance(found.shape[1] * len(batch.index))
    return values


def _run_some(
    behaviour: Behaviour,
    batch: Batch,
    prompts: Prompts,
    removed: Mask,
    metrics: Sequence[Metric],
    answers: RowBatch,
    some: slice,
) -> np.ndarray:
    """Metrics of some candidates on a batch, in one pass: float64 [metrics, candidates, rows]."""
    cut = removed[some]
    logits = behaviour.logits(batch, prompts, cut, answers.columns).unflatten(0, (len(cut), -1))
    return apply(metrics, logits, answers)


def _passes(behaviour: Behaviour, candidates: int, batch: Batch) -> Iterator[slice]:
    """Runs of candidates that are measured in one pass, the same whether they come together or `TOGETHER` at a time."""
    for start in range(0, candidates, TOGETHER):
        for part in behaviour.parts(min(TOGETHER, candidates - start), batch):
            yield slice(start + part.start, start + part.stop)


def apply(metrics: Sequence[Metric], logits: Tensor, answers: RowBatch) -> np.ndarray:
    """Metrics of logits [candidates, rows, V], float64 [metrics, candidates, rows]; V is that of `answers`."""
    return read_values(metrics, [asked(metrics, logits, answers)], [answers])[0]


def asked(metrics: Sequence[Metric], logits: Tensor, answers: RowBatch) -> Tensor:
    """The same on the device, for which the host does not wait, and which nobody has looked at."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    found = [metric.of_runs(wide, answers) for metric in metrics]
    return (found[0][None] if len(found) == 1 else torch.stack(found)).double()


def read_values(
    metrics: Sequence[Metric], values: Sequence[Tensor], answers: Sequence[RowBatch]
) -> Sequence[np.ndarray]:
    """What `asked` gave for several batches, on the host, which waits once. Raises InputError for what is not
    finite."""
    whole = values[0] if len(values) == 1 else torch.cat(list(values), dim=-1)
    parts = np.split(whole.cpu().numpy(), np.cumsum([part.shape[-1] for part in values])[:-1], axis=-1)
    for part, batch in zip(parts, answers, strict=True):
        for metric, of_metric in zip(metrics, part, strict=True):
            metric.check_finite(of_metric, batch)
    return parts


def usable_metrics(rows: Sequence[Row], outputs: int) -> list[Metric]:
    """The built-in metrics for a model with so many outputs that every one of these rows has the answers for."""
    fitting = (metric for metric in METRICS.built_in.values() if metric.fits(outputs))
    return [m for m in fitting if all(row.has(name) for row in rows for name in m.needs)]
