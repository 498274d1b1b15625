"""Weights of a transformer by the parts that the compiler and its realism work on, and how they become a model folder.

Arrays are float64: d is the width of the residual stream, h that of a head, u the units of an MLP.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from acdc.files import write_bytes, write_text
from acdc.model.sources import NATIVE

EPSILON = 1e-12  # of the norms: the constant part of the residual stream is never small


@dataclass(frozen=True)
class Layer:
    """One layer: `query`, `key`, `value` [heads, d, h], `query_bias` [heads, h], `output` [heads, h, d]; of the MLP
    `reads` [d, u], `bias` [u], `writes` [u, d], `constant` [d]."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    query_bias: np.ndarray
    output: np.ndarray
    reads: np.ndarray
    bias: np.ndarray
    writes: np.ndarray
    constant: np.ndarray


@dataclass(frozen=True)
class Weights:
    """A whole transformer: `tokens` [vocabulary, d], `positions` [length, d], `unembed` [d, outputs]; without MLPs
    their parts have no units. `normalised`: a norm without parameters stands before everything that reads."""

    tokens: np.ndarray
    positions: np.ndarray
    layers: tuple[Layer, ...]
    unembed: np.ndarray
    normalised: bool = False

    @property
    def width(self) -> int:
        return self.tokens.shape[1]

    @property
    def has_mlps(self) -> bool:
        return self.layers[0].reads.shape[1] > 0

    def in_basis(self, write: np.ndarray, read: np.ndarray) -> "Weights":
        """The same in another residual stream: feature f is written as `write`[f] and read with `read`[f], [d, new d]
        each."""
        layers = (
            replace(
                layer,
                query=read.T @ layer.query,
                key=read.T @ layer.key,
                value=read.T @ layer.value,
                output=layer.output @ write,
                reads=read.T @ layer.reads,
                writes=layer.writes @ write,
                constant=layer.constant @ write,
            )
            for layer in self.layers
        )
        return replace(
            self,
            tokens=self.tokens @ write,
            positions=self.positions @ write,
            layers=tuple(layers),
            unembed=read.T @ self.unembed,
        )

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Weights":
        """The same with every array changed, in a fixed order."""
        layers = (Layer(**{name: change(value) for name, value in vars(layer).items()}) for layer in self.layers)
        return replace(
            self,
            tokens=change(self.tokens),
            positions=change(self.positions),
            layers=tuple(layers),
            unembed=change(self.unembed),
        )

    def save(self, folder: Path) -> None:
        """Write a native model folder that `acdc.load_model` takes."""
        write_text(folder / "config.json", json.dumps(self._config(), indent=1) + "\n")
        write_bytes(folder / "model.safetensors", save(self._parameters()))

    def _config(self) -> dict:
        first = self.layers[0]
        heads, _, d_head = first.query.shape
        return {
            "architecture": NATIVE,
            "normalization_type": "LNPre" if self.normalised else None,
            "positional_embedding_type": "standard",
            "d_model": self.width,
            "d_head": d_head,
            "n_heads": heads,
            "n_layers": len(self.layers),
            "n_ctx": len(self.positions),
            "d_vocab": len(self.tokens),
            "d_vocab_out": self.unembed.shape[1],
            "d_mlp": first.reads.shape[1] or None,
            "act_fn": "relu",
            "attn_only": not self.has_mlps,
            "eps": EPSILON,
            "attention_dir": "causal",
        }

    def _parameters(self) -> dict[str, torch.Tensor]:
        """By TransformerLens' names."""
        arrays = {"embed.W_E": self.tokens, "pos_embed.W_pos": self.positions, "unembed.W_U": self.unembed}
        for number, layer in enumerate(self.layers):
            names = {"W_Q": layer.query, "W_K": layer.key, "W_V": layer.value, "W_O": layer.output}
            names["b_Q"] = layer.query_bias
            arrays |= {f"blocks.{number}.attn.{name}": value for name, value in names.items()}
            if self.has_mlps:
                names = {"W_in": layer.reads, "b_in": layer.bias, "W_out": layer.writes, "b_out": layer.constant}
                arrays |= {f"blocks.{number}.mlp.{name}": value for name, value in names.items()}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
