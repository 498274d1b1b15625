"""A run of one prompt with attention patterns and norm denominators held: all between a residual write and a later read
is then linear, but for the MLPs.

Shapes: P positions, d the residual width, H heads, e the head width. What goes back are gradients [B, q, d] of B
targets at the first q positions of the residual stream.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.attribution.refusals import check_traceable
from acdc.execution.components import Positions
from acdc.execution.products import product
from acdc.graph import ATTENTION_SLOTS
from acdc.model.functional import FunctionalComponents
from acdc.model.layers import Layer
from acdc.model.load import Model
from acdc.model.norms import Norm


@dataclass(frozen=True)
class HeldNorm:
    """A norm whose denominator is that of one run: an affine map. No norm at all is one too."""

    norm: Norm | None
    inverse: Tensor | None  # [P, 1]

    @classmethod
    def of(cls, norm: Norm | None, x: Tensor) -> "HeldNorm":
        """Held at what it divides x [P, d] by."""
        if norm is None:
            return cls(None, None)
        centred = x - x.mean(-1, keepdim=True) if norm.centred else x
        return cls(norm, torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + norm.eps))

    @property
    def bias(self) -> Tensor | None:
        return None if self.norm is None else self.norm.bias

    def __call__(self, x: Tensor) -> Tensor:
        """[..., P, d] -> [..., P, d]"""
        if self.norm is None or self.inverse is None:
            return x
        x = x - x.mean(-1, keepdim=True) if self.norm.centred else x
        x = x * self.inverse
        x = x if self.norm.weight is None else x * self.norm.weight
        return x if self.norm.bias is None else x + self.norm.bias

    def back(self, gradient: Tensor, at: Tensor | slice) -> Tensor:
        """Gradients [..., n, d] at what it gives at n positions -> those at what it reads there."""
        if self.norm is None or self.inverse is None:
            return gradient
        gradient = gradient if self.norm.weight is None else gradient * self.norm.weight
        gradient = gradient * self.inverse[at]
        return gradient - gradient.mean(-1, keepdim=True) if self.norm.centred else gradient


@dataclass(frozen=True)
class HeldLayer:
    """One layer of a held run: what enters it, `residual`; `patterns` [H, P, P]; the post-norms' factors [P, d]; what
    the MLP reads, `mlp_read` after its norm and `entering` before; what it writes before its post-norm [P, d]."""

    weights: Layer
    residual: Tensor
    attention_norm: HeldNorm
    patterns: Tensor
    attention_scale: Tensor | None
    mlp_norm: HeldNorm
    entering: Tensor
    mlp_read: Tensor
    mlp_written: Tensor
    mlp_scale: Tensor | None

    def attend(self, residual: Tensor) -> Tensor:
        """What attention adds to the residual stream [B, P, d] -> [B, P, d], patterns and denominators held."""
        written = mixed(self.weights, self.attention_norm(residual), self.patterns)
        return written if self.attention_scale is None else written * self.attention_scale

    def attend_back(self, gradient: Tensor) -> Tensor:
        """Gradients [B, q, d] at what attention adds -> those at the residual stream that it reads."""
        batch, length, width = gradient.shape
        attention = self.weights.attention
        if self.attention_scale is not None:
            gradient = gradient * self.attention_scale[:length]
        heads, head_width, _ = attention.out.weight.shape
        per_head = product(gradient.reshape(-1, width), attention.out.weight.flatten(0, 1).T)
        per_head = per_head.view(batch, length, heads, head_width).permute(2, 1, 0, 3).flatten(2)
        values = self.patterns[:, :length, :length].transpose(1, 2) @ per_head  # [H, keys, B * e]
        groups = len(attention.v.weight)
        values = values.view(groups, heads // groups, length, batch, head_width).sum(1)
        values = values.permute(2, 1, 0, 3).reshape(batch * length, groups * head_width)
        back = product(values, attention.v.weight.transpose(1, 2).flatten(0, 1)).view(batch, length, width)
        return self.attention_norm.back(back, slice(length))


def mixed(layer: Layer, normed: Tensor, patterns: Tensor) -> Tensor:
    """What attention makes of its normed input [B, P, d] under patterns [H, P, P] or [H, B, P, P], bias included."""
    attention = layer.attention
    values = attention.v(normed[None])
    heads = len(attention.out.weight)
    values = values.repeat_interleave(heads // len(values), dim=0)  # [H, B, P, e]
    patterns = patterns[:, None] if patterns.dim() == 3 else patterns
    read = (patterns.to(values.dtype) @ values).permute(1, 2, 0, 3).flatten(2)
    return product(read, attention.out.weight.flatten(0, 1), attention.out_bias)


class FrozenRun:
    """A run of token ids, held layer by layer.

    `embedded` [1 or 2, P, d]: token and, where they are learned, position embeddings. `final`: what the last norm reads
    [P, d]; `logits` [V] are those of the last position, `raw` before any soft-capping. Raises InputError for a model
    that is not computed from its weights, or of a dtype in which sums are too coarse.
    """

    def __init__(self, model: Model, tokens: Tensor):
        self.components: FunctionalComponents = check_traceable(model, tokens)
        self.model, self.anatomy, self.tokens = model, model.anatomy, tokens
        self.weights = self.components.weights
        with torch.no_grad():
            self.embedded = self.components.embed(tokens[None])[:, 0]
            self.layers: list[HeldLayer] = []
            residual = self.embedded.sum(0)
            for layer in range(self.anatomy.n_layers):
                residual = self._run(layer, residual)
            self.final = residual
            self.final_norm = HeldNorm.of(self.weights.final_norm, residual)
            self.logits = self.components.unembed(residual[-1:])[0]
            self.raw = self.unembed(self.final_norm(residual)[-1:])[0]

    @property
    def length(self) -> int:
        return len(self.tokens)

    def unembed(self, normed: Tensor) -> Tensor:
        """Logits before soft-capping of normed final residuals [..., d]."""
        return product(normed, self.weights.unembed, self.weights.unembed_bias)

    def unit_input(self, layer: int, normed: bool) -> Tensor:
        """What units read at a layer's MLP, after its norm or before, [P, d]."""
        held = self.layers[layer]
        return held.mlp_read if normed else held.entering

    def patterns(self, layer: int, residual: Tensor) -> Tensor:
        """What heads attend to in residual streams [B, P, d]: [H, B, P, P]."""
        q, k = (self.components.project(layer, kind, residual[None]) for kind in ATTENTION_SLOTS[:2])
        return self.components.patterns(layer, q, k, Positions(residual.shape[1]))

    def _run(self, layer: int, residual: Tensor) -> Tensor:
        weights = self.weights.layers[layer]
        norm = HeldNorm.of(weights.attention_norm, residual)
        patterns = self.patterns(layer, residual[None])[:, 0]
        written = mixed(weights, norm(residual)[None], patterns)[0]
        attention_scale = None if weights.attention_post is None else weights.attention_post.scale(written)
        middle = residual + (written if attention_scale is None else written * attention_scale)
        entering = residual if self.anatomy.parallel else middle
        mlp_norm = HeldNorm.of(weights.mlp_norm, entering)
        read = mlp_norm(entering)
        out = torch.zeros_like(read) if weights.mlp is None else weights.mlp(read)
        mlp_scale = None if weights.mlp_post is None else weights.mlp_post.scale(out)
        self.layers.append(
            HeldLayer(weights, residual, norm, patterns, attention_scale, mlp_norm, entering, read, out, mlp_scale)
        )
        return middle + (out if mlp_scale is None else out * mlp_scale)
