"""The positions that runs of subgraphs compute: from the first that ablation changes to the last answer.

Under resample ablation nothing changes before the first token that is another in the corrupted prompts: there, every
component writes the same in both runs. Later positions need keys and values from there, which are computed once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from acdc.execution.ablated import AblatedStream
from acdc.execution.components import Components, Positions, at_places
from acdc.execution.required_positions import Required
from acdc.graph import ReaderKind


@dataclass(frozen=True)
class Suffix:
    """The positions from `first` up to `end` of N prompts, whose `answers` [N] or [N, n] are among them."""

    first: int
    end: int
    answers: Tensor

    @property
    def rows(self) -> int:
        return len(self.answers)

    @property
    def length(self) -> int:
        """How many positions these are."""
        return self.end - self.first

    @cached_property
    def at(self) -> Mapping[Required, Positions]:
        """Where outputs are needed, counted from `first`."""
        answers = self.answers - self.first if self.first else self.answers
        return {Required.ANSWER: Positions(self.length, answers), Required.EVERYWHERE: Positions(self.length)}

    @cached_property
    def at_in_prompts(self) -> Mapping[Required, Positions]:
        """The same counted from the start of the prompts, which is what attention asks for."""
        everywhere = Positions(self.end, first=self.first)
        return {Required.ANSWER: Positions(self.end, self.answers), Required.EVERYWHERE: everywhere}

    def take(self, x: Tensor, need: Required) -> Tensor:
        """[..., rows or 1, positions or 1, d] -> [..., N, Q, d]: what is needed of it."""
        return self.at[need].take(self.of(x))

    def of(self, x: Tensor) -> Tensor:
        """[..., rows or 1, positions or 1, d] -> [..., N, these positions, d]."""
        some = x if x.shape[-2] == 1 else x[..., self.first : self.end, :]
        return some.expand(*x.shape[:-3], self.rows, self.length, -1)


@dataclass(frozen=True)
class Earlier:
    """Keys and values at the positions before a suffix, of every layer and slot: `keys` and `values` [slots, N, first,
    e] by layer, nothing where there are no such positions."""

    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, components: Components, stream: AblatedStream, first: int) -> "Earlier":
        """Of the first positions of a batch, where the ablated residual stream is any run's."""
        if not first:
            return cls()
        layers = range(components.anatomy.n_layers)
        read = [stream.attention[layer][None, :, :first] for layer in layers]
        keys, values = (
            tuple(components.project(layer, kind, read[layer]) for layer in layers)
            for kind in (ReaderKind.K, ReaderKind.V)
        )
        return cls(keys, values)

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (*self.keys, *self.values))

    def join(self, layer: int, kind: ReaderKind, slots: Sequence[int], later: Tensor) -> Tensor:
        """Keys or values of some slots at all positions, [slots, C * N, P, e], given those of the suffix."""
        if not self.keys:
            return later
        earlier = at_places((self.keys if kind is ReaderKind.K else self.values)[layer], slots)
        later = later.unflatten(1, (-1, earlier.shape[1]))
        earlier = earlier[:, None].expand(-1, later.shape[1], -1, -1, -1)
        return torch.cat((earlier, later), dim=3).flatten(1, 2)
