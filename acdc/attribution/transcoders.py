"""Per-layer transcoders of circuit-tracer: a folder of `layer_0.safetensors`, `layer_1.safetensors`, ...

Each file has W_enc [F, d], W_dec [F, d], b_enc [F], b_dec [d], and where it has them `activation_function.threshold`
[F] (JumpReLU, else ReLU) and `W_skip` [d, d]. Features read what the MLP reads after its norm, and what they write
takes the place of the MLP's output (Dunefsky et al. 2024, arXiv 2406.11944; Paulo et al. 2025, skip transcoders).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from acdc.artefacts.attribution.nodes import NodeKind
from acdc.attribution.dictionary import UnitLayer
from acdc.errors import InputError, first_line
from acdc.execution.products import product
from acdc.files import check_ordinary, open_file
from acdc.graph import Anatomy

_NAME = re.compile(r"layer_(\d+)\.safetensors")
_NEEDED = {"W_enc", "W_dec", "b_enc", "b_dec"}
_THRESHOLD, _SKIP = "activation_function.threshold", "W_skip"


@dataclass(frozen=True)
class TranscoderLayer:
    """See `acdc.attribution.dictionary.UnitLayer`."""

    layer: int
    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    constant: Tensor
    threshold: Tensor | None
    skip: Tensor | None

    @property
    def size(self) -> int:
        return len(self.encoder)

    @property
    def targets(self) -> range:
        return range(self.layer, self.layer + 1)

    def activations(self, x: Tensor) -> Tensor:
        z = product(x, self.encoder.T, self.encoder_bias)
        return z.relu() if self.threshold is None else torch.where(z > self.threshold, z, 0.0)

    def reads(self, x: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder[units], self.encoder_bias[units]

    def writes(self, units: Tensor | slice, to: int) -> Tensor:
        return self.decoder[units]


class Transcoders:
    """See `acdc.attribution.dictionary.Dictionary`."""

    kind = NodeKind.FEATURE
    normed, inside, complete = True, False, False

    def __init__(self, folder: Path, anatomy: Anatomy, dtype: torch.dtype, device: torch.device):
        """Raises InputError for a folder that holds no transcoders, or not those of a model of this shape."""
        self.folder = folder
        paths = _layer_files(folder, anatomy.n_layers)
        self.layers: Sequence[UnitLayer | None] = [
            _read(path, layer, anatomy.d_model, dtype, device) for layer, path in enumerate(paths)
        ]
        self._digest = _digest_of(paths)

    def describe(self) -> dict[str, str]:
        return {"units": "features of per-layer transcoders", "content_hash": self._digest}


def _digest_of(paths: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        with open_file(path) as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _layer_files(folder: Path, layers: int) -> list[Path]:
    if not folder.is_dir():
        raise InputError(
            f"dictionary {folder} is not a folder: give one with layer_0.safetensors, layer_1.safetensors, ..."
        )
    there = {int(found[1]): path for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))}
    if not there:
        raise InputError(f"dictionary {folder} holds no layer_0.safetensors: only per-layer transcoders are read")
    for layer in range(max(layers, max(there) + 1)):
        if layer not in there:
            raise InputError(f"dictionary {folder} lacks layer_{layer}.safetensors")
        if layer >= layers:
            raise InputError(f"dictionary {folder} has {len(there)} layers, and the model {layers}")
    return [there[layer] for layer in range(layers)]


def _read(path: Path, layer: int, width: int, dtype: torch.dtype, device: torch.device) -> TranscoderLayer:
    check_ordinary(path)
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_tensor(name).to(device, dtype) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {first_line(error)}") from None
    _check(path, found, width)
    return TranscoderLayer(
        layer,
        found["W_enc"],
        found["b_enc"],
        found["W_dec"],
        found["b_dec"],
        found.get(_THRESHOLD),
        found.get(_SKIP),
    )


def _check(path: Path, found: Mapping[str, Tensor], width: int) -> None:
    if missing := sorted(_NEEDED - found.keys()):
        raise InputError(f"{path} lacks {missing[0]!r}: per-layer transcoders of circuit-tracer have it")
    if surplus := sorted(found.keys() - _NEEDED - {_THRESHOLD, _SKIP}):
        raise InputError(f"{path} holds {surplus[0]!r}, which is not read: ReLU and JumpReLU transcoders are")
    size = len(found["W_enc"])
    shapes = {
        "W_enc": (size, width),
        "W_dec": (size, width),
        "b_enc": (size,),
        "b_dec": (width,),
        _THRESHOLD: (size,),
        _SKIP: (width, width),
    }
    for name, tensor in sorted(found.items()):
        if tuple(tensor.shape) != shapes[name]:
            raise InputError(f"{path}: {name} has shape {list(tensor.shape)}, not {list(shapes[name])}")
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} holds numbers that are not finite")
