"""The weights of one transformer, read from a TransformerBridge into plain per-head tensors (`acdc.model.layers`).

Everything family-specific ends here: the executor sees norms, projections, a rotary table and an MLP function.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from acdc.errors import InputError
from acdc.execution.products import packed
from acdc.model.feed_forward import read_mlp, scaled, unwrapped
from acdc.model.layers import Attention, Layer, Weights
from acdc.model.norms import Norm, read_norm
from acdc.model.positions import Rotary, length_matters, native_tables, read_position_bias, read_rotary, read_window
from acdc.model.projection import Projection

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def read_weights(bridge: "TransformerBridge") -> Weights:
    """Read a bridge's weights: views of its parameters, but for projections that `packed` lays out anew."""
    head = bridge.unembed.original_component
    norm = read_norm(getattr(bridge, "embed_ln", None))
    return Weights(
        embed=_Embedding(bridge.embed.original_component, multiplier(bridge, "embedding_multiplier"), norm),
        positions=_read_positions(bridge),
        layers=tuple(_read_layer(bridge, layer) for layer in range(bridge.cfg.n_layers)),
        final_norm=_read_final_norm(bridge),
        unembed=head.weight.T,
        unembed_bias=head.bias,
        softcap=_positive(bridge.cfg.output_logits_soft_cap),
        length_matters=length_matters(bridge),
    )


@dataclass(frozen=True)
class _Embedding:
    """Token ids [B, P] -> [B, P, d], times a factor, normed."""

    module: nn.Module
    factor: float
    norm: Norm | None

    def __call__(self, tokens: Tensor) -> Tensor:
        embedded = _times(self.module(tokens), self.factor)
        return embedded if self.norm is None else self.norm(embedded)


def _read_final_norm(bridge: "TransformerBridge") -> Norm | None:
    """The final norm, with what a family multiplies its logits by as a factor of what is small."""
    norm = read_norm(bridge.ln_final)
    factor = multiplier(bridge, "logit_scale") / multiplier(bridge, "logits_scaling")
    if factor == 1.0:
        return norm
    assert norm is not None and norm.weight is not None and norm.bias is None  # as in Granite and Cohere
    return replace(norm, weight=norm.weight * factor)


def _read_positions(bridge: "TransformerBridge") -> Tensor | None:
    if bridge.cfg.positional_embedding_type != "standard":
        return None
    table = bridge.pos_embed.original_component
    return table.weight[getattr(table, "offset", 0) :]  # OPT begins with rows that no position has


def _read_layer(bridge: "TransformerBridge", layer: int) -> Layer:
    block = bridge.blocks[layer]
    mlp = getattr(block, "mlp", None)
    module = _mlp_module(block)
    first, second = (read_norm(getattr(block, name, None)) for name in ("ln1", "ln2"))
    shared = bridge.cfg.parallel_attn_mlp and getattr(block, "ln2", None) is None
    return Layer(
        attention_norm=first,
        attention=_read_attention(bridge, layer),
        attention_post=read_norm(getattr(block, "ln1_post", None)),
        mlp_norm=None if mlp is None else first if shared else second,
        mlp=scaled(read_mlp(module), multiplier(bridge, "residual_multiplier")) if module is not None else None,
        mlp_flops=_mlp_flops(module) if module is not None else 0,
        mlp_post=read_norm(getattr(block, "ln2_post", None)),
    )


def _mlp_module(block: nn.Module) -> nn.Module | None:
    """A block's MLP; of OPT, which keeps its parts in the block itself, a module of these alone."""
    mlp = getattr(block, "mlp", None)
    module = None if mlp is None else mlp.original_component
    if module is None or not hasattr(module, "self_attn"):
        return module
    parts = nn.Module()
    parts.fc1, parts.fc2, parts.activation_fn = module.fc1, module.fc2, module.activation_fn
    return parts


def _mlp_flops(module: nn.Module) -> int:
    """Two per weight that a position meets; of stacked experts [experts, out, in] it meets only the chosen ones."""
    parts: Any = module.modules()  # of whatever class has experts
    met, chosen = 0, next((part.top_k for part in parts if hasattr(part, "top_k")), 1)
    for name, parameter in module.named_parameters():
        matrix = parameter.dim() == 2 and not name.endswith("bias")
        share = chosen / len(parameter) if parameter.dim() == 3 else matrix
        met += round(parameter.numel() * share)
    return 2 * met


def _read_attention(bridge: "TransformerBridge", layer: int) -> Attention:
    attention = bridge.blocks[layer].attn
    module = attention.original_component
    native = type(module).__name__ == "NativeAttention"
    rotary: Callable[[int], Rotary] | None
    if native:
        scale, softcap = 1.0 / module.scale, _positive(module.attn_scores_soft_cap)
        rotary = partial(native_tables, module.rotary, bridge.cfg.dtype) if module.rotary is not None else None
    else:
        scale, softcap = _scale(module), _positive(getattr(module, "attn_logit_softcapping", None))
        rotary = read_rotary(bridge, layer, module)
    bias, factor = getattr(attention.o.original_component, "bias", None), multiplier(bridge, "residual_multiplier")
    (q_norm, q_weights), (k_norm, k_weights) = (_query_norm(attention, letter, bridge.cfg.d_head) for letter in "qk")
    return Attention(
        q=Projection(packed(attention.W_Q), attention.b_Q),
        k=Projection(packed(attention.W_K), attention.b_K),
        v=Projection(packed(attention.W_V), attention.b_V),
        out=Projection(packed(_times(attention.W_O, factor)), None),
        out_bias=None if bias is None else _times(bias, factor),
        q_norm=q_norm,
        k_norm=k_norm,
        scale=scale,
        softcap=softcap,
        window=None if native else read_window(bridge, layer),
        rotary=rotary,
        q_weights=q_weights,
        k_weights=k_weights,
        position_bias=read_position_bias(bridge, module),
        sinks=getattr(module, "sinks", None),
    )


def _scale(module: Any) -> float:
    """What the products of queries and keys are multiplied by."""
    for name in ("scaling", "inv_norm_factor"):
        if hasattr(module, name):
            return float(getattr(module, name))
    if hasattr(module, "scale_attn"):
        return 1.0 / float(module.scale_attn)
    if type(module).__name__ == "GPTNeoSelfAttention":
        return 1.0
    raise InputError(f"attention {type(module).__name__} is not supported: its scale is not known")


def _query_norm(attention: nn.Module, letter: str, d_head: int) -> tuple[Norm | None, Tensor | None]:
    """(norm of the queries or keys, its weights [heads, e] where each head has its own). Raises InputError for a norm
    over all heads together."""
    module = attention.original_component
    own = getattr(module, f"{letter}_norm", None) or getattr(module, f"{letter}_layernorm", None)
    norm = unwrapped(own if own is not None else getattr(attention, f"{letter}_norm", None))
    if type(norm).__name__ == "StableLmLayerNormPerHead":
        return Norm(True, norm.norms[0].eps, None, None), torch.stack([each.weight for each in norm.norms])
    if type(norm).__name__ == "CohereLayerNorm":
        return Norm(True, norm.variance_epsilon, None, None), norm.weight
    found = read_norm(norm)
    if found is not None and found.weight is not None and len(found.weight) != d_head:
        raise InputError("queries and keys are normed over all heads together: norms of each head are supported")
    return found, None


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and value > 0 else None


def multiplier(bridge: "TransformerBridge", name: str) -> float:
    """A number of the configuration that something is multiplied by (Granite, Cohere); 1 where it has none."""
    return float(getattr(getattr(bridge.original_model, "config", None), name, 1.0))


def _times(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor
