"""What a change at some slots reaches in the present circuit through kept edges, and how it is summed up on its way.

All of it stays the same while one receiver is decided about, however many passes that takes.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import at_places, upload
from acdc.execution.required_positions import Required
from acdc.graph import ATTENTION_SLOTS, ReaderKind, WithinHeadEdge
from acdc.search.acdc.state import CircuitState

FEW = 2  # so many changes or fewer are added one by one: a product copies them first


@dataclass(frozen=True)
class LayerRoute:
    """What is computed of a layer: attention slots whose input changes, by kind, `heads`, and the MLP. `rescaled`: the
    heads whose output changes, all under a post-norm. Heads are named by writer index."""

    layer: int
    slots: dict[ReaderKind, list[int]]
    heads: list[int]
    rescaled: list[int]
    mlp: bool


@dataclass(frozen=True)
class Sum:
    """How several slots of a layer sum up what they read: `rest` [slots, N, Q, d], what does not change, and the
    changes of `senders`, which `pairs` (place of the slot, sender) and the 0/1 `matrix` [slots, senders] say."""

    rest: Tensor
    senders: list[int]
    pairs: list[tuple[int, int]]
    matrix: Tensor


class Route:
    """From new inputs of some slots of one layer, or from a within-head edge that is cut."""

    def __init__(self, state: CircuitState, readers: Sequence[int], cut: WithinHeadEdge | None = None):
        self.state, self.start, self.cut = state, frozenset(readers), cut
        self._sums: dict[tuple[int, ...], Sum] = {}
        self._ablated: dict[tuple[tuple[int, ...], Required], Tensor] = {}

    @cached_property
    def layers(self) -> list[LayerRoute]:
        """The layers that it reaches, in order."""
        state, shape = self.state, self.state.graph.anatomy
        touched: dict[tuple[int, ReaderKind], set[int]] = defaultdict(set)
        found: list[LayerRoute] = []

        def touch(readers: Iterable[int]) -> None:
            for reader in readers:
                slot = state.graph.readers[reader]
                if state.owners(reader):
                    touched[slot.layer, slot.kind].add(reader)

        touch(self.start)
        first = self.cut.owner.layer if self.cut else min(map(state.layer, self.start))
        for layer in range(first, shape.n_layers):
            slots = {kind: sorted(touched[layer, kind]) for kind in ATTENTION_SLOTS}
            heads, rescaled = self._heads(layer, slots)
            for writer in rescaled:
                touch(state.readers[writer])
            mlp = bool(touched[layer, ReaderKind.MLP])
            if mlp:
                touch(state.readers[state.required.mlp(layer)])
            if heads or mlp:
                found.append(LayerRoute(layer, slots, heads, rescaled, mlp))
        return found

    def _heads(self, layer: int, slots: dict[ReaderKind, list[int]]) -> tuple[list[int], list[int]]:
        """(the heads of a layer that are computed, those whose output changes: under a post-norm all with one)"""
        state, heads = self.state, self.state.required.heads(layer)
        found = {writer for readers in slots.values() for reader in readers for writer in state.owners(reader)}
        if self.cut and self.cut.owner.layer == layer:
            found.add(heads.start + self.cut.owner.head)
        every = found and state.graph.anatomy.post_norms
        return sorted(found), list(range(heads.start, heads.stop)) if every else sorted(found)

    @cached_property
    def writers(self) -> frozenset[int]:
        """All whose output changes."""
        mlp = self.state.required.mlp
        heads = {writer for layer in self.layers for writer in layer.rescaled}
        return frozenset(heads | {mlp(layer.layer) for layer in self.layers if layer.mlp})

    def sum_of(self, readers: Sequence[int]) -> Sum:
        """How some slots of one layer, at the same positions, sum up what they read."""
        asked = tuple(readers)
        if asked not in self._sums:
            state = self.state
            changed = [[w for w in state.senders[reader] if w in self.writers] for reader in readers]
            rest = [state.input(reader, some) for reader, some in zip(readers, changed, strict=True)]
            senders = sorted({writer for some in changed for writer in some})
            pairs = [(place, writer) for place, some in enumerate(changed) for writer in some]
            numbers = np.zeros((len(asked), len(senders)), dtype=np.float32)
            for place, writer in pairs:
                numbers[place, senders.index(writer)] = 1
            whole = rest[0][None] if len(rest) == 1 else torch.stack(rest)
            matrix = upload(numbers, whole.device).to(whole.dtype)
            self._sums[asked] = Sum(whole, senders, pairs, matrix)
        return self._sums[asked]

    def ablated(self, writers: Sequence[int], need: Required) -> Tensor:
        """What ablation leaves of some components, [writers, 1, N, Q, d]."""
        asked = tuple(writers), need
        if asked not in self._ablated:
            state = self.state
            self._ablated[asked] = state.suffix.take(at_places(state.prompts.ablated.values, writers), need)[:, None]
        return self._ablated[asked]
