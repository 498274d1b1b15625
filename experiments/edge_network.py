"""A native transformer as a differentiable function of which edges carry the values of another run.

It computes what acdc's executor does under resample ablation, for a mask per row, and can be trained through it.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from acdc.files import read_json, write_bytes, write_text
from acdc.graph import ATTENTION_SLOTS, Anatomy, ComponentGraph, ReaderGroup, ReaderKind


@dataclass(frozen=True)
class Run:
    """`logits` [rows, outputs] at the last positions and what all writers write, [writers, rows, positions, d]."""

    logits: Tensor
    values: Tensor


@dataclass(frozen=True)
class Swap:
    """Edges [rows, edges], 1 where they carry `values` [writers, rows, positions, d] of another run, else 0."""

    removed: Tensor
    values: Tensor

    def read(self, group: ReaderGroup, residual: Tensor, written: Tensor) -> Tensor:
        """What the slots of a group read, [readers, rows, positions, d]."""
        cut = self.removed[:, group.start : group.stop].unflatten(1, (len(group.readers), group.senders))
        change = self.values[: group.senders] - written[: group.senders]
        return residual + torch.einsum("brs,sbpd->rbpd", cut, change)


@dataclass(frozen=True)
class EdgeNetwork:
    """Configuration and parameters, by TransformerLens' names; no norm, or one without parameters."""

    config: dict
    parameters: dict[str, Tensor]
    graph: ComponentGraph

    @classmethod
    def of(cls, config: dict, parameters: dict[str, Tensor]) -> "EdgeNetwork":
        names = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "d_vocab_out", "n_ctx", "attn_only")
        shape = {name: config[name] for name in names}
        anatomy = Anatomy(n_kv_heads=config["n_heads"], learned_positions=True, **shape)
        return cls(config, parameters, ComponentGraph(anatomy, split_embeddings=True))

    @classmethod
    def random(cls, config: dict, seed: int) -> "EdgeNetwork":
        """Normal weights, as large as keeps the scale of what they read; no biases."""
        generator = torch.Generator().manual_seed(seed)
        parameters = {}
        for name, shape in _shapes(config).items():
            inputs = math.prod(shape[:-1]) if name.endswith("W_O") else shape[-2] if len(shape) > 1 else 0
            scale = 0 if ".b_" in name else 1 if "embed.W_" in name and "un" not in name else inputs**-0.5
            drawn = torch.randn(shape, generator=generator) * scale
            parameters[name] = drawn.requires_grad_()
        return cls.of(config, parameters)

    @classmethod
    def load(cls, folder: Path) -> "EdgeNetwork":
        parameters = load_file(folder / "model.safetensors")
        return cls.of(read_json(folder / "config.json"), {name: value.float() for name, value in parameters.items()})

    def save(self, folder: Path) -> None:
        """Write a native model folder that `acdc.load_model` takes."""
        write_text(folder / "config.json", json.dumps(self.config, indent=1) + "\n")
        write_bytes(
            folder / "model.safetensors", save({n: p.detach().contiguous() for n, p in self.parameters.items()})
        )

    def run(self, tokens: Tensor, last: Tensor, swap: Swap | None = None) -> Run:
        """Run token ids [rows, positions]; logits are read at `last` [rows]."""
        positions = self.parameters["pos_embed.W_pos"][: tokens.shape[1]]
        embedded = self.parameters["embed.W_E"][tokens]
        written = torch.stack((embedded, positions.expand_as(embedded)))
        residual = written.sum(0)
        for layer in range(self.config["n_layers"]):
            heads = self._attend(layer, residual, written, swap)
            written, residual = torch.cat((written, heads)), residual + heads.sum(0) + self._bias(layer, "attn.b_O")
            if not self.config["attn_only"]:
                added = self._mlp(layer, residual, written, swap)
                written, residual = torch.cat((written, added)), residual + added[0]
        read = self._read(self.config["n_layers"], ReaderKind.LOGITS, residual, written, swap)[0]
        logits = read[torch.arange(len(last)), last] @ self.parameters["unembed.W_U"]
        return Run(logits + self.parameters.get("unembed.b_U", 0), written)

    def _attend(self, layer: int, residual: Tensor, written: Tensor, swap: Swap | None) -> Tensor:
        """What the heads of a layer write, [heads, rows, positions, d]."""
        q, k, v = (self._project(layer, kind, residual, written, swap) for kind in ATTENTION_SLOTS)
        speculative = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(speculative, -torch.inf)
        return _per_head(scores.softmax(-1) @ v, self.parameters[f"blocks.{layer}.attn.W_O"])

    def _project(self, layer: int, kind: ReaderKind, *read) -> Tensor:
        """Queries, keys or values, [heads, rows, positions, d_head]."""
        weight = self.parameters[f"blocks.{layer}.attn.W_{kind.name}"]
        projected = _per_head(self._read(layer, kind, *read), weight)
        bias = self._bias(layer, f"attn.b_{kind.name}")
        return projected + (bias[:, None, None] if isinstance(bias, Tensor) else bias)

    def _mlp(self, layer: int, *read) -> Tensor:
        """What the MLP of a layer writes, [1, rows, positions, d]."""
        units = self._read(layer, ReaderKind.MLP, *read) @ self.parameters[f"blocks.{layer}.mlp.W_in"]
        active = (units + self._bias(layer, "mlp.b_in")).relu()
        return active @ self.parameters[f"blocks.{layer}.mlp.W_out"] + self._bias(layer, "mlp.b_out")

    def _read(self, layer: int, kind: ReaderKind, residual: Tensor, written: Tensor, swap: Swap | None) -> Tensor:
        """What the slots of a group read, after the norm, [readers or 1, rows, positions, d]."""
        group = self.graph.group_at[layer, kind]
        read = residual[None] if swap is None else swap.read(group, residual, written)
        if self.config["normalization_type"] is None:
            return read
        centred = read - read.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + self.config["eps"]).sqrt()

    def _bias(self, layer: int, name: str) -> Tensor | float:
        return self.parameters.get(f"blocks.{layer}.{name}", 0.0)


def _per_head(x: Tensor, weight: Tensor) -> Tensor:
    """[heads or 1, rows, positions, in] times [heads, in, out], in one product for all rows."""
    return (x.flatten(1, 2) @ weight).unflatten(1, x.shape[1:3])


def _shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters of a model with MLPs."""
    d, h, e, m = (config[name] for name in ("d_model", "n_heads", "d_head", "d_mlp"))
    shapes = {"embed.W_E": (config["d_vocab"], d), "pos_embed.W_pos": (config["n_ctx"], d)}
    for layer in range(config["n_layers"]):
        block = {f"attn.W_{slot}": (h, d, e) for slot in "QKV"} | {f"attn.b_{slot}": (h, e) for slot in "QKV"}
        block |= {"attn.W_O": (h, e, d), "attn.b_O": (d,)}
        block |= {"mlp.W_in": (d, m), "mlp.b_in": (m,), "mlp.W_out": (m, d), "mlp.b_out": (d,)}
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    return shapes | {"unembed.W_U": (d, config["d_vocab_out"]), "unembed.b_U": (config["d_vocab_out"],)}
