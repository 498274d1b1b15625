"""Run subgraphs at the cost of what they consist of.

Only components with a way to the logits are computed, and only where their outputs are needed (`RequiredPositions`).
A slot reads the ablated residual stream plus, over its kept senders, the current value minus the ablated one: so the
values of all other components are never needed. The same semantics as `Executor` with `RemovedEdges`, in other
words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from acdc.execution.ablated import Ablated, AblatedStream
from acdc.execution.components import Components, Positions, as_index, at_places, needed_length, on_device, upload
from acdc.execution.required_positions import Required, RequiredPositions
from acdc.execution.suffix import Earlier, Suffix
from acdc.graph import ATTENTION_SLOTS, ReaderGroup, ReaderKind


@dataclass(frozen=True)
class Prompts:
    """A batch as subgraphs need it: `embedded` [1 or 2, N, P, d] by embedding writer, the answer positions [N] or
    [N, n], what removed edges carry, and the stream of that (None where there is none that stays the same). Ablation
    changes nothing at the first `unchanged` positions, of which there are `earlier` keys and values."""

    embedded: Tensor
    answers: Tensor
    ablated: Ablated
    stream: AblatedStream | None
    unchanged: int = 0
    earlier: Earlier = Earlier()

    def suffix(self, components: Components) -> Suffix:
        """The positions that runs of subgraphs compute."""
        return Suffix(self.unchanged, needed_length(components, self.answers, self.embedded.shape[2]), self.answers)

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        stream = () if self.stream is None else (*self.stream.attention, *self.stream.mlp)
        tensors = (self.embedded, self.ablated.values, *self.ablated.projections, *stream)
        return self.earlier.nbytes + sum(x.nbytes for x in tensors)


@dataclass(frozen=True)
class Changes:
    """Current minus ablated value of some writers, [C, writers, N, Q, d], filled in topological order."""

    writers: np.ndarray
    values: Tensor

    @classmethod
    def reserve(cls, writers: np.ndarray, size: Sequence[int], like: Tensor) -> "Changes":
        return cls(writers, like.new_empty((size[0], len(writers), *size[2:])))

    def put(self, writers: Sequence[int], values: Tensor, ablated: Tensor) -> None:
        """Record values [C, writers, N, Q, d] of writers, less their ablated ones [writers, N, Q, d]."""
        where = np.searchsorted(self.writers, writers).tolist()
        places = as_index(where)
        if isinstance(places, list):
            self.values.index_copy_(1, on_device(where, self.values.device), values - ablated)
        elif torch.is_grad_enabled():
            self.values[:, places] = values - ablated
        else:
            torch.sub(values, ablated, out=self.values[:, places])


# [C * N, Q, e] by layer, kind and the slot's row in its group
Projections = dict[tuple[int, ReaderKind, int], Tensor]


class SubgraphRun:
    """One run of C subgraphs over the N rows of a batch."""

    def __init__(
        self,
        components: Components,
        required: RequiredPositions,
        prompts: Prompts,
        kept: np.ndarray,
        projections: Projections | None = None,
    ):
        """`kept` is boolean [C, edges]; `required` covers all of them; `prompts` have a stream. `projections`: where to
        record what the heads are computed from."""
        self.components, self.required, self.prompts, self.kept = components, required, prompts, kept
        self._projections = projections
        assert prompts.stream is not None
        self._stream = prompts.stream
        self.graph = required.graph
        everywhere = np.flatnonzero(required.needs == Required.EVERYWHERE)
        embeddings = np.arange(len(self.graph.embeddings))
        self.suffix = prompts.suffix(components)
        needed = {Required.EVERYWHERE: everywhere, Required.ANSWER: np.flatnonzero(required.needs)}
        self._changes = {
            need: Changes.reserve(
                np.union1d(embeddings, writers),
                (len(kept), -1, self.rows, self.suffix.at[need].count, prompts.embedded.shape[-1]),
                prompts.embedded,
            )
            for need, writers in needed.items()
        }
        for writer, value in enumerate(prompts.embedded):
            value = self.suffix.of(value)[None].repeat(1, len(kept), 1, 1)
            self._record([writer], value, Required.EVERYWHERE)

    @property
    def rows(self) -> int:
        return self.suffix.rows

    @cached_property
    def _at(self) -> dict[Required, Positions]:
        """Where heads are asked, of all runs."""
        return {need: at.repeat(len(self.kept)) for need, at in self.suffix.at_in_prompts.items()}

    def logits(self, columns: Tensor | None = None) -> Tensor:
        """[C * N, V] at the answer positions, or [C * N, K] of the `columns` [N, K]; N counts answers."""
        return self.components.unembed(self.final(), None if columns is None else columns.repeat(len(self.kept), 1))

    def final(self) -> Tensor:
        """What the logits read at the answer positions, [C * N, d]; N counts answers."""
        shape = self.graph.anatomy
        for layer in range(shape.n_layers):
            self._attend(layer)
            if not shape.attn_only and self.required.needs[self.required.mlp(layer)]:
                self._feed_forward(layer)
        group = self.graph.group_at[shape.n_layers, ReaderKind.LOGITS]
        return self._read([(group, 0)], Required.ANSWER, self._stream.attention[-1])[0].flatten(0, 1)

    def _feed_forward(self, layer: int) -> None:
        """Compute a layer's MLP."""
        need = Required(int(self.required.needs[self.required.mlp(layer)]))
        read = self._read([(self.graph.group_at[layer, ReaderKind.MLP], 0)], need, self._stream.mlp[layer])
        self._record([self.required.mlp(layer)], self.components.mlp(layer, read[0])[None], need)

    def _record(self, writers: Sequence[int], values: Tensor, need: Required) -> None:
        """Record values [writers, C * N, Q, d] of writers."""
        ablated = self.suffix.take(at_places(self.prompts.ablated.values, writers), need)
        values = values.unflatten(1, (len(self.kept), self.rows)).transpose(0, 1)
        self._changes[need].put(writers, values, ablated)
        if need == Required.EVERYWHERE:
            self._changes[Required.ANSWER].put(writers, self._take(values), self._take(ablated))

    def _take(self, x: Tensor) -> Tensor:
        """What stands at the answers, of [..., N, positions of the suffix, d]."""
        return self.suffix.at[Required.ANSWER].take(x)

    def _read(self, slots: Sequence[tuple[ReaderGroup, int]], need: Required, stream: Tensor) -> Tensor:
        """Inputs of slots with the same senders, given by group and row: [slots, C * N, Q, d]."""
        changes, senders = self._changes[need], slots[0][0].senders
        base = self.suffix.take(stream, need)
        known = changes.writers[changes.writers < senders]
        kept = np.stack([self.kept[:, group.start + row * senders + known] for group, row in slots], axis=1)
        summed = torch.baddbmm(
            base.reshape(1, 1, -1), upload(kept, base.device).to(base.dtype), changes.values[:, : len(known)].flatten(2)
        )
        return summed.view(len(self.kept), len(slots), *base.shape).transpose(0, 1).flatten(1, 2)

    def _attend(self, layer: int) -> None:
        """Compute what is needed of a layer's heads."""
        first = self.required.heads(layer).start
        needs = self.required.needs[self.required.heads(layer)]
        if not needs.any():
            return
        shared = self.graph.anatomy.group_size
        heads = {need: np.flatnonzero(needs == need).tolist() for need in (Required.ANSWER, Required.EVERYWHERE)}
        kv_readers = sorted({h // shared for h in np.flatnonzero(needs).tolist()})
        projected = self._project(layer, heads[Required.EVERYWHERE], kv_readers)
        written = {}
        for need, some in heads.items():
            if some:
                q = self._queries(layer, some) if need == Required.ANSWER else projected[ReaderKind.Q]
                q = self._within_head(layer, ReaderKind.Q, some, q, need)
                places = [kv_readers.index(h // shared) for h in some]
                k, v = (
                    self._at_all_positions(layer, kind, some, at_places(projected[kind], places))
                    for kind in (ReaderKind.K, ReaderKind.V)
                )
                written[need] = self.components.attend(layer, q, k, v, self._at[need], some)
        for need, out in written.items():
            if self.graph.anatomy.post_norms:  # then all heads of the layer are needed alike
                out = out * self.components.attention_scale(layer, out.sum(0))
            self._record([first + h for h in heads[need]], out, need)

    def _project(self, layer: int, queries: list[int], kv_readers: list[int]) -> dict[ReaderKind, Tensor]:
        """Queries, keys and values that are needed everywhere; their inputs are summed up together."""
        wanted = {ReaderKind.Q: queries, ReaderKind.K: kv_readers, ReaderKind.V: kv_readers}
        slots = [(self.graph.group_at[layer, kind], row) for kind, rows in wanted.items() for row in rows]
        read = self._read(slots, Required.EVERYWHERE, self._stream.attention[layer])
        parts = read.split([len(rows) for rows in wanted.values()])
        return {
            kind: self._recorded(layer, kind, rows, self.components.project(layer, kind, part, rows))
            for (kind, rows), part in zip(wanted.items(), parts, strict=True)
            if rows
        }

    def _recorded(self, layer: int, kind: ReaderKind, rows: Sequence[int], projected: Tensor) -> Tensor:
        if self._projections is not None:
            self._projections.update({(layer, kind, row): x for row, x in zip(rows, projected, strict=True)})
        return projected

    def _queries(self, layer: int, heads: list[int]) -> Tensor:
        """Queries at the answer alone."""
        slots = [(self.graph.group_at[layer, ReaderKind.Q], head) for head in heads]
        read = self._read(slots, Required.ANSWER, self._stream.attention[layer])
        return self._recorded(layer, ReaderKind.Q, heads, self.components.project(layer, ReaderKind.Q, read, heads))

    def _at_all_positions(self, layer: int, kind: ReaderKind, heads: list[int], projected: Tensor) -> Tensor:
        """Keys or values of heads as they use them, [heads, C * N, P, e]."""
        used = self._within_head(layer, kind, heads, projected, Required.EVERYWHERE)
        shared = self.graph.anatomy.group_size
        return self.prompts.earlier.join(layer, kind, [head // shared for head in heads], used)

    def _within_head(self, layer: int, kind: ReaderKind, heads: list[int], projected: Tensor, need: Required) -> Tensor:
        """Put ablated projections in the place of those whose within-head edge is removed; [heads, C * N, Q, e]."""
        if not self.graph.direct_edges:
            return projected
        start = self.graph.within_head_start(layer, kind)
        cut = ~self.kept[:, [start + h for h in heads]]
        if not cut.any():
            return projected
        ablated = self.prompts.ablated.projections[3 * layer + ATTENTION_SLOTS.index(kind)]
        shared = self.graph.anatomy.n_heads // len(ablated)
        other = self.suffix.take(at_places(ablated, [h // shared for h in heads]), need).repeat(1, len(self.kept), 1, 1)
        per_sequence = upload(cut.T.repeat(self.rows, axis=1), projected.device)
        return torch.where(per_sequence[:, :, None, None], other, projected)
