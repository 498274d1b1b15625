"""Run a circuit at spans so that gradients at what its slots read can be taken: `acdc.execution.watched` is the same
without spans."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.execution.ablated import Ablated
from acdc.execution.executor import Executor, Trace
from acdc.execution.removed_at_spans import RemovedAtSpans
from acdc.execution.slots import Views
from acdc.graph import ReaderGroup
from acdc.graph.masks import PositionalMask

Change = Callable[[Sequence[int]], Tensor]  # of some components: [writers, rows * P, d]


@dataclass(frozen=True)
class _Watched:
    """What a group of slots reads, [readers, rows, P, d]; of keys and values, what the queries at a span see."""

    group: ReaderGroup
    seen_from: int
    read: Tensor


class WatchedAtSpans(RemovedAtSpans):
    """One run of a circuit over a batch. To be run where gradients are enabled, with `logits`."""

    def __init__(self, removed: PositionalMask, where: np.ndarray, ablated: Ablated):
        """`removed`: all that is not in the circuit, a mask of one; `where` [rows, P]: the span of every position."""
        super().__init__(removed, where, ablated)
        self._watched: list[_Watched] = []
        self._outputs: Tensor | None = None

    def views(self, layer: int) -> Views | None:
        """All spans apart, as an edge that is not in the circuit leads to the queries of one."""
        spans = [(span,) for span in range(len(self.graph.spans))]
        return Views.of(self.where, spans, self.ablated.values.device)

    def _read(self, group: ReaderGroup, seen_from: int, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        read = super()._read(group, seen_from, residual, blocks)
        read = read.expand(len(group.readers), *read.shape[1:]).clone().requires_grad_()
        self._watched.append(_Watched(group, seen_from, read))
        return read

    def logits(self, executor: Executor, clean: Trace, answers: Tensor, columns: Tensor | None) -> Tensor:
        """As `Executor.resume` gives them."""
        trace = executor.resume(clean, 0, 1, answers, self, columns)
        self._outputs = torch.cat(trace.blocks).detach()
        return trace.logits

    def gradients(self, value: Tensor, more: bool) -> Sequence[Tensor | None]:
        """Of a number, at all that slots read; `more`: whether those of another number will be asked for."""
        inputs = [watched.read for watched in self._watched]
        return torch.autograd.grad(value, inputs, retain_graph=more, allow_unused=True)

    @torch.no_grad()
    def effects(self, gradients: Sequence[Tensor | None], edges: np.ndarray, change: Change) -> np.ndarray:
        """The inner products, row by row, of the gradient at what an edge's slot reads with the change of its sender:
        float64 [edges, rows]; 0 where nothing comes of what the slot reads."""
        found = np.zeros((len(edges), len(self.where)))
        for watched, gradient in zip(self._watched, gradients, strict=True):
            if gradient is None:
                continue
            group = self.graph.group_at[watched.group.layer, watched.group.kind]
            mine = np.flatnonzero((edges >= group.start) & (edges < group.stop))
            readers, pairs, senders = np.unravel_index(edges[mine] - group.start, group.shape)
            sources, spans = np.array(group.pairs)[pairs].reshape(-1, 2).T
            for source in np.unique(sources[spans == watched.seen_from] if group.crosses else sources).tolist():
                here = (sources == source) & ((spans == watched.seen_from) | (not group.crosses))
                along = self._along(gradient, source, change)
                found[mine[here]] = along(senders[here], readers[here])
        return found

    def _along(self, gradient: Tensor, source: int, change: Change) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """What gives, of senders and readers [edges], the products at a source in each row: float64 [edges, rows]."""
        tokens = torch.from_numpy(self.tokens[source]).to(gradient.device)
        wide = torch.promote_types(gradient.dtype, torch.float32)
        slopes = gradient.to(wide).flatten(1, 2)[:, tokens]

        def along(senders: np.ndarray, readers: np.ndarray) -> np.ndarray:
            some, place = np.unique(senders, return_inverse=True)
            changes = change(some.tolist())[:, tokens].to(wide)
            products = torch.einsum("std,rtd->srt", changes, slopes).double()
            rows = torch.div(tokens, self.where.shape[1], rounding_mode="floor")
            by_row = products.new_zeros((*products.shape[:2], len(self.where))).index_add(2, rows, products)
            return by_row.cpu().numpy()[place, readers]

        return along

    def own_effects(self, gradients: Sequence[Tensor | None], edges: np.ndarray) -> np.ndarray:
        """`effects` of what their senders write less their ablated values."""
        return self.effects(gradients, edges, self.change)

    def effects_of(self, values: Tensor, gradients: Sequence[Tensor | None], edges: np.ndarray) -> np.ndarray:
        """The same if their senders wrote their part of `values` [writers, rows, P, d]."""
        return self.effects(gradients, edges, self.change_to(values))

    def change(self, writers: Sequence[int]) -> Tensor:
        """What some components write less their ablated values, [writers, rows * P, d]."""
        assert self._outputs is not None  # it has been run
        return self._less_ablated(self._outputs, writers)

    def change_to(self, values: Tensor) -> Change:
        """The same of components that write their part of `values` [writers, rows, P, d]."""
        return lambda writers: self._less_ablated(values, writers)

    def _less_ablated(self, values: Tensor, writers: Sequence[int]) -> Tensor:
        return (values[list(writers)] - self.ablated.values[list(writers)]).flatten(1, 2)
