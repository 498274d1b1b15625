"""saprmarks/dictionary_learning: `config.json` with `trainer`, and the state dict as `ae.safetensors`.

The library saves `ae.pt`, a pickle, which is not read. nn.Linear modules store encoder.weight [F, d] and
decoder.weight [d, F]; other classes W_enc [d, F] and W_dec [F, d]. BatchTopK and Matryoshka act as JumpReLU with one
threshold. The library gives decoders of `AutoEncoder` norm 1 when it loads them; so are they here.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from acdc.dictionaries.dictionary import Activation, ActivationKind, Features
from acdc.dictionaries.formats.config import Config
from acdc.dictionaries.formats.orientation import features_first, features_last
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.tensors import Opening, TensorFile
from acdc.errors import InputError

CONFIG, WEIGHTS = "config.json", "ae.safetensors"
_SUBMODULES = (
    (re.compile(r"resid(?:_post|_out)?(?:_layer)?_?(\d{1,4})"), Site.resid_post),
    (re.compile(r"mlp(?:_out)?(?:_layer)?_?(\d{1,4})"), Site.mlp_added),
    (re.compile(r"attn?(?:_out)?(?:_layer)?_?(\d{1,4})"), Site.attn_out),
)


def is_here(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()


def files_of(folder: Path) -> list[Path]:
    return [folder / WEIGHTS]


def read(folder: Path, opening: Opening, hooks: tuple[Hook, Hook] | None = None) -> list[Features]:
    """Raises InputError for a class that is not known."""
    trainer, file = Config.of_json(folder / CONFIG).part("trainer"), TensorFile(folder / WEIGHTS)
    named = trainer.one_of("dict_class", _CLASSES)
    hook = hooks[0] if hooks else _hook(trainer)
    return [_CLASSES[named](file, trainer, hook, opening)]


def describe(folder: Path) -> tuple[str | None, str | None]:
    return Config.of_json(folder / CONFIG).part("trainer").optional_text("lm_name"), None


def _hook(trainer: Config) -> Hook:
    if not trainer.has("submodule_name"):
        return Hook(trainer.count("layer") if trainer.values.get("layer") else 0, Site.resid_post)
    name = trainer.text("submodule_name")
    if name == "embed":
        return Hook(0, Site.embed)
    for pattern, site in _SUBMODULES:
        if found := pattern.fullmatch(name):
            return Hook(int(found[1]), site)
    return Hook.parse(name)


def _linear(file: TensorFile, opening: Opening, hook: Hook, centre: str | None, unit: bool) -> Features:
    """Encoder and decoder as linear modules store them. `centre`: the bias that is taken off what is read and added to
    what is written; `unit`: decoder rows of norm 1, encoder rows to match."""
    size, width = features_first(file, "encoder.weight", "encoder.bias")
    constant_name = centre or "decoder.bias"
    file.expect({"decoder.weight": (width, size), constant_name: (width,)})
    norms = opening.vector(file, "decoder.weight").norm(dim=0) if unit else None
    if norms is not None and torch.allclose(norms, torch.ones_like(norms)):
        norms = None
    bias, constant = opening.vector(file, "encoder.bias"), opening.vector(file, constant_name)
    return Features(
        hook,
        (hook,),
        opening.matrix(file, "encoder.weight", scale=norms),
        bias if norms is None else bias * norms,
        (opening.matrix(file, "decoder.weight", transposed=True, scale=None if norms is None else 1 / norms),),
        constant,
        centre=constant if centre else None,
        block=opening.block,
    )


def _plain(file: TensorFile, trainer: Config, hook: Hook, opening: Opening) -> Features:
    return _linear(file, opening, hook, "bias", unit=True)


def _new(file: TensorFile, trainer: Config, hook: Hook, opening: Opening) -> Features:
    return _linear(file, opening, hook, None, unit=False)


def _with(features: Features, activation: Activation) -> Features:
    return replace(features, activation=activation)


def _topk(file: TensorFile, trainer: Config, hook: Hook, opening: Opening) -> Features:
    k = int(file.read("k").reshape(-1)[0]) if "k" in file.shapes else trainer.count("k")
    return _with(_linear(file, opening, hook, "b_dec", unit=False), Activation(ActivationKind.topk, k=k))


def _batch_topk(file: TensorFile, trainer: Config, hook: Hook, opening: Opening) -> Features:
    found = _linear(file, opening, hook, "b_dec", unit=False)
    return _with(found, _one_threshold(file, found.size, opening))


def _one_threshold(file: TensorFile, size: int, opening: Opening) -> Activation:
    threshold: Tensor = opening.vector(file, "threshold").reshape(-1)
    if len(threshold) != 1:
        raise InputError(f"{file.path}: threshold has shape {list(threshold.shape)}, not one number")
    return Activation(ActivationKind.jumprelu, threshold=threshold.clamp(min=0).expand(size))


def _gated(file: TensorFile, trainer: Config, hook: Hook, opening: Opening) -> Features:
    size, width = features_first(file, "encoder.weight", "gate_bias")
    names = ("mag_bias", "r_mag")
    file.expect({"decoder.weight": (width, size), "decoder_bias": (width,), **dict.fromkeys(names, (size,))})
    bias, constant = opening.vector(file, "gate_bias"), opening.vector(file, "decoder_bias")
    scale = opening.vector(file, "r_mag").exp()
    return Features(
        hook,
        (hook,),
        opening.matrix(file, "encoder.weight"),
        bias,
        (opening.matrix(file, "decoder.weight", transposed=True),),
        constant,
        Activation(ActivationKind.gated, scale=scale, shift=opening.vector(file, "mag_bias") - scale * bias),
        centre=constant,
        block=opening.block,
    )


def _parameters(file: TensorFile, opening: Opening, hook: Hook, centred: bool) -> Features:
    size, width = features_last(file, "W_enc", "b_enc")
    file.expect({"W_dec": (size, width), "b_dec": (width,)})
    constant = opening.vector(file, "b_dec")
    return Features(
        hook,
        (hook,),
        opening.matrix(file, "W_enc", transposed=True),
        opening.vector(file, "b_enc"),
        (opening.matrix(file, "W_dec"),),
        constant,
        centre=constant if centred else None,
        block=opening.block,
    )


def _jumprelu(file: TensorFile, trainer: Config, hook: Hook, opening: Opening) -> Features:
    threshold = opening.vector(file, "threshold").clamp(min=0)
    centred = trainer.flag("apply_b_dec_to_input", False)
    return _with(_parameters(file, opening, hook, centred), Activation(ActivationKind.jumprelu, threshold=threshold))


def _matryoshka(file: TensorFile, trainer: Config, hook: Hook, opening: Opening) -> Features:
    found = _parameters(file, opening, hook, centred=True)
    return _with(found, _one_threshold(file, found.size, opening))


_CLASSES: dict[str, Callable[[TensorFile, Config, Hook, Opening], Features]] = {
    "AutoEncoder": _plain,
    "AutoEncoderNew": _new,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jumprelu,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}
