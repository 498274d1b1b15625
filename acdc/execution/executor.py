"""Run a transformer as a graph: every slot reads its own sum of component outputs.

Component outputs are kept in blocks [writers, sequences, positions, d], one for the embeddings and one for the heads
and the MLP of each layer, in the order of the graph's writers. What the slots read is decided by `SlotInputs`: the
residual stream as it is, or with senders taken out of it (`RemovedEdges`); a search may bring its own, for example to
collect gradients.

Semantics are those of path patching (Goldowsky-Dill et al. 2023, arXiv 2304.05969): a slot's input is the residual
plus, over its removed senders, the ablated value minus the current one. Attention output biases belong to no component.
Under post-norms (gemma) a head's contribution is what reaches the residual at the current run's scale. A removed
within-head edge gives its head the ablated query, key or value in the place of the current one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from acdc.execution.ablated import Ablated, AblatedStream
from acdc.execution.components import Components, Positions
from acdc.execution.hidden import RemovedNeurons
from acdc.execution.removed_at_spans import RemovedAtSpans
from acdc.execution.slots import SlotInputs, View, Views
from acdc.graph import ATTENTION_SLOTS, ComponentGraph, ReaderGroup, ReaderKind
from acdc.graph.masks import CoordinateMask, EdgeMask, Mask, NeuronMask, PositionalMask


@dataclass(frozen=True)
class Trace:
    """A run: logits [N, V] at the asked positions, of several in each sequence one after the other, the writers'
    outputs, and the residual entering each layer.

    `residuals` has one entry more than there are layers: the last is what the logits read. `projections` are the
    queries, keys and values of each layer [readers, N, positions, e], kept where the graph has removable within-head
    edges. `together`: the tensor that all blocks are parts of, where there is one."""

    logits: Tensor
    blocks: tuple[Tensor, ...]
    residuals: tuple[Tensor, ...]
    projections: tuple[Tensor, ...]
    together: Tensor | None = None

    @property
    def values(self) -> Tensor:
        """Outputs of all writers, [writers, N, positions, d]."""
        return torch.cat(self.blocks) if self.together is None else self.together

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return sum(x.nbytes for x in (*self.blocks, *self.residuals, *self.projections))

    def part(self, rows: slice) -> "Trace":
        """The run of some of its rows, as views."""
        blocks, projections = (tuple(x[:, rows] for x in tensors) for tensors in (self.blocks, self.projections))
        together = None if self.together is None else self.together[:, rows]
        logits = self.logits.unflatten(0, (len(self.residuals[0]), -1))[rows].flatten(0, 1)
        return Trace(logits, blocks, tuple(x[rows] for x in self.residuals), projections, together)


class _Collected(SlotInputs):
    """Writes the outputs of a run without gradients into one tensor, so that they never have to be copied together."""

    def __init__(self, writers: int):
        self.writers, self._filled = writers, 0
        self.together: Tensor | None = None

    def write(self, index: int, block: Tensor) -> Tensor:
        if self.together is None:
            self.together = block.new_empty((self.writers, *block.shape[1:]))
        first, self._filled = self._filled, self._filled + len(block)
        return self.together[first : self._filled].copy_(block)


class RemovedEdges(SlotInputs):
    """Slot inputs of several subgraphs at once: the senders of removed edges carry their ablated value.

    A slot most of whose edges are kept reads the residual less what its removed senders changed; with a `stream`, one
    most of whose edges are removed reads that plus what its kept senders changed. So neither sum cancels: where nothing
    is kept and nothing is what ablation leaves, a slot reads exactly nothing, which a norm would not forgive else.

    One object serves one run of C x rows sequences, candidate by candidate. Blocks of a run's unchanged beginning have
    `rows` sequences and serve all candidates.
    """

    def __init__(
        self,
        graph: ComponentGraph,
        removed: np.ndarray,
        ablated: Ablated,
        rows: int,
        stream: AblatedStream | None = None,
    ):
        """`removed` is boolean [C, edges]."""
        self.graph, self.removed, self.ablated, self.rows, self.stream = graph, removed, ablated, rows, stream
        self._changes: list[Tensor | None] = []

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        candidates, readers = len(self.removed), len(group.readers)
        cut = self.removed[:, group.start : group.stop].reshape(candidates, readers, group.senders)
        if not cut.any():
            return residual[None]
        from_stream = np.zeros((candidates, readers), dtype=bool) if self.stream is None else cut.mean(axis=2) > 0.5
        share = np.where(from_stream[..., None], ~cut, np.negative(cut, dtype=np.int8))
        total, first = residual.new_zeros(()), 0
        for index, block in enumerate(blocks):
            last = min(first + len(block), group.senders)
            part = share[:, :, first:last]
            if part.any():
                change = self._change(index, block, first)[:, : last - first]
                total = total + torch.from_numpy(part).to(change) @ change
            first = last
        base = self._base(group, residual, from_stream)
        if not total.dim():
            return base
        return base + total.view(candidates, readers, self.rows, *residual.shape[1:]).transpose(0, 1).flatten(1, 2)

    def _base(self, group: ReaderGroup, residual: Tensor, from_stream: np.ndarray) -> Tensor:
        """The residual, or for some candidates and slots the ablated stream: [readers or 1, C * rows, positions, d]."""
        if self.stream is None or not from_stream.any():
            return residual[None]
        stream = self.stream.at(group)[:, : residual.shape[1]].expand(self.rows, *residual.shape[1:])
        per_sequence = torch.from_numpy(from_stream.T.repeat(self.rows, axis=1)).to(residual.device)
        return torch.where(per_sequence[:, :, None, None], stream.repeat(len(from_stream), 1, 1), residual)

    def inner(self, group: ReaderGroup, projected: Tensor) -> Tensor:
        if not self.graph.direct_edges:
            return projected
        heads = self.graph.anatomy.n_heads
        start = self.graph.within_head_start(group.layer, group.kind)
        cut = self.removed[:, start : start + heads]
        if not cut.any():
            return projected
        ablated = self.ablated.projections[3 * group.layer + ATTENTION_SLOTS.index(group.kind)]
        shared = heads // len(projected)
        current, other = (x.repeat_interleave(shared, dim=0) for x in (projected, ablated))
        per_sequence = torch.from_numpy(cut.T.repeat(self.rows, axis=1)).to(projected.device)
        other = other.expand(-1, self.rows, *other.shape[2:]).repeat(1, len(cut), 1, 1)
        return torch.where(per_sequence[:, :, None, None], other, current)

    def _change(self, index: int, block: Tensor, first: int) -> Tensor:
        """Current minus ablated output of a block's writers, [C or 1, writers, rows * positions * d]; computed once."""
        while len(self._changes) <= index:
            self._changes.append(None)
        known = self._changes[index]
        if known is None:
            current = block.unflatten(1, (-1, self.rows))
            change = current - self.ablated.values[first : first + len(block)].unsqueeze(1)
            known = self._changes[index] = change.transpose(0, 1).flatten(2)
        return known


