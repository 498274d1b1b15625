"""Run subgraphs of which edges are removed at single spans of the prompts."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from acdc.execution.ablated import Ablated, AblatedStream
from acdc.execution.slots import SlotInputs, View, Views
from acdc.graph import ReaderGroup, ReaderKind
from acdc.graph.masks import PositionalMask
from acdc.graph.positional_graph import PositionalGroup


class RemovedAtSpans(SlotInputs):
    """Slot inputs of several subgraphs at once, as `RemovedEdges` gives them, at each span by what is removed there.

    Queries at spans that lack different edges see different keys and values. One object serves one run of C x rows
    sequences, candidate by candidate."""

    def __init__(
        self, removed: PositionalMask, where: np.ndarray, ablated: Ablated, stream: AblatedStream | None = None
    ):
        """`where` [rows, P]: the span of every position."""
        self.graph, self.removed = removed.graph, removed.values
        self.ablated, self.stream, self.where = ablated, stream, where
        self.tokens = [np.flatnonzero(where == span) for span in range(len(self.graph.spans))]
        self._changes: dict[int, Tensor] = {}
        self._stream_at = lru_cache(1)(self._make_stream)

    def views(self, layer: int) -> Views | None:
        cuts = [self._apart(layer, kind) for kind in (ReaderKind.K, ReaderKind.V)]
        if not any(cut.any() for cut in cuts):
            return None
        alike: dict[bytes, list[int]] = {}
        for span in range(len(self.graph.spans)):
            alike.setdefault(b"".join(cut[:, :, span].tobytes() for cut in cuts), []).append(span)
        if len(alike) == 1:
            return None
        views = Views.of(self.where, [tuple(spans) for spans in alike.values()], self.ablated.values.device)
        return views.repeat(len(self.removed))

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        return self._read(group, 0, residual, blocks)

    def read_apart(self, view: View, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        return self._read(group, view.spans[0], residual, blocks)

    def _read(self, group: ReaderGroup, seen_from: int, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        """Inputs of slots; of keys and values, those that queries at a span see."""
        found = self.graph.group_at[group.layer, group.kind]
        if not self.removed[:, found.start : found.stop].any():
            return residual[None]
        cut = self._apart(group.layer, group.kind)[:, :, seen_from] if found.crosses else self._own(found)
        return self._sum(group, cut, residual, blocks)

    def _own(self, found: PositionalGroup) -> np.ndarray:
        """What is removed of slots that are read at their own span, boolean [C, readers, spans, senders]."""
        block = self.graph.block(self.removed, found.group)
        cut = np.zeros((*block.shape[:2], len(self.graph.spans), block.shape[3]), dtype=bool)
        cut[:, :, [span for span, _ in found.pairs]] = block
        return cut

    def _apart(self, layer: int, kind: ReaderKind) -> np.ndarray:
        """What is removed of keys or values, by the span from which they are seen: boolean [C, readers, spans, sources,
        senders]. Where nothing is seen, the nearest span after (or else before) that sees it decides, so that spans
        are alike where they may be."""
        found = self.graph.group_at[layer, kind]
        block, count = self.graph.block(self.removed, found.group), len(self.graph.spans)
        cut = np.zeros((*block.shape[:2], count, count, block.shape[3]), dtype=bool)
        for source in range(count):
            seen = [span for span in range(count) if (source, span) in found.place]
            for span in range(count) if seen else ():
                nearest = min(seen, key=lambda other: (other < span, abs(other - span)))
                cut[:, :, span, source] = block[:, :, found.place[source, nearest]]
        return cut

    def _sum(self, group: ReaderGroup, cut: np.ndarray, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        """Inputs [readers, C * rows, P, d] of slots without what is removed, boolean [C, readers, spans, senders]."""
        (candidates, readers), (rows, length) = cut.shape[:2], self.where.shape
        out = residual.repeat(readers, 1, 1, 1).view(readers, candidates, rows * length, -1)
        for span in np.flatnonzero(cut.any((0, 1, 3))).tolist():
            tokens = torch.from_numpy(self.tokens[span]).to(residual.device)
            if not len(self.tokens[span]):
                continue
            own = cut[:, :, span]
            from_stream = np.zeros(own.shape[:2], dtype=bool) if self.stream is None else own.mean(axis=2) > 0.5
            share = np.where(from_stream[..., None], ~own, np.negative(own, dtype=np.int8))
            base = out[:, :, tokens]
            if from_stream.any():
                stream = self._stream_at(group.layer, group.kind is ReaderKind.MLP)[tokens]
                instead = torch.from_numpy(from_stream.T.copy()).to(residual.device)[:, :, None, None]
                base = torch.where(instead, stream, base)
            for index, first, last in self._parts(blocks, group.senders):
                part = share[:, :, first:last]
                if part.any():
                    change = self._change(index, blocks[index], first)[:, : last - first, tokens]
                    summed = torch.from_numpy(part).to(change) @ change.flatten(2)
                    base = base + summed.unflatten(2, (len(tokens), -1)).transpose(0, 1)
            out[:, :, tokens] = base
        return out.view(readers, candidates * rows, length, -1)

    def _parts(self, blocks: Sequence[Tensor], senders: int) -> list[tuple[int, int, int]]:
        """(index of a block, its first sender, that after its last) of all that write to a slot."""
        parts, first = [], 0
        for index, block in enumerate(blocks):
            last = min(first + len(block), senders)
            if last > first:
                parts.append((index, first, last))
            first += len(block)
        return parts

    def _make_stream(self, layer: int, mlp: bool) -> Tensor:
        """The ablated stream where slots of a layer read, [rows * P, d]."""
        assert self.stream is not None
        rows, length = self.where.shape
        stream = (self.stream.mlp if mlp else self.stream.attention)[layer]
        return stream[:, :length].expand(rows, length, -1).reshape(rows * length, -1)

    def _change(self, index: int, block: Tensor, first: int) -> Tensor:
        """Current minus ablated output of a block's writers, [C or 1, writers, rows * P, d]; computed once."""
        if index not in self._changes:
            current = block.unflatten(1, (-1, len(self.where)))
            change = current - self.ablated.values[first : first + len(block)].unsqueeze(1)
            self._changes[index] = change.transpose(0, 1).flatten(2, 3)
        return self._changes[index]
