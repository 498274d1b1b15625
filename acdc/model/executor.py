"""Run a transformer as a graph: every slot reads its own sum of component outputs.

Component outputs are kept in blocks [writers, sequences, positions, d], one for the embeddings and one for the heads
and the MLP of each layer, in the order of the graph's writers. What a group of slots reads is decided by a
`SlotInputs`: `shared_residual` lets all read the residual stream, `RemovedEdges` takes senders out of it, and a search
may bring its own, for example to collect gradients.

Semantics are those of path patching (Goldowsky-Dill et al. 2023, arXiv 2304.05969): a slot's input is the residual
plus, over its removed senders, the ablated value minus the current one. Attention output biases belong to no component.
Under post-norms (gemma) a head's contribution is what reaches the residual at the current run's scale.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.graph import ComponentGraph, ReaderGroup, ReaderKind
from acdc.model.weights import Attention, Layer, Weights

# (group, residual [N, positions, d], blocks of the outputs so far) -> [readers or 1, N, positions, d]
SlotInputs = Callable[[ReaderGroup, Tensor, Sequence[Tensor]], Tensor]


def shared_residual(group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    """Every slot reads the residual stream as it is."""
    return residual[None]


@dataclass(frozen=True)
class Trace:
    """A run: logits [N, V] at the asked positions, the writers' outputs, and the residual entering each layer.

    `residuals` has one entry more than there are layers: the last is what the logits read.
    """

    logits: Tensor
    blocks: tuple[Tensor, ...]
    residuals: tuple[Tensor, ...]

    @property
    def values(self) -> Tensor:
        """Outputs of all writers, [writers, N, positions, d]."""
        return torch.cat(self.blocks)


class RemovedEdges:
    """Slot inputs of several subgraphs at once: the senders of removed edges carry their ablated value.

    One object serves one run of C x rows sequences, candidate by candidate. Blocks of a run's unchanged beginning have
    `rows` sequences and serve all candidates.
    """

    def __init__(self, removed: np.ndarray, ablated: Tensor, rows: int):
        """`removed` is boolean [C, edges]; `ablated` is [writers, rows or 1, positions or 1, d]."""
        self.removed, self.ablated, self.rows = removed, ablated, rows
        self._changes: list[Tensor] = []

    def __call__(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        candidates, readers = len(self.removed), len(group.readers)
        cut = self.removed[:, group.start : group.stop].reshape(candidates, readers, group.senders)
        if not cut.any():
            return residual[None]
        total, first = residual.new_zeros(()), 0
        for index, block in enumerate(blocks):
            last = min(first + len(block), group.senders)
            share = cut[:, :, first:last]
            if share.any():
                change = self._change(index, block, first)[:, : last - first]
                total = total + torch.from_numpy(share).to(change) @ change
            first = last
        read = total.view(candidates, readers, self.rows, *residual.shape[1:])
        return residual[None] + read.transpose(0, 1).flatten(1, 2)

    def _change(self, index: int, block: Tensor, first: int) -> Tensor:
        """Ablated minus current output of a block's writers, [C or 1, writers, rows * positions * d]; computed once."""
        while len(self._changes) <= index:
            self._changes.append(None)
        if self._changes[index] is None:
            current = block.unflatten(1, (-1, self.rows))
            change = self.ablated[first : first + len(block)].unsqueeze(1) - current
            self._changes[index] = change.transpose(0, 1).flatten(2)
        return self._changes[index]


