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


<<<<<<< HEAD
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
=======
@dataclass(frozen=True)
class Norm:
    """LayerNorm (`centred`) or RMSNorm over the last axis, in at least float32; `weight` and `bias` may be absent.

    A `frozen` one passes gradients on as if its scale were a constant.
    """

    centred: bool
    eps: float
    weight: Tensor | None
    bias: Tensor | None
    frozen: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        wide_type = torch.promote_types(x.dtype, torch.float32)
        weight, bias = (None if w is None else w.to(wide_type) for w in (self.weight, self.bias))
        wide, shape = x.to(wide_type), x.shape[-1:]
        if self.frozen:
            wide = wide - wide.mean(-1, keepdim=True) if self.centred else wide
            wide = wide * self._inverse(wide).detach()
            wide = wide if weight is None else wide * weight
            return (wide if bias is None else wide + bias).to(x.dtype)
        if self.centred:
            return functional.layer_norm(wide, shape, weight, bias, self.eps).to(x.dtype)
        if x.device.type == "cpu" and not (torch.is_grad_enabled() and x.requires_grad):
            wide = wide * self._inverse(wide)  # what `rms_norm` gives, to the bit, with less to copy
            wide = wide if weight is None else wide.mul_(weight)
        else:
            wide = functional.rms_norm(wide, shape, weight, self.eps)
        return (wide if bias is None else wide + bias).to(x.dtype)

    def project_back(
        self, reads: Sequence[Tensor], projection: "Projection", gradients: Sequence[Tensor], out: Tensor
    ) -> None:
        """Write into `out` [heads, B, P, d] the sum over runs of the gradients at the norm's input x [B, P, d] from
        those [heads, B, P, e] at what a projection makes of its output.

        What the norm multiplies and takes off is made part of the projection, and its scale of the gradients, as those
        tensors are small; what is wide is made head by head, while it is in the caches, once for all runs.
        """
        narrow, wide = reads[0].dtype, out.dtype
        weight = projection.weight if self.weight is None else projection.weight * self.weight.to(narrow)[:, None]
        weight = weight - weight.mean(1, keepdim=True) if self.centred else weight
        normed = [self._normed(x.to(wide)) for x in reads]
        scaled = [gradient.to(wide) * inverse for gradient, (_, inverse) in zip(gradients, normed, strict=True)]
        along = []  # the scale itself depends on x
        for gradient, (x, _) in zip([] if self.frozen else scaled, normed, strict=False):
            projected = Projection(weight, None)(x[None].to(narrow))
            along.append(torch.linalg.vecdot(gradient, projected.to(wide)).unsqueeze(-1) / x.shape[-1])
        for head, gradient in enumerate(_total(scaled).to(narrow)):
            back = product(gradient, weight[head].T).to(wide)
            for share, (x, _) in zip(along, normed, strict=False):
                back = torch.addcmul(back, x, share[head], value=-1, out=out[head])
            if self.frozen:
                out[head] = back

    def _normed(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        """(x divided by its scale, after its mean was taken off where that is so; one over the scale)."""
        wide = wide - wide.mean(-1, keepdim=True) if self.centred else wide
        inverse = self._inverse(wide)
        return wide * inverse, inverse

    def scale(self, total: Tensor) -> Tensor:
        """The factor [..., d] by which an RMS norm multiplies `total`; it applies to each share of it alike."""
        wide = total.to(torch.promote_types(total.dtype, torch.float32))
        inverse = self._inverse(wide)
        factor = (inverse.detach() if self.frozen else inverse).expand_as(wide)
        factor = factor if self.weight is None else factor * self.weight
        return factor.to(total.dtype)

    def _inverse(self, wide: Tensor) -> Tensor:
        return torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)


