"""Bounds on the sizes in a model's configuration, so that a wrong one is refused before anything is built from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acdc.errors import InputError

MOST_LAYERS, MOST_POSITIONS, MOST = 1_000, 2**24, 2**31 - 1
MOST_NATIVE_POSITIONS = 2**15  # each layer of a native model has a mask of their square
_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx")
_OTHERS = (
    *("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size", "intermediate_size"),
    *("num_local_experts", "n_embd", "n_head", "n_inner", "d_model", "d_head", "n_heads", "d_vocab", "d_mlp"),
    *("n_key_value_heads", "num_heads", "num_kv_heads", "num_experts", "ffn_dim", "ffn_hidden_size"),
    "moe_intermediate_size",
)
_SPARE = 8  # how many times as many parameters a configuration may describe as its weights hold: others lack tensors


def check_sizes(config: Mapping[str, Any], path: Path, native: bool = False) -> None:
    """Raises InputError, naming the file and the key, for a size that no model has. What is no whole number is left to
    the library that reads the configuration."""
    bounds = dict.fromkeys(_LAYERS, MOST_LAYERS) | dict.fromkeys(_OTHERS, MOST)
    bounds |= dict.fromkeys(_POSITIONS, MOST_NATIVE_POSITIONS if native else MOST_POSITIONS)
    for key, most in bounds.items():
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= most:
            raise InputError(f"{path}: {key} {_short(value)} must be between 1 and {most:,}")


def check_parameters(described: int, stored: int, path: Path) -> None:
    """Raises InputError where a configuration describes far more parameters than the weights hold, before there is
    memory for them."""
    if described > _SPARE * stored:
        raise InputError(
            f"{path} describes a model of {described:,} parameters, and its weights hold {stored:,}: it is another's"
        )


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**20 else "of more than 20 digits"