class Executor:
    """A transformer's components as functions of their slots' inputs."""

    def __init__(self, weights: Weights, graph: ComponentGraph):
        self.weights = weights
        self.graph = graph
        self._groups = {(group.layer, group.kind): group for group in graph.groups}

    def run(self, tokens: Tensor, answer_positions: Tensor, slots: SlotInputs = shared_residual) -> Trace:
        """Run token ids [N, positions]; logits are read at `answer_positions` [N]."""
        blocks = self._embed(tokens)
        return self._run_layers(0, blocks[0].sum(0), blocks, answer_positions, slots)

    def resume(self, trace: Trace, layer: int, copies: int, answer_positions: Tensor, slots: SlotInputs) -> Trace:
        """Run again from a layer on, `copies` times over, with everything before it as in `trace`.

        `layer` may be the number of layers: then only the logits are read anew. Gives [copies * N, V] logits.
        """
        blocks = list(trace.blocks[: self._blocks_before(layer)])
        residual = trace.residuals[layer].repeat(copies, 1, 1)
        return self._run_layers(layer, residual, blocks, answer_positions.repeat(copies), slots)

    def _blocks_before(self, layer: int) -> int:
        return 1 + layer * (1 if self.graph.anatomy.attn_only else 2)

    def _run_layers(
        self, first: int, residual: Tensor, blocks: list[Tensor], answer_positions: Tensor, slots: SlotInputs
    ) -> Trace:
        residuals = []
        for index in range(first, len(self.weights.layers)):
            layer = self.weights.layers[index]
            residuals.append(residual)
            heads, written = self._attend(index, layer, slots, residual, blocks)
            blocks.append(heads)
            entered, residual = residual, residual + written
            if layer.mlp is not None:
                read_from = entered if self.graph.anatomy.parallel else residual
                written = self._mlp(index, layer, slots, read_from, blocks)
                blocks.append(written[None])
                residual = residual + written
        residuals.append(residual)
        group = self._groups[len(self.weights.layers), ReaderKind.LOGITS]
        final = slots(group, residual, blocks)[0]
        logits = self.unembed(final[torch.arange(len(final), device=final.device), answer_positions])
        return Trace(logits, tuple(blocks), tuple(residuals))

    def unembed(self, residual: Tensor) -> Tensor:
        """Logits [..., V] of a final residual [..., d]."""
        weights = self.weights
        normed = weights.final_norm(residual) if weights.final_norm else residual
        logits = normed @ weights.unembed
        if weights.unembed_bias is not None:
            logits = logits + weights.unembed_bias
        return logits if weights.softcap is None else weights.softcap * torch.tanh(logits / weights.softcap)

    def _embed(self, tokens: Tensor) -> list[Tensor]:
        embedded = self.weights.embed(tokens)
        if self.weights.positions is None:
            return [embedded[None]]
        positions = self.weights.positions[: tokens.shape[1]].expand_as(embedded)
        if self.graph.split_embeddings:
            return [torch.stack((embedded, positions))]
        return [(embedded + positions)[None]]

    def _attend(
        self, index: int, layer: Layer, slots: SlotInputs, residual: Tensor, blocks: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """(what each head writes [H, N, positions, d], what the layer writes [N, positions, d])."""
        weights = layer.attention
        reads = (
            slots(self._groups[index, kind], residual, blocks) for kind in (ReaderKind.Q, ReaderKind.K, ReaderKind.V)
        )
        q_in, k_in, v_in = (layer.attention_norm(x) if layer.attention_norm else x for x in reads)
        heads = weights.out(self._mix(weights, weights.q(q_in), weights.k(k_in), weights.v(v_in)))
        total = heads.sum(0)
        if weights.out_bias is not None:
            total = total + weights.out_bias
        if layer.attention_post is None:
            return heads, total
        scale = _post_scale(layer.attention_post, total)
        return heads * scale, total * scale

    def _mix(self, weights: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention proper: [H or K, N, positions, e] each -> [H, N, positions, e]."""
        if weights.q_norm:
            q = weights.q_norm(q)
        if weights.k_norm:
            k = weights.k_norm(k)
        positions = q.shape[2]
        if weights.rotary is not None:
            rotary = weights.rotary(positions)
            q, k = rotary(q), rotary(k)
        if k.shape[0] < q.shape[0]:
            k, v = (x.repeat_interleave(q.shape[0] // x.shape[0], dim=0) for x in (k, v))
        scores = (q @ k.transpose(-1, -2)) * weights.scale
        if weights.softcap is not None:
            scores = weights.softcap * torch.tanh(scores / weights.softcap)
        hidden = self._hidden(positions, weights.window, scores.device)
        wide = torch.promote_types(scores.dtype, torch.float32)
        pattern = scores.masked_fill(hidden, -torch.inf).softmax(-1, dtype=wide).to(v.dtype)
        return pattern @ v

    def _hidden(self, positions: int, window: int | None, device: torch.device) -> Tensor:
        """Boolean [query, key] of the keys that a query does not see."""
        if self.graph.anatomy.bidirectional:
            return torch.zeros(positions, positions, dtype=torch.bool, device=device)
        ahead = torch.arange(positions, device=device)
        distance = ahead[:, None] - ahead[None]
        return (distance < 0) | (distance >= window) if window is not None else distance < 0

    def _mlp(self, index: int, layer: Layer, slots: SlotInputs, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        read = slots(self._groups[index, ReaderKind.MLP], residual, blocks)[0]
        written = layer.mlp(layer.mlp_norm(read) if layer.mlp_norm else read)
        return written if layer.mlp_post is None else written * _post_scale(layer.mlp_post, written)


def _post_scale(norm, total: Tensor) -> Tensor:
    """The factor [N, positions, d] that an RMS post-norm multiplies a layer's total by; it applies to each share."""
    wide = total.to(torch.promote_types(total.dtype, torch.float32))
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + norm.eps) * norm.weight
    return scale.to(total.dtype)