def _total(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).sum(0)


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: cosines and sines [positions, rotated width]; pairs are adjacent or half the width apart."""

    cos: Tensor
    sin: Tensor
    adjacent: bool

    def at(self, positions: Tensor | None) -> "Rotary":
        """The tables of some positions per sequence [B, n]; of all positions for None."""
        return self if positions is None else Rotary(self.cos[positions], self.sin[positions], self.adjacent)

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate queries or keys [..., positions, e]; what exceeds the rotated width passes through."""
        width = self.cos.shape[-1]
        turned, rest = x[..., :width], x[..., width:]
        if self.adjacent:
            partner = torch.stack((-turned[..., 1::2], turned[..., 0::2]), dim=-1).flatten(-2)
        else:
            partner = torch.cat((-turned[..., width // 2 :], turned[..., : width // 2]), dim=-1)
        return torch.cat((turned * self.cos + partner * self.sin, rest), dim=-1)


@dataclass(frozen=True)
class Projection:
    """Per-head linear map: weight [heads, in, out] and bias [heads, out] or None."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """[heads or 1, rows, positions, in] -> [heads, rows, positions, out]; a leading 1 serves every head."""
        heads, width = self.weight.shape[0], x.shape[-1]
        out = products(x.reshape(x.shape[0], -1, width), self.weight).reshape(heads, *x.shape[1:-1], -1)
        return out if self.bias is None else out + self.bias[:, None, None]


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


def read_norm(module: nn.Module | None) -> Norm | None:
    """The norm that a module computes; None for an absent or identity norm. Raises InputError for an unknown one."""
    norm = unwrapped(module)
    name = type(norm).__name__
    if norm is None or isinstance(norm, nn.Identity):
        return None
    if isinstance(norm, nn.LayerNorm):
        return Norm(True, norm.eps, norm.weight, norm.bias)
    if name == "NativeLayerNormPre":
        return Norm(True, norm.eps, None, None)
    if name == "NativeRMSNormPre":
        return Norm(False, norm.eps, None, None)
    if name == "CohereLayerNorm":
        return Norm(True, norm.variance_epsilon, norm.weight, None)
    if name.endswith("RMSNorm"):
        eps = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
        weight = norm.weight
        if name.startswith("Gemma"):
            weight = 1.0 + weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
        return Norm(False, eps, weight, None)
    raise InputError(f"norm {name} is not supported: LayerNorm and RMSNorm are")


def _rotary_tables(
    bridge: "TransformerBridge", layer_type: str | None, device: torch.device
) -> Callable[[int], Rotary]:
    """Tables for the first n positions from the model's own rotary module, on a device."""
    module = bridge.rotary_emb.original_component
    arguments = () if layer_type is None else (layer_type,)
    adjacent = bool(getattr(bridge.cfg, "rotary_interleaved_cos_sin", False))
    once = type(module).__name__ == "GptOssRotaryEmbedding"  # gives the tables of one of each pair

    def table(n: int) -> Rotary:
        like = torch.zeros(1, dtype=bridge.cfg.dtype, device=bridge.cfg.device)
        cos, sin = module(like, torch.arange(n, device=like.device)[None], *arguments)
        cos, sin = (x[0].to(device).repeat(1, 2 if once else 1) for x in (cos, sin))
        return Rotary(cos, sin, adjacent)

    return table


def _buffered_tables(table: Tensor, n: int) -> Rotary:
    """Of a table [positions, sines and cosines] (GPT-J)."""
    sin, cos = table[:n].repeat_interleave(2, dim=1).chunk(2, dim=1)
    return Rotary(cos, sin, adjacent=True)


class _NativeRotary(Protocol):
    cos_cached: Tensor
    sin_cached: Tensor


def _native_tables(rotary: _NativeRotary, dtype: torch.dtype, n: int) -> Rotary:
    return Rotary(rotary.cos_cached[:n].to(dtype), rotary.sin_cached[:n].to(dtype), adjacent=True)


def _window(bridge: "TransformerBridge", layer: int) -> int | None:
    config = getattr(bridge.original_model, "config", None)
    if config is not None and getattr(config, "attention_layers", None):  # GPT-Neo
        return config.window_size if config.attention_layers[layer] == "local" else None
    window, types = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if types is not None and types[layer] != "sliding_attention":
        return None
    return window


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and value > 0 else None


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


def _rotary(bridge: "TransformerBridge", layer: int, module: Any) -> Callable[[int], Rotary] | None:
    if bridge.cfg.positional_embedding_type != "rotary" or not getattr(module, "use_rope", True):
        return None  # some layers of SmolLM3 have no positions
    if hasattr(module, "embed_positions"):
        return partial(_buffered_tables, module.embed_positions)
    types = getattr(bridge.original_model.config, "layer_types", None)
    per_type = type(module).__name__.startswith("Gemma3")
    return _rotary_tables(bridge, types[layer] if types and per_type else None, next(module.parameters()).device)


def _position_bias(bridge: "TransformerBridge", module: nn.Module) -> Callable[[int], Tensor] | None:
    """ALiBi as the model's own library computes it, rounding and all (Press et al. 2022, arXiv 2108.12409)."""
    if bridge.cfg.positional_embedding_type != "alibi":
        return None
    build = sys.modules[type(module).__module__].build_alibi_tensor
    factor = module.beta  # Falcon scales it as it does the products
    device = next(module.parameters()).device

    def bias(n: int) -> Tensor:
        mask = torch.ones((1, n), dtype=torch.long, device=device)
        return build(mask, bridge.cfg.n_heads, bridge.cfg.dtype)[:, 0] * factor

    return bias


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


def _read_attention(bridge: "TransformerBridge", layer: int) -> Attention:
    attention = bridge.blocks[layer].attn
    module = attention.original_component
    native = type(module).__name__ == "NativeAttention"
    rotary: Callable[[int], Rotary] | None
    if native:
        scale, softcap = 1.0 / module.scale, _positive(module.attn_scores_soft_cap)
        rotary = partial(_native_tables, module.rotary, bridge.cfg.dtype) if module.rotary is not None else None
    else:
        scale, softcap = _scale(module), _positive(getattr(module, "attn_logit_softcapping", None))
        rotary = _rotary(bridge, layer, module)
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
        window=None if native else _window(bridge, layer),
        rotary=rotary,
        q_weights=q_weights,
        k_weights=k_weights,
        position_bias=_position_bias(bridge, module),
        sinks=getattr(module, "sinks", None),
>>>>>>> launches
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
