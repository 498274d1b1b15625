"""A transformer as plain tensors and functions: what the executor computes with.

Shapes: H query heads, K key and value heads, d the residual width, e the head width, V the vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from acdc.model.feed_forward import Mlp
from acdc.model.norms import Norm
from acdc.model.positions import Rotary
from acdc.model.projection import Projection


@dataclass(frozen=True)
class Attention:
    """One attention layer. Scores are q.k * scale, soft-capped where `softcap` is set.

    `q_weights` [H, e] and `k_weights` [KV heads, e]: what normed queries and keys are multiplied by, head by head.
    `position_bias`: of n keys, what is added to the scores of each head, [H, n] (ALiBi). `sinks` [H]: one more score
    that each head's softmax runs over, of a key that has no value.
    """

    q: Projection
    k: Projection
    v: Projection
    out: Projection
    out_bias: Tensor | None
    q_norm: Norm | None
    k_norm: Norm | None
    scale: float
    softcap: float | None
    window: int | None
    rotary: Callable[[int], Rotary] | None
    q_weights: Tensor | None = None
    k_weights: Tensor | None = None
    position_bias: Callable[[int], Tensor] | None = None
    sinks: Tensor | None = None


@dataclass(frozen=True)
class Layer:
    """One block; the post-norms stand between a component's output and the residual (gemma).

    `mlp_flops`: floating point operations of the MLP's products for one position.
    """

    attention_norm: Norm | None
    attention: Attention
    attention_post: Norm | None
    mlp_norm: Norm | None
    mlp: Mlp | None
    mlp_flops: int
    mlp_post: Norm | None


@dataclass(frozen=True)
class Weights:
    """A whole transformer: embedding functions, layers, final norm and unembedding [d, V].

    `length_matters`: its rotary tables depend on the length of the prompt.
    """

    embed: Callable[[Tensor], Tensor]
    positions: Tensor | None
    layers: tuple[Layer, ...]
    final_norm: Norm | None
    unembed: Tensor
    unembed_bias: Tensor | None
    softcap: float | None
    length_matters: bool
