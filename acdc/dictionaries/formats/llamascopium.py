"""OpenMOSS' Llamascopium (Language-Model-SAEs): `config.json` with `sae_type`, and `sae_weights.safetensors`.

W_E [d, F], b_E [F], W_D [F, d], perhaps b_D [d] and `activation_function.log_jumprelu_threshold` [F]; SAEs and
transcoders. With `sparsity_include_decoder_norm`, features are active by z times the norm of their decoder row. Weights
that were trained on inputs of norm sqrt(d) (`dataset-wise`) are brought to the scale of what is read.
"""

import math
from pathlib import Path

import torch
from torch import Tensor

from acdc.dictionaries.dictionary import Activation, ActivationKind, Features
from acdc.dictionaries.formats.config import Config
from acdc.dictionaries.formats.orientation import features_last
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.tensors import Opening, TensorFile
from acdc.errors import InputError

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"
_THRESHOLD, _NORM = "activation_function.log_jumprelu_threshold", "dataset_average_activation_norm."
_REFUSED = {
    "lorsa": "Lorsa (sparse attention features) is not read: export its SAEs and transcoders alone",
    "clt": "cross-layer transcoders of this library are not read: convert them to circuit-tracer's layout",
    "molt": "mixtures of linear transforms have no features that read and write one direction each",
    "crosscoder": "crosscoders read several places at once, which is not supported",
}


def is_here(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and "sae_type" in Config.of_json(folder / CONFIG).values


def files_of(folder: Path) -> list[Path]:
    return [folder / WEIGHTS]


def read(folder: Path, opening: Opening, hooks: tuple[Hook, Hook] | None = None) -> list[Features]:
    """Raises InputError for other kinds than SAEs and transcoders."""
    config = Config.of_json(folder / CONFIG)
    kind = config.text("sae_type")
    if kind != "sae":
        raise InputError(f"{config.path}: {_REFUSED.get(kind, f'sae_type {kind!r} is not known')}")
    if config.flag("use_glu_encoder", False):
        raise InputError(
            f"{config.path}: encoders with a gated linear unit are not read: their features are not linear"
        )
    file = TensorFile(folder / WEIGHTS)
    size, width = features_last(file, "W_E", "b_E")
    file.expect({"W_D": (size, width), "b_D": (width,), _THRESHOLD: (size,)}, {"b_D", _THRESHOLD})
    into, out = _scales(config, file, width)
    bias = opening.vector(file, "b_E") / into
    decoder = opening.matrix(file, "W_D", scale=None if into == out else bias.new_full((size,), into / out))
    constant = opening.vector(file, "b_D") / out if "b_D" in file.shapes else bias.new_zeros(width)
    return [
        Features(
            Hook.parse(config.text("hook_point_in")),
            (Hook.parse(config.text("hook_point_out")),),
            opening.matrix(file, "W_E", transposed=True),
            bias,
            (decoder,),
            constant,
            _activation(config, file, into, opening),
            block=opening.block,
        )
    ]


def describe(folder: Path) -> tuple[str | None, str | None]:
    return Config.of_json(folder / CONFIG).optional_text("model_name"), None


def _scales(config: Config, file: TensorFile, width: int) -> tuple[float, float]:
    """By what inputs and outputs were multiplied in training."""
    kind = config.one_of("norm_activation", ("inference", "dataset-wise"), "dataset-wise")
    if kind == "inference":
        return 1.0, 1.0
    names = [f"{_NORM}{config.text(key)}" for key in ("hook_point_in", "hook_point_out")]
    into, out = (math.sqrt(width) / float(file.read(name).reshape(-1)[0]) for name in names)
    return into, out


def _row_norms(file: TensorFile, opening: Opening) -> Tensor:
    size, width = file.shapes["W_D"]
    step = max(1, opening.block // (8 * width))
    norms = [file.read("W_D", slice(at, at + step)).double().norm(dim=1) for at in range(0, size, step)]
    return torch.cat(norms).to(opening.device, opening.dtype)


def _activation(config: Config, file: TensorFile, into: float, opening: Opening) -> Activation:
    named = config.one_of("act_fn", ("relu", "jumprelu", "topk"), "relu")
    by_norm = config.flag("sparsity_include_decoder_norm", True)
    norms = _row_norms(file, opening) if by_norm and named != "relu" else None
    if named == "jumprelu":
        threshold = opening.vector(file, _THRESHOLD).exp() / into
        return Activation(ActivationKind.jumprelu, threshold=threshold if norms is None else threshold / norms)
    if named == "topk":
        return Activation(ActivationKind.topk, k=config.count("top_k", 50), selection=norms)
    return Activation()
