"""A model, rows, a metric and an ablation, bound together: the thing that searches and verification measure.

Rows are run in batches of one length, never padded. Many candidate subgraphs are run at once, as many as fit
`CANDIDATE_TOKENS` and `CANDIDATE_BYTES`; both are constants, so that the arithmetic does not depend on the machine.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.graph import ComponentGraph
from acdc.model.executor import Executor, RemovedEdges, SlotInputs, Trace, shared_residual
from acdc.model.load import Model
from acdc.task.ablations import check_ablation, clean_tokens, corrupted_tokens, mean_values
from acdc.task.metrics import METRICS, Metric, RowBatch, recovered_fraction
from acdc.task.rows import Row, Task, bucket

DEFAULT_BATCH = 32
CANDIDATE_TOKENS = 4096
CANDIDATE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Batch:
    """Rows of one length on the device; `index` are their places among the behaviour's rows, `clean` the plain run."""

    index: tuple[int, ...]
    tokens: Tensor
    corrupted: Tensor
    positions: Tensor
    answers: RowBatch
    clean: Trace


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
    ):
        """`rows` are indices into the task; means for mean ablation are taken over the whole task.

        Raises InputError for rows without the answers that the metric needs, and for logits that are not finite.
        """
        self.model, self.task, self.metric = model, task, metric
        self.ablation = check_ablation(ablation)
        self.batch_size = batch_size
        self.rows: tuple[Row, ...] = task.select(rows)
        if not self.rows:
            raise InputError(f"task {task.name!r} has no rows to measure")
        metric.check(self.rows)
        self.executor: Executor = model.executor(split_embeddings)
        self.row_runs = 0  # work done so far: runs of one row through a subgraph
        self.batches = [self._batch(index) for index in bucket(self.rows, batch_size)]

    @property
    def graph(self) -> ComponentGraph:
        return self.executor.graph

    @torch.no_grad()
    def _batch(self, index: list[int]) -> Batch:
        rows = tuple(self.rows[i] for i in index)
        device = self.model.device
        positions = torch.tensor([row.answer_position for row in rows], device=device)
        tokens = clean_tokens(rows, device)
        clean = self.executor.run(tokens, positions)
        full = clean.logits.to(torch.promote_types(clean.logits.dtype, torch.float32))
        if not full.isfinite().all():
            row = rows[int((~full.isfinite().all(-1)).nonzero()[0])]
            raise InputError(f"model {self.model.name!r} gives logits that are not finite on row {row.id!r}")
        return Batch(tuple(index), tokens, corrupted_tokens(rows, device), positions, RowBatch(rows, full), clean)

    def run(self, batch: Batch, slots: SlotInputs = shared_residual, corrupted: bool = False) -> Trace:
        """Run one batch's clean (or corrupted) prompts."""
        self.row_runs += len(batch.index)
        return self.executor.run(batch.corrupted if corrupted else batch.tokens, batch.positions, slots)

    @torch.no_grad()
    def ablated(self, batch: Batch) -> Tensor:
        """Ablated value of every writer for a batch's rows, [writers, rows or 1, positions or 1, d]."""
        if self.ablation == "resample":
            return self.run(batch, corrupted=True).values
        if self.ablation == "zero":
            shape = (len(self.graph.writers), 1, 1, self.model.anatomy.d_model)
            return torch.zeros(shape, dtype=self.model.dtype, device=self.model.device)
        return self._means[:, :, : batch.tokens.shape[1]]

    @cached_property
    def _means(self) -> Tensor:
        rows, device = self.task.rows, self.model.device
        batches = (
            (
                clean_tokens((rows[i] for i in index), device),
                torch.tensor([rows[i].answer_position for i in index], device=device),
            )
            for index in bucket(rows, self.batch_size)
        )
        return mean_values(self.executor, batches, positional=self.ablation == "mean-positional")

    @cached_property
    def _ablated(self) -> list[Tensor]:
        return [self.ablated(batch) for batch in self.batches]

    @torch.no_grad()
    def measure(
        self,
        removed: np.ndarray,
        metrics: Sequence[Metric] | None = None,
        advance: Callable[[float], None] = lambda candidates: None,
    ) -> np.ndarray:
        """Metric of subgraphs: `removed` boolean [candidates, edges] -> float64 [metrics, candidates, rows].

        Without `metrics`, the behaviour's own alone. `advance` is told of finished work, in candidates.
        """
        metrics = metrics or [self.metric]
        values = np.empty((len(metrics), len(removed), len(self.rows)))
        for batch, ablated in zip(self.batches, self._ablated, strict=True):
            for part in self._parts(len(removed), batch):
                cut = removed[part]
                slots = RemovedEdges(cut, ablated, len(batch.index))
                self.row_runs += len(cut) * len(batch.index)
                trace = self.executor.resume(batch.clean, self._first_layer(cut), len(cut), batch.positions, slots)
                logits = trace.logits.unflatten(0, (len(cut), -1))
                values[:, part, list(batch.index)] = self._apply(metrics, logits, batch)
                advance(len(cut) * len(batch.index) / len(self.rows))
        return values

    def _first_layer(self, removed: np.ndarray) -> int:
        """The first layer that a slot of any removed edge belongs to: all before it runs as in the full model."""
        touched = removed.any(axis=0)
        return next(
            (g.layer for g in self.graph.groups if touched[g.start : g.stop].any()), self.model.anatomy.n_layers
        )

    def _apply(self, metrics: Sequence[Metric], logits: Tensor, batch: Batch) -> np.ndarray:
        """[metrics, candidates, rows] of logits [candidates, rows, V]."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        out = torch.stack([torch.stack([m.per_row(one, batch.answers) for one in wide]) for m in metrics])
        return out.double().cpu().numpy()

    def _parts(self, candidates: int, batch: Batch) -> Iterator[slice]:
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

        Raises InputError where they are alike: then no circuit can be told from another by this metric.
        """
        full, empty = float(self.full().mean()), float(self.empty().mean())
        if recovered_fraction(full, full, empty) is None:
            raise InputError(
                f"metric {self.metric.name!r} is {full:.6g} for the full model and for the empty circuit alike: under "
                f"{self.ablation} ablation these rows do not tell them apart"
            )
        return full, empty

    @torch.no_grad()
    def plain(self, metrics: Sequence[Metric], corrupted: bool = False) -> np.ndarray:
        """Metrics of the plain model on the clean or the corrupted prompts, float64 [metrics, rows]."""
        values = np.empty((len(metrics), len(self.rows)))
        for batch in self.batches:
            trace = self.run(batch, corrupted=True) if corrupted else batch.clean
            values[:, list(batch.index)] = self._apply(metrics, trace.logits[None], batch)[:, 0]
        return values


def usable_metrics(rows: Sequence[Row]) -> list[Metric]:
    """The built-in metrics that every one of these rows has the answers for."""
    return [m for m in METRICS.values() if all(getattr(row, name) for row in rows for name in m.needs)]
