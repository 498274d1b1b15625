"""What a model knows of positions: rotary tables, ALiBi, and how far its attention looks back."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: cosines and sines [positions, rotated width]; pairs are adjacent or half the width apart."""

    cos: Tensor
    sin: Tensor
    adjacent: bool

    def at(self, positions: Tensor | slice) -> "Rotary":
        """The tables of some positions, or of some per sequence [B, n]."""
        return Rotary(self.cos[positions], self.sin[positions], self.adjacent)

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate queries or keys [..., positions, e]; what exceeds the rotated width passes through."""
        width = self.cos.shape[-1]
        turned, rest = x[..., :width], x[..., width:]
        if self.adjacent:
            partner = torch.stack((-turned[..., 1::2], turned[..., 0::2]), dim=-1).flatten(-2)
        else:
            partner = torch.cat((-turned[..., width // 2 :], turned[..., : width // 2]), dim=-1)
        turned = (turned * self.cos).add_(partner * self.sin)
        return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


def read_rotary(bridge: "TransformerBridge", layer: int, module: Any) -> Callable[[int], Rotary] | None:
    """The rotary tables of a layer for the first n positions; None where it has no rotary positions."""
    if bridge.cfg.positional_embedding_type != "rotary" or not getattr(module, "use_rope", True):
        return None  # some layers of SmolLM3 have no positions
    if hasattr(module, "embed_positions"):
        return partial(_buffered_tables, module.embed_positions)
    types = getattr(bridge.original_model.config, "layer_types", None)
    per_type = type(module).__name__.startswith("Gemma3")
    return _rotary_tables(bridge, types[layer] if types and per_type else None, next(module.parameters()).device)


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


def native_tables(rotary: _NativeRotary, dtype: torch.dtype, n: int) -> Rotary:
    """Of a native model's own tables, for the first n positions."""
    return Rotary(rotary.cos_cached[:n].to(dtype), rotary.sin_cached[:n].to(dtype), adjacent=True)


def read_position_bias(bridge: "TransformerBridge", module: nn.Module) -> Callable[[int], Tensor] | None:
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


def read_window(bridge: "TransformerBridge", layer: int) -> int | None:
    """How many positions, its own included, a layer's attention looks back; None for all."""
    config = getattr(bridge.original_model, "config", None)
    if config is not None and getattr(config, "attention_layers", None):  # GPT-Neo
        return config.window_size if config.attention_layers[layer] == "local" else None
    window, types = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if types is not None and types[layer] != "sliding_attention":
        return None
    return window


def length_matters(bridge: "TransformerBridge") -> bool:
    """Whether rotary frequencies are chosen by the length of the prompt."""
    module = getattr(getattr(bridge, "rotary_emb", None), "original_component", None)
    types = getattr(module, "rope_type", "default")
    return any(
        name == "longrope" or "dynamic" in name for name in (types.values() if isinstance(types, dict) else [types])
    )
