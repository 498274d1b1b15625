"""Write Hugging Face models as GGUF files, the way that llama.cpp's conversion does; nothing of acdc is used."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter

_DECODER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{name}_proj": f"attn_{name}" for name in "qkv"},
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    **{f"mlp.{name}_proj": f"ffn_{name}" for name in ("gate", "up", "down")},
}
_GEMMA = _DECODER | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_GPT2 = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
NAMES = {"gpt2": _GPT2, "gemma2": _GEMMA, "gemma3": _GEMMA}


def write_gguf(
    path: Path,
    model: torch.nn.Module,
    architecture: str,
    kind: str = "F32",
    metadata: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray | None] | None = None,
) -> Path:
    """Write a model whose matrices are stored as a kind; `metadata` and `tensors` replace or add, None leaves out.

    The model's own matrices are rounded to what is stored, so that both have the same weights.
    """
    writer = GGUFWriter(path, architecture)
    described = describe(model.config, architecture) | (metadata or {})
    for key, value in described.items():
        add_metadata(writer, key if "." in key and key.split(".")[0] in _ROOTS else f"{architecture}.{key}", value)
    stored = {} if tensors is None else dict(tensors)
    for name, parameter in model.named_parameters():
        place = _place(name, NAMES.get(architecture, _DECODER))
        _round(parameter, kind, architecture)
        stored.setdefault(place, _laid_out(name, parameter.detach().float().numpy(), model.config, architecture))
    for name, weights in stored.items():
        if weights is not None:
            type_ = GGMLQuantizationType[kind if weights.ndim == 2 else "F32"]
            writer.add_tensor(name, gguf.quantize(np.ascontiguousarray(weights), type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_ROOTS = ("general", "tokenizer", "split")


def add_metadata(writer: GGUFWriter, key: str, value: Any) -> None:
    """Whole numbers as the conversion writes them, in 32 bits; None leaves out."""
    if value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def describe(config: Any, architecture: str) -> dict[str, Any]:
    """The metadata of an architecture."""
    if architecture == "gpt2":
        return {
            "block_count": config.n_layer,
            "context_length": config.n_positions,
            "embedding_length": config.n_embd,
            "feed_forward_length": 4 * config.n_embd,
            "attention.head_count": config.n_head,
            "attention.layer_norm_epsilon": config.layer_norm_epsilon,
        }
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotary = config.rope_parameters.get("full_attention", config.rope_parameters)
    found: dict[str, Any] = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": float(rotary["rope_theta"]),
    }
    if rotary["rope_type"] == "linear":
        found |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rotary["factor"])}
    if architecture == "llama":
        found |= {"vocab_size": config.vocab_size, "rope.dimension_count": head}
    else:
        found |= {"attention.key_length": head, "attention.value_length": head}
    if architecture.startswith("gemma"):
        found |= {"attention.sliding_window": config.sliding_window}
    if architecture == "gemma2":
        found |= {
            "attn_logit_softcapping": config.attn_logit_softcapping,
            "final_logit_softcapping": config.final_logit_softcapping,
        }
    return found


def llama3_factors(config: Any) -> np.ndarray:
    """What the conversion writes for the rotary positions of Llama 3.1."""
    rotary, head = config.rope_parameters, config.head_dim
    frequencies = 1.0 / (rotary["rope_theta"] ** (np.arange(0, head, 2, dtype=np.float32) / head))
    length, factor = rotary["original_max_position_embeddings"], rotary["factor"]
    low, high = rotary["low_freq_factor"], rotary["high_freq_factor"]
    factors = []
    for wavelength in 2 * np.pi / frequencies:
        smooth = (length / wavelength - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        factors.append(1.0 if wavelength < length / high else factor if wavelength > length / low else between)
    return np.array(factors, dtype=np.float32)


def _place(name: str, names: dict[str, str]) -> str:
    """What a file calls a parameter."""
    path, suffix = name.rsplit(".", 1)
    parts = path.split(".")
    if "layers" not in parts and "h" not in parts:
        return f"{names[path]}.{suffix}"
    layer = next(place for place, part in enumerate(parts) if part.isdigit())
    return f"blk.{parts[layer]}.{names['.'.join(parts[layer + 1 :])]}.{suffix}"


def _round(parameter: torch.nn.Parameter, kind: str, architecture: str) -> None:
    """To what can be stored; norms of gemma have one added, which must not change their last bits."""
    with torch.no_grad():
        rounded = parameter.detach().float().numpy()
        if parameter.dim() == 2:
            type_ = GGMLQuantizationType[kind]
            rounded = gguf.dequantize(gguf.quantize(rounded, type_), type_)
        elif architecture.startswith("gemma"):
            rounded = np.round(rounded * 2**12) / 2**12
        parameter.copy_(torch.from_numpy(rounded))


def _laid_out(name: str, weights: np.ndarray, config: Any, architecture: str) -> np.ndarray:
    """What the conversion makes of a tensor."""
    if architecture == "llama" and ".q_proj." in name:
        return _permute(weights, config.num_attention_heads)
    if architecture == "llama" and ".k_proj." in name:
        return _permute(weights, config.num_key_value_heads)
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return weights + 1
    if architecture == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return weights.T
    return weights


def _permute(weights: np.ndarray, heads: int) -> np.ndarray:
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, half, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)