class RemovedCoordinates(SlotInputs):
    """Runs of several circuits of coordinates at once: the removed coordinates of what components write carry their
    ablated value, for all that read them. One object serves one run of C x rows sequences, candidate by candidate."""

    def __init__(self, removed: np.ndarray, ablated: Ablated, rows: int, before: int = 0):
        """`removed` is boolean [C, writers, d]; the first `before` writers are in the run already."""
        self._removed, self._ablated, self._rows, self._first = removed, ablated.values, rows, before

    def write(self, index: int, block: Tensor) -> Tensor:
        first, self._first = self._first, self._first + len(block)
        removed = self._removed[:, first : self._first]
        if not removed.any():
            return block
        cut = torch.from_numpy(removed).to(block.device).transpose(0, 1)[:, :, None, None]  # [writers, C, 1, 1, d]
        current = block.unflatten(1, (-1, self._rows))
        return torch.where(cut, self._ablated[first : self._first].unsqueeze(1), current).flatten(1, 2)


class Executor:
    """A transformer's components as functions of their slots' inputs."""

    def __init__(self, components: Components, graph: ComponentGraph):
        self.components = components
        self.graph = graph

    @property
    def scaled_bias(self) -> bool:
        """Whether a post-norm scales an attention bias: then what belongs to no component is not constant."""
        shape = self.graph.anatomy
        return shape.post_norms and any(self.components.attention_bias(i) is not None for i in range(shape.n_layers))

    def run(self, tokens: Tensor, answer_positions: Tensor, slots: SlotInputs | None = None) -> Trace:
        """Run token ids [N, positions]; logits are read at `answer_positions` [N], or at several [N, n] of each."""
        return self.run_embedded(self.embed(tokens), answer_positions, slots or SlotInputs())

    def embed(self, tokens: Tensor) -> Tensor:
        """What the embedding writers give for token ids [N, positions]: [1 or 2, N, positions, d]."""
        parts = self.components.embed(tokens)
        return parts if self.graph.split_embeddings else parts.sum(0, keepdim=True)

    def collect(self, tokens: Tensor, answer_positions: Tensor) -> Trace:
        """The plain run without gradients, all of its outputs in one tensor."""
        slots = _Collected(len(self.graph.writers))
        trace = self.run(tokens, answer_positions, slots)
        return replace(trace, together=slots.together)

    def run_embedded(self, embedded: Tensor, answer_positions: Tensor, slots: SlotInputs) -> Trace:
        """Run what the embedding writers give, [1 or 2, N, positions, d]."""
        embedded = slots.write(0, embedded)
        return self._run_layers(0, embedded.sum(0), [embedded], answer_positions, slots)

    def resume(
        self,
        trace: Trace,
        layer: int,
        copies: int,
        answer_positions: Tensor,
        slots: SlotInputs,
        columns: Tensor | None = None,
    ) -> Trace:
        """Run again from a layer on, `copies` times over, with everything before it as in `trace`.

        `layer` may be the number of layers: then only the logits are read anew. Gives [copies * N, V] logits, or with
        `columns` [N, K] only those of these token ids; for N * n answers where there are several positions.
        """
        blocks = list(trace.blocks[: self.blocks_before(layer)])
        residual = trace.residuals[layer].repeat(copies, 1, 1)
        columns = None if columns is None else columns.repeat(copies, 1)
        answers = Positions(residual.shape[1], answer_positions).repeat(copies).single
        assert answers is not None
        return self._run_layers(layer, residual, blocks, answers, slots, columns)

    def resume_without(
        self,
        trace: Trace,
        removed: Mask,
        ablated: Ablated,
        answer_positions: Tensor,
        stream: AblatedStream | None = None,
        columns: Tensor | None = None,
        where: np.ndarray | None = None,
    ) -> Trace:
        """Run several subgraphs from the first layer on in which any of them differs from `trace`, candidate by
        candidate; logits as of `resume`. `where` [rows, positions]: the span of every position, for a mask of these."""
        layer, rows = removed.first_layer(self.graph), len(trace.residuals[0])
        slots: SlotInputs
        if isinstance(removed, CoordinateMask):
            before = sum(len(block) for block in trace.blocks[: self.blocks_before(layer)])
            slots = RemovedCoordinates(removed.values, ablated, rows, before)
        elif isinstance(removed, NeuronMask):
            slots = RemovedNeurons(removed.values, ablated, rows, self.graph)
        elif isinstance(removed, PositionalMask):
            assert where is not None, "spans of no position"
            slots = RemovedAtSpans(removed, where, ablated, stream)
        else:
            assert isinstance(removed, EdgeMask), f"no way to run {type(removed).__name__}"
            slots = RemovedEdges(self.graph, removed.values, ablated, rows, stream)
        return self.resume(trace, layer, len(removed), answer_positions, slots, columns)

    def blocks_before(self, layer: int) -> int:
        """How many blocks of outputs there are when a layer is entered."""
        return 1 + layer * (1 if self.graph.anatomy.attn_only else 2)

    def _run_layers(
        self,
        first: int,
        residual: Tensor,
        blocks: list[Tensor],
        answer_positions: Tensor,
        slots: SlotInputs,
        columns: Tensor | None = None,
    ) -> Trace:
        shape, residuals, projections = self.graph.anatomy, [], []
        for layer in range(first, shape.n_layers):
            residuals.append(residual)
            if views := slots.views(layer):
                heads, bias = self._attend_apart(layer, slots, views, residual, blocks)
            else:
                projected = [self._project(layer, kind, slots, residual, blocks) for kind in ATTENTION_SLOTS]
                projections += projected if self.graph.direct_edges else []
                heads, bias = self._attend(layer, projected)
            blocks.append(slots.write(len(blocks), heads))
            written = blocks[-1].sum(0) if bias is None else blocks[-1].sum(0) + bias
            entered, residual = residual, residual + written
            if not shape.attn_only:
                read = slots.read(
                    self.graph.group_at[layer, ReaderKind.MLP], entered if shape.parallel else residual, blocks
                )
                written = self.components.mlp(layer, read[0], slots.hidden(layer))
                blocks.append(slots.write(len(blocks), written[None]))
                residual = residual + blocks[-1][0]
        residuals.append(residual)
        final = slots.read(self.graph.group_at[shape.n_layers, ReaderKind.LOGITS], residual, blocks)[0]
        answers = Positions(final.shape[1], answer_positions).take(final)
        logits = self.components.unembed(answers.flatten(0, 1), columns)
        return Trace(logits, tuple(blocks), tuple(residuals), tuple(projections))

    def _project(
        self, layer: int, kind: ReaderKind, slots: SlotInputs, residual: Tensor, blocks: Sequence[Tensor]
    ) -> Tensor:
        """What the heads of a layer use as queries, keys or values."""
        group = self.graph.group_at[layer, kind]
        read = slots.read(group, residual, blocks)
        return slots.inner(group, self.components.project(layer, kind, read))

    def _project_apart(
        self, layer: int, kind: ReaderKind, slots: SlotInputs, view: View, residual: Tensor, blocks: Sequence[Tensor]
    ) -> Tensor:
        """The same of keys or values that a view sees."""
        group = self.graph.group_at[layer, kind]
        read = slots.read_apart(view, group, residual, blocks)
        return slots.inner_apart(view, group, self.components.project(layer, kind, read))

    def _attend_apart(
        self, layer: int, slots: SlotInputs, views: Views, residual: Tensor, blocks: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """As `_attend`, where queries see keys and values of their own."""
        queries, written = self._project(layer, ReaderKind.Q, slots, residual, blocks), []
        for view in views.apart:
            k, v = (
                self._project_apart(layer, kind, slots, view, residual, blocks) for kind in (ReaderKind.K, ReaderKind.V)
            )
            written.append(self.components.attend(layer, view.at.take(queries), k, v, view.at))
        return self.scaled(layer, views.join(written))

    def _attend(self, layer: int, projected: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """(what each head writes [H, N, positions, d], what the layer writes besides, [d] or [N, positions, d])."""
        q, k, v = projected
        if k.shape[0] != v.shape[0]:  # one of them was wired head by head
            k, v = (x.repeat_interleave(q.shape[0] // x.shape[0], dim=0) for x in (k, v))
        heads = self.components.attend(layer, q, k, v, Positions(k.shape[2]))
        return self.scaled(layer, heads)

    def scaled(self, layer: int, heads: Tensor) -> tuple[Tensor, Tensor | None]:
        """(what reaches the residual of heads [H, N, positions, d], what does of the attention's bias)."""
        bias = self.components.attention_bias(layer)
        if not self.graph.anatomy.post_norms:
            return heads, bias
        total = heads.sum(0)
        scale = self.components.attention_scale(layer, total if bias is None else total + bias)
        return heads * scale, None if bias is None else bias * scale
