"""What the slots of a run read, and which queries see keys and values of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import Change, Positions
from acdc.graph import ReaderGroup


@dataclass(frozen=True)
class View:
    """Queries at some `spans` of the prompts, which see the same keys and values: at [B, n] of each sequence."""

    spans: tuple[int, ...]
    at: Positions


@dataclass(frozen=True)
class Views:
    """All queries of B sequences, apart by what they see; `order` [B, P]: where each position is among those of all
    views, one view after the other."""

    apart: tuple[View, ...]
    order: Tensor

    @classmethod
    def of(cls, where: np.ndarray, spans: Sequence[tuple[int, ...]], device: torch.device) -> "Views":
        """`where` [B, P]: the span of every position; `spans` of each view, which together are all."""
        length, first, found = where.shape[1], 0, []
        order = np.zeros(where.shape, dtype=np.int64)
        for some in spans:
            own = np.isin(where, some)
            most = int(own.sum(1).max(initial=0))
            if not most:
                continue
            # a sequence with fewer than most has others of its positions too, whose outputs nobody takes
            chosen = np.argsort(~own, axis=1, kind="stable")[:, :most]
            order = np.where(own, first + own.cumsum(1) - 1, order)
            found.append(View(some, Positions(length, torch.from_numpy(chosen).to(device))))
            first += most
        return cls(tuple(found), torch.from_numpy(order).to(device))

    def repeat(self, copies: int) -> "Views":
        """The same for `copies` runs of the same sequences, one after the other."""
        return Views(
            tuple(View(view.spans, view.at.repeat(copies)) for view in self.apart), self.order.repeat(copies, 1)
        )

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """What each view gives [..., B, n, d], for all positions: [..., B, P, d]."""
        together = torch.cat(list(parts), dim=-2)
        return Positions(together.shape[-2], self.order).take(together)


class SlotInputs:
    """What the slots of a run read: here, the residual stream as it is."""

    def views(self, layer: int) -> Views | None:
        """Queries of a layer that see keys and values of their own; None where all see the same."""
        return None

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        """Inputs of a group of slots, [readers or 1, N, positions, d]; `blocks` are the outputs so far."""
        return residual[None]

    def read_apart(self, view: View, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        """The same of keys or values that a view of their layer sees."""
        return self.read(group, residual, blocks)

    def inner(self, group: ReaderGroup, projected: Tensor) -> Tensor:
        """What heads use of the projections [readers, N, positions, e] of a group of attention slots."""
        return projected

    def inner_apart(self, view: View, group: ReaderGroup, projected: Tensor) -> Tensor:
        """The same of keys or values that a view of their layer sees."""
        return self.inner(group, projected)

    def hidden(self, layer: int) -> Change | None:
        """What becomes of the hidden neurons [N, positions, F] of a layer's MLP; None where they stay as they are."""
        return None

    def write(self, index: int, block: Tensor) -> Tensor:
        """What the residual stream gets of a block of outputs [writers, N, positions, d], the run's `index`-th."""
        return block
