"""The part of TransformerLens that makes a bridge over a model that is loaded already.

It is private (`_bridge_builder`); the public `boot_transformers` loads the model itself, and knows neither GGUF files
nor models without contents nor layers on several devices. Every use of it is in this file.
"""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PretrainedConfig


def build_bridge(model: "nn.Module", architecture: str, **how: Any) -> "TransformerBridge":
    """The bridge over a model of an architecture. `how`: `hf_config`, `dtype`, `device` for one of Hugging Face;
    `tl_config` for one of TransformerLens' own."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    return build_bridge_from_module(model, architecture, **how)


def describe_bridge(config: "PretrainedConfig", architecture: str, dtype: torch.dtype) -> "TransformerBridgeConfig":
    """The configuration of the bridge over a Hugging Face model, from that of the model alone."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf

    return build_bridge_config_from_hf(config, architecture, architecture, dtype)
