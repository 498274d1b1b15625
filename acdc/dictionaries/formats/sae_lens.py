"""SAELens: a folder with `cfg.json` and `sae_weights.safetensors`, one for each set of features.

W_enc [d_in, F], W_dec [F, d_out], b_enc [F], b_dec [d_out]; of JumpReLU `threshold` [F], of gated `r_mag`, `b_mag` and
`b_gate` [F] in the place of b_enc, of skip transcoders `W_skip` [d_out, d_in]. Configurations of versions before 6 have
other names, and no `architecture`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from acdc.dictionaries.dictionary import Activation, ActivationKind, Dictionary, Features, Normalisation
from acdc.dictionaries.formats.config import Config
from acdc.dictionaries.formats.orientation import features_last
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.tensors import Opening, TensorFile
from acdc.errors import InputError
from acdc.files import write_bytes, write_text

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
_TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
_ARCHITECTURES = ("standard", "topk", "jumprelu", "gated", *_TRANSCODERS)
_NORMALISATIONS = {
    "none": Normalisation.none,
    "constant_norm_rescale": Normalisation.constant_norm,
    "layer_norm": Normalisation.layer_norm,
}
_FOLD = (
    "the average norm by which inputs were scaled in training is not in the file; fold it into the weights with "
    "SAELens (fold_activation_norm_scaling_factor) and save again"
)


def is_here(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def files_of(folder: Path) -> list[Path]:
    return [folder / WEIGHTS]


def read(folder: Path, opening: Opening) -> list[Features]:
    """Raises InputError for a configuration that is not known."""
    config = Config.of_json(folder / CONFIG)
    metadata, file = config.part("metadata"), TensorFile(folder / WEIGHTS)
    architecture = _architecture(config)
    reads = _hook(config, metadata, ("hook_name", "hook_point"))
    transcodes = architecture in _TRANSCODERS
    writes = _hook(config, metadata, ("hook_name_out", "hook_point_out")) if transcodes else reads
    size, width = features_last(file, "W_enc", "b_gate" if architecture == "gated" else "b_enc")
    d_out = file.shapes.get("b_dec", (0,))[0]
    file.expect({"W_enc": (width, size), "W_dec": (size, d_out), "b_dec": (d_out,)})
    rescaled = architecture == "topk" and config.flag("rescale_acts_by_decoder_norm", False)
    scale = _row_norms(file, opening) if rescaled else None
    gated = architecture == "gated"
    bias = opening.vector(file, "b_gate" if gated else "b_enc")
    constant = opening.vector(file, "b_dec")
    skip = opening.vector(file, "W_skip") if "skip" in architecture else None
    if skip is not None:
        file.expect({"W_skip": (d_out, width)})
    _check_scaling(file)
    return [
        Features(
            reads,
            (writes,),
            opening.matrix(file, "W_enc", transposed=True, scale=scale),
            bias if scale is None else bias * scale,
            (opening.matrix(file, "W_dec", scale=None if scale is None else 1 / scale),),
            constant,
            _activation(architecture, config, file, bias, opening),
            centre=constant if not transcodes and config.flag("apply_b_dec_to_input", True) else None,
            skip=skip,
            normalisation=_normalisation(config),
            block=opening.block,
        )
    ]


def describe(folder: Path) -> tuple[str | None, str | None]:
    config = Config.of_json(folder / CONFIG)
    metadata = config.part("metadata")
    name = config.optional_text("model_name") or metadata.optional_text("model_name")
    return name, config.optional_text("neuronpedia_id") or metadata.optional_text("neuronpedia_id")


def _architecture(config: Config) -> str:
    named = config.one_of("architecture", _ARCHITECTURES, "standard")
    function = config.optional_text("activation_fn") or config.optional_text("activation_fn_str") or "relu"
    if named == "standard" and function == "topk":
        return "topk"
    if function not in ("relu", "topk"):
        raise InputError(f"{config.path}: activation_fn {function!r} is not supported: relu and topk are")
    return named


def _hook(config: Config, metadata: Config, keys: tuple[str, str]) -> Hook:
    for key in keys:
        for place in (config, metadata):
            if place.has(key):
                return Hook.parse(place.text(key))
    raise InputError(f"{config.path} lacks {keys[0]!r}: where in the model its features read and write")


def _normalisation(config: Config) -> Normalisation:
    found: Any = config.values.get("normalize_activations")
    if found in (None, False):
        return Normalisation.none
    if found is True or found == "expected_average_only_in":
        raise InputError(f"{config.path}: normalize_activations is expected_average_only_in, and {_FOLD}")
    return _NORMALISATIONS[config.one_of("normalize_activations", _NORMALISATIONS)]


def _check_scaling(file: TensorFile) -> None:
    if "scaling_factor" in file.shapes and not torch.allclose(file.read("scaling_factor").float(), torch.ones(1)):
        raise InputError(
            f"{file.path}: 'scaling_factor' is not 1: fold it into the weights with SAELens and save again"
        )


def _row_norms(file: TensorFile, opening: Opening) -> Tensor:
    """Norms [F] of the decoder's rows, read a part at a time."""
    size, width = file.shapes["W_dec"]
    step = max(1, opening.block // (8 * width))
    parts = (file.read("W_dec", slice(at, at + step)).double().norm(dim=1) for at in range(0, size, step))
    return torch.cat(list(parts)).to(opening.device, opening.dtype)


def _activation(architecture: str, config: Config, file: TensorFile, bias: Tensor, opening: Opening) -> Activation:
    if architecture == "topk":
        k = config.count("k") if config.has("k") else config.part("activation_fn_kwargs").count("k")
        return Activation(ActivationKind.topk, k=k)
    if architecture == "gated":
        scale = opening.vector(file, "r_mag").exp()
        shift = opening.vector(file, "b_mag") - scale * bias
        return Activation(ActivationKind.gated, scale=scale, shift=shift)
    if architecture.startswith("jumprelu"):
        return Activation(ActivationKind.jumprelu, threshold=opening.vector(file, "threshold").clamp(min=0))
    return Activation()


def write(dictionary: Dictionary, folder: Path) -> list[Path]:
    """Write each set of features into a folder of its own, or into `folder` where there is one. Raises InputError for
    what SAELens has no architecture for."""
    made = []
    for one in dictionary.sets:
        where = folder if len(dictionary.sets) == 1 else folder / str(one.reads)
        tensors, settings = _tensors(one), _settings(dictionary, one)
        where.mkdir(parents=True, exist_ok=True)
        write_text(where / CONFIG, json.dumps(settings, indent=1, sort_keys=True) + "\n")
        write_bytes(where / WEIGHTS, save({name: value.contiguous().cpu() for name, value in sorted(tensors.items())}))
        made += [where / CONFIG, where / WEIGHTS]
    return made


def _tensors(one: Features) -> dict[str, Tensor]:
    activation, encoder = one.activation, one.encoder.rows(slice(None))
    if len(one.writes) > 1 or activation.kind is ActivationKind.groupmax or activation.selection is not None:
        raise InputError(
            f"features at {one.reads} ({one.kind}, {activation.describe()}) have no architecture in SAELens"
        )
    bias = one.bias
    if one.centre is not None and not _takes_constant_off(one):
        bias = bias - encoder @ one.centre
    tensors = {"W_enc": encoder.T, "W_dec": one.decoders[0].rows(slice(None)), "b_dec": one.constant}
    if activation.kind is ActivationKind.gated:
        assert activation.scale is not None and activation.shift is not None
        tensors |= {
            "b_gate": bias,
            "r_mag": activation.scale.log(),
            "b_mag": activation.shift + activation.scale * bias,
        }
    else:
        tensors["b_enc"] = bias
    if activation.threshold is not None:
        tensors["threshold"] = activation.threshold
    if one.skip is not None:
        tensors["W_skip"] = one.skip
    return tensors


def _takes_constant_off(one: Features) -> bool:
    return one.kind == "SAE" and one.centre is not None and torch.equal(one.centre, one.constant)


def _settings(dictionary: Dictionary, one: Features) -> dict[str, Any]:
    kind = one.activation.kind
    if one.kind == "SAE":
        architecture = {ActivationKind.relu: "standard"}.get(kind, kind.value)
    else:
        jump, skip = ("jumprelu_" if kind is ActivationKind.jumprelu else ""), ("" if one.skip is None else "skip_")
        if kind not in (ActivationKind.relu, ActivationKind.jumprelu):
            raise InputError(f"features at {one.reads}: SAELens has transcoders with ReLU and JumpReLU, not {kind}")
        if jump and skip:
            raise InputError(f"features at {one.reads}: SAELens has no transcoders with both JumpReLU and a skip")
        architecture = f"{jump}{skip}transcoder"
    names = {value: name for name, value in _NORMALISATIONS.items()}
    settings: dict[str, Any] = {
        "architecture": architecture,
        "d_in": one.encoder.shape[1],
        "d_sae": one.size,
        "dtype": str(one.bias.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": _takes_constant_off(one),
        "normalize_activations": names[one.normalisation],
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.0.0",
            "model_name": dictionary.model_name,
            "hook_name": one.reads.lens_name,
            "neuronpedia_id": None,
        },
    }
    if one.activation.k is not None:
        settings |= {"k": one.activation.k, "rescale_acts_by_decoder_norm": False}
    if one.kind != "SAE":
        settings["d_out"] = one.decoders[0].shape[1]
        settings["metadata"]["hook_name_out"] = one.writes[0].lens_name
    return settings
