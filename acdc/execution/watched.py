"""Run a circuit so that gradients at what its slots read can be taken, and multiplied with what components write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import Components, as_index
from acdc.execution.required_positions import Required, RequiredPositions
from acdc.execution.subgraph import Prompts, SubgraphRun
from acdc.graph import ReaderGroup

ALONG = 32  # components whose outputs are multiplied with gradients at a time
Change = Callable[[Sequence[int], Required], Tensor]  # of some components: [writers, N, Q, d]


@dataclass(frozen=True)
class _Watched:
    """What some slots read, given by group and row in it: [slots, N, Q, d]."""

    slots: Sequence[tuple[ReaderGroup, int]]
    need: Required
    read: Tensor


class WatchedRun(SubgraphRun):
    """One run of a circuit over a batch. To be made where gradients are enabled, and run with `final`."""

    def __init__(self, components: Components, required: RequiredPositions, prompts: Prompts, kept: np.ndarray):
        """`kept`: the circuit, boolean [edges]; `required`: of it and of all edges whose effects are asked for."""
        self._watched: list[_Watched] = []
        super().__init__(components, required, prompts, kept[None])

    def _read(self, slots: Sequence[tuple[ReaderGroup, int]], need: Required, stream: Tensor) -> Tensor:
        read = super()._read(slots, need, stream).requires_grad_()
        self._watched.append(_Watched(slots, need, read))
        return read

    def gradients(self, value: Tensor, more: bool) -> Sequence[Tensor | None]:
        """Of a number, at all that slots read; `more`: whether those of another number will be asked for."""
        inputs = [watched.read for watched in self._watched]
        return torch.autograd.grad(value, inputs, retain_graph=more, allow_unused=True)

    @torch.no_grad()
    def effects(self, gradients: Sequence[Tensor | None], edges: np.ndarray, change: Change) -> np.ndarray:
        """The inner products, row by row, of the gradient at what an edge's slot reads with the change of its sender:
        float64 [edges, N]; 0 where nothing comes of what the slot reads."""
        writers, readers = (ends[edges] for ends in self.graph.ends)
        found = np.zeros((len(edges), self.rows))
        for watched, gradient in zip(self._watched, gradients, strict=True):
            slots = [self.graph.reader_index[group.readers[row]] for group, row in watched.slots]
            mine = np.flatnonzero(np.isin(readers, slots))
            if gradient is None or not len(mine):
                continue
            wide = torch.promote_types(gradient.dtype, torch.float32)
            flat, places = gradient.to(wide).flatten(2), np.array([slots.index(reader) for reader in readers[mine]])
            senders = np.unique(writers[mine])
            for some in np.split(senders, range(ALONG, len(senders), ALONG)):
                products = torch.einsum("wnx,snx->wsn", change(some.tolist(), watched.need).to(wide).flatten(2), flat)
                those = np.isin(writers[mine], some)
                at = np.searchsorted(some, writers[mine[those]]), places[those]
                found[mine[those]] = products.double().cpu().numpy()[at]
        return found

    def own_effects(self, gradients: Sequence[Tensor | None], edges: np.ndarray) -> np.ndarray:
        """`effects` of what their senders write less their ablated values."""
        return self.effects(gradients, edges, self.change)

    def effects_of(self, values: Tensor, gradients: Sequence[Tensor | None], edges: np.ndarray) -> np.ndarray:
        """The same if their senders wrote their part of `values` [writers, rows, P, d]."""
        return self.effects(gradients, edges, self.change_to(values))

    def change(self, writers: Sequence[int], need: Required) -> Tensor:
        """What some components write less their ablated values, [writers, N, Q, d]."""
        known = self._changes[need]
        return known.values[0, as_index(np.searchsorted(known.writers, writers).tolist())]

    def change_to(self, values: Tensor) -> Change:
        """The same of components that write their part of `values` [writers, N, P, d]."""

        def change(writers: Sequence[int], need: Required) -> Tensor:
            some = as_index(writers)
            there, gone = (self.suffix.take(x[some], need) for x in (values, self.prompts.ablated.values))
            return there - gone

        return change
