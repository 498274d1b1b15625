"""Components computed from weights that were read from the bridge, each by itself."""

from collections.abc import Sequence
from functools import lru_cache, reduce

import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.execution.components import Change, Positions, at_places
from acdc.execution.products import product
from acdc.execution.work import Work
from acdc.graph import Anatomy, ReaderKind
from acdc.model.feed_forward import FeedForward, Mlp
from acdc.model.layers import Attention, Weights
from acdc.model.positions import Rotary
from acdc.model.projection import Projection

_KEPT_TABLES = 64


class FunctionalComponents:
    """See `acdc.execution.components.Components`."""

    def __init__(self, weights: Weights, anatomy: Anatomy):
        self.weights = weights
        self.anatomy = anatomy
        self.work = Work()
        self.whole_prompts = anatomy.bidirectional or weights.length_matters
        self._rotary = lru_cache(_KEPT_TABLES)(self._make_rotary)

    @property
    def kind(self) -> str:
        read = all(layer.mlp is None or isinstance(layer.mlp, FeedForward) for layer in self.weights.layers)
        return "functional" if read else "functional, MLPs by the model's own modules"

    def embed(self, tokens: Tensor) -> Tensor:
        embedded = self.weights.embed(tokens)
        if self.weights.positions is None:
            return embedded[None]
        return torch.stack((embedded, self.weights.positions[: tokens.shape[1]].expand_as(embedded)))

    def project(self, layer: int, kind: ReaderKind, x: Tensor, readers: Sequence[int] | None = None) -> Tensor:
        weights = self.weights.layers[layer]
        projection = _pick(getattr(weights.attention, kind.value), readers)
        out = projection(weights.attention_norm(x) if weights.attention_norm else x)
        self.work.flops += 2 * out.numel() * x.shape[-1]
        return out

    def project_back(
        self, layer: int, kind: ReaderKind, reads: Sequence[Tensor], gradients: Sequence[Tensor], out: Tensor
    ) -> None:
        weights = self.weights.layers[layer]
        projection: Projection = getattr(weights.attention, kind.value)
        norm, width = weights.attention_norm, reads[0].shape[-1]
        turns = 1 if norm is None or norm.frozen else 1 + len(reads)
        self.work.flops += 2 * turns * gradients[0].numel() * width
        if norm is None:
            out.copy_(Projection(projection.weight.transpose(1, 2), None)(reduce(torch.add, gradients)))
        else:
            norm.project_back([x[0] for x in reads], projection, gradients, out)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, at: Positions, heads: Sequence[int] | None = None
    ) -> Tensor:
        return self.mix(layer, self.patterns(layer, q, k, at, heads), v, heads)

    def patterns(self, layer: int, q: Tensor, k: Tensor, at: Positions, heads: Sequence[int] | None = None) -> Tensor:
        """What heads attend to: q [H, B, Q, e] and k [H or KV heads, B, P, e] -> [H, B, Q, P]. `heads`: which they are,
        None for all."""
        scores, sinks = self._scores(layer, q, k, at, heads), self.weights.layers[layer].attention.sinks
        wide = torch.promote_types(scores.dtype, torch.float32)
        if sinks is None:
            return scores.softmax(-1, dtype=wide)
        sink = _of_heads(sinks, heads).to(scores)[:, None, None, None].expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sink), dim=-1).softmax(-1, dtype=wide)[..., :-1]

    def scores(self, layer: int, q: Tensor, k: Tensor, at: Positions) -> Tensor:
        """What patterns of all heads are the softmax of, [H, B, Q, P]; minus infinity where a query does not see a key.

        Raises InputError for a layer whose softmax runs over attention sinks as well."""
        if self.weights.layers[layer].attention.sinks is not None:
            raise InputError(
                "this method computes attention from scores alone, and this model's has sinks besides: use a method "
                "such as eap-ig-inputs"
            )
        return self._scores(layer, q, k, at, None)

    def _scores(self, layer: int, q: Tensor, k: Tensor, at: Positions, heads: Sequence[int] | None) -> Tensor:
        weights = self.weights.layers[layer].attention
        q = weights.q_norm(q) if weights.q_norm else q
        k = weights.k_norm(k) if weights.k_norm else k
        if weights.q_weights is not None and weights.k_weights is not None:
            q = q * _of_heads(weights.q_weights, heads)[:, None, None]
            k = k * weights.k_weights[self._groups(len(q), len(k), heads)][:, None, None]
        if weights.rotary is not None:
            rotary = self._rotary(layer, k.shape[2])
            asked = at.once(("rotary", layer, k.shape[2]), lambda: rotary.at(at.index))
            q, k = asked(q), rotary(k)
        scores = (q @ _for_heads(k, len(q)).transpose(-1, -2)).mul_(weights.scale)
        self.work.flops += 2 * scores.numel() * q.shape[-1]
        if weights.softcap is not None:
            scores = weights.softcap * torch.tanh(scores / weights.softcap)
        if weights.position_bias is not None:
            scores = scores + _of_heads(weights.position_bias(k.shape[2]), heads).to(scores)[:, None, None]
        keys, device = k.shape[2], scores.device
        hidden = at.once(("hidden", keys, weights.window, device), lambda: self._hidden(weights, keys, at, device))
        return scores.masked_fill_(hidden, -torch.inf)

    def mix(self, layer: int, patterns: Tensor, v: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """What heads write under patterns [H, B, Q, P] with values v [H or KV heads, B, P, e]: [H, B, Q, d]."""
        mixed = patterns.to(v.dtype) @ _for_heads(v, len(patterns))
        out = _pick(self.weights.layers[layer].attention.out, heads)(mixed)
        self.work.evaluations += out.shape[0] * out.shape[1]
        self.work.flops += 2 * mixed.numel() * patterns.shape[-1] + 2 * out.numel() * v.shape[-1]
        return out

    def attention_bias(self, layer: int) -> Tensor | None:
        return self.weights.layers[layer].attention.out_bias

    def attention_scale(self, layer: int, total: Tensor) -> Tensor:
        norm = self.weights.layers[layer].attention_post
        return torch.ones_like(total) if norm is None else norm.scale(total)

    def mlp(self, layer: int, x: Tensor, change: Change | None = None) -> Tensor:
        weights = self.weights.layers[layer]
        assert weights.mlp is not None  # an attention-only model is not asked
        normed = weights.mlp_norm(x) if weights.mlp_norm else x
        written = weights.mlp(normed) if change is None else _with_neurons(weights.mlp)(normed, change)
        self.work.evaluations += x.shape[0]
        self.work.flops += x.shape[0] * x.shape[1] * weights.mlp_flops
        return written if weights.mlp_post is None else written * weights.mlp_post.scale(written)

    def unembed(self, x: Tensor, columns: Tensor | None = None) -> Tensor:
        weights = self.weights
        normed = weights.final_norm(x) if weights.final_norm else x
        if columns is None:
            logits = product(normed, weights.unembed)
        else:
            logits = (normed.unsqueeze(-2) @ weights.unembed.T[columns].transpose(-1, -2)).squeeze(-2)
        self.work.flops += 2 * logits.numel() * x.shape[-1]
        if weights.unembed_bias is not None:
            logits = logits + (weights.unembed_bias if columns is None else weights.unembed_bias[columns])
        return logits if weights.softcap is None else weights.softcap * torch.tanh(logits / weights.softcap)

    def _groups(self, queries: int, keys: int, heads: Sequence[int] | None) -> list[int]:
        """The key and value heads that so many keys for so many query heads are of."""
        heads = range(queries) if heads is None else heads
        return [head // self.anatomy.group_size for head in heads[:: queries // keys]]

    def _make_rotary(self, layer: int, length: int) -> Rotary:
        rotary = self.weights.layers[layer].attention.rotary
        assert rotary is not None  # see `patterns`
        return rotary(length)

    def _hidden(self, weights: Attention, keys: int, at: Positions, device: torch.device) -> Tensor:
        """Boolean [Q, keys] or [B, Q, keys] of the keys that a query does not see."""
        key = torch.arange(keys, device=device)
        query = torch.arange(at.first, at.length, device=device) if at.chosen is None else at.chosen
        distance = query[..., None] - key
        speculative = torch.zeros_like(distance, dtype=torch.bool) if self.anatomy.bidirectional else distance < 0
        return speculative if weights.window is None else speculative | (distance.abs() >= weights.window)


def _with_neurons(mlp: Mlp) -> FeedForward:
    assert isinstance(mlp, FeedForward), "neurons of an MLP that is not computed from its weights"
    return mlp


def _for_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values [H or KV heads, ...] head by head."""
    return x if len(x) == heads else x.repeat_interleave(heads // len(x), dim=0)


def _of_heads(x: Tensor, heads: Sequence[int] | None) -> Tensor:
    """What belongs to some heads of [H, ...], or to all."""
    return x if heads is None else at_places(x, heads)


def _pick(projection: Projection, heads: Sequence[int] | None) -> Projection:
    if heads is None:
        return projection
    bias = projection.bias
    return Projection(at_places(projection.weight, heads), None if bias is None else at_places(bias, heads))
