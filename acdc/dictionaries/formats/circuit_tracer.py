"""The two layouts of circuit-tracer, in which the field exchanges dictionaries: `config.yaml` and tensors for each
layer.

Per layer, `layer_{i}.safetensors`: W_enc [F, d], W_dec [F, d], b_enc [F], b_dec [d]; perhaps
`activation_function.threshold` [F] (JumpReLU, else ReLU), `W_skip` [d, d], `k` (TopK). Cross-layer,
`W_enc_{i}.safetensors`: `W_enc_{i}` [F, d], `b_enc_{i}`, `b_dec_{i}`, perhaps `threshold_{i}`; and
`W_dec_{i}.safetensors`: `W_dec_{i}` [F, L - i, d], whose part j writes to layer i + j. Without `config.yaml`, features
read what the MLP reads after its norm, or, cross-layer, the residual stream before it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from acdc.dictionaries.dictionary import Activation, ActivationKind, Dictionary, Features, Normalisation
from acdc.dictionaries.formats.config import Config
from acdc.dictionaries.formats.orientation import features_first
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.tensors import Opening, TensorFile
from acdc.errors import InputError
from acdc.files import write_bytes, write_text

CONFIG = "config.yaml"
_PER_LAYER, _CROSS = "transcoder_set", "cross_layer_transcoder"
_LAYER, _ENCODER = re.compile(r"layer_(\d{1,4})\.safetensors"), re.compile(r"W_enc_(\d{1,4})\.safetensors")
_NEEDED, _THRESHOLD, _SKIP = ("W_enc", "W_dec", "b_enc", "b_dec"), "activation_function.threshold", "W_skip"


def is_here(folder: Path) -> bool:
    """Whether a folder is in one of these layouts."""
    return (folder / CONFIG).is_file() or any(
        _LAYER.fullmatch(p.name) or _ENCODER.fullmatch(p.name) for p in folder.iterdir()
    )


def files_of(folder: Path) -> list[Path]:
    """Its tensor files in the order of the layers. Raises InputError where a layer is missing."""
    config = _config(folder)
    if config is not None and config.has("transcoders"):
        listed = config.values["transcoders"]
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise InputError(f"{config.path}: 'transcoders' is not a list of files")
        if remote := next((one for one in listed if one.startswith("hf://")), None):
            raise InputError(
                f"{config.path} names files on the hub ({remote}): download them into a folder and name these"
            )
        return [folder / one for one in listed]
    if _is_cross(folder, config):
        count = len(_numbered(folder, _ENCODER, "W_enc_0.safetensors"))
        return [folder / f"{name}_{layer}.safetensors" for layer in range(count) for name in ("W_enc", "W_dec")]
    return _numbered(folder, _LAYER, "layer_0.safetensors")


def read(folder: Path, opening: Opening) -> list[Features]:
    """Raises InputError for a folder that is not in one of these layouts."""
    config = _config(folder)
    files = [TensorFile(path) for path in files_of(folder)]
    if _is_cross(folder, config):
        pairs = list(zip(files[::2], files[1::2], strict=True))
        return [_read_cross(layer, len(pairs), pair, config, opening) for layer, pair in enumerate(pairs)]
    found = [_read_layer(layer, file, config, opening) for layer, file in enumerate(files)]
    if len(sizes := {one.size for one in found}) > 1:
        raise InputError(f"{folder}: layers have different numbers of features, {sorted(sizes)}")
    return found


def describe(folder: Path) -> tuple[str | None, str | None]:
    """(model, scan) as `config.yaml` names them."""
    config = _config(folder)
    return (None, None) if config is None else (config.optional_text("model_name"), config.optional_text("scan"))


def _config(folder: Path) -> Config | None:
    path = folder / CONFIG
    return Config.of_yaml(path) if path.is_file() else None


def _is_cross(folder: Path, config: Config | None) -> bool:
    if config is not None:
        return config.one_of("model_kind", (_PER_LAYER, _CROSS), _PER_LAYER) == _CROSS
    return not any(_LAYER.fullmatch(path.name) for path in folder.iterdir())


def _numbered(folder: Path, pattern: re.Pattern[str], first: str) -> list[Path]:
    there = {int(found[1]): path for path in folder.iterdir() if (found := pattern.fullmatch(path.name))}
    if not there:
        raise InputError(f"dictionary {folder} holds no {first}")
    for layer in range(max(there) + 1):
        if layer not in there:
            raise InputError(f"dictionary {folder} lacks {first.replace('0', str(layer))}")
    return [there[layer] for layer in range(len(there))]


def _hooks(config: Config | None, layer: int, reads: Site, writes: Site) -> tuple[Hook, Hook]:
    if config is None:
        return Hook(layer, reads), Hook(layer, writes)
    usual = (Hook(layer, reads).in_block, Hook(layer, writes).in_block)
    names = (
        config.text(key, name) for key, name in zip(("feature_input_hook", "feature_output_hook"), usual, strict=True)
    )
    first, second = (Hook.parse(name, layer) for name in names)
    return first, second


def _read_layer(layer: int, file: TensorFile, config: Config | None, opening: Opening) -> Features:
    shapes = file.shapes
    if missing := next((name for name in _NEEDED if name not in shapes), None):
        raise InputError(f"{file.path} lacks {missing!r}: per-layer transcoders of circuit-tracer have it")
    if surplus := next((name for name in sorted(shapes) if name not in (*_NEEDED, _THRESHOLD, _SKIP, "k")), None):
        raise InputError(f"{file.path} holds {surplus!r}, which is not read: ReLU, JumpReLU and TopK transcoders are")
    size, width = features_first(file, "W_enc", "b_enc")
    d_out = shapes["b_dec"][0] if shapes["b_dec"] else 0
    file.expect({"W_enc": (size, width), "W_dec": (size, d_out), "b_enc": (size,), "b_dec": (d_out,)})
    optional = {_THRESHOLD: (size,), _SKIP: (d_out, width)}
    file.expect(optional, set(optional))
    reads, writes = _hooks(config, layer, Site.mlp_in, Site.mlp_out)
    return Features(
        reads,
        (writes,),
        opening.matrix(file, "W_enc"),
        opening.vector(file, "b_enc"),
        (opening.matrix(file, "W_dec"),),
        opening.vector(file, "b_dec"),
        _activation(file, _THRESHOLD, config, opening),
        skip=opening.vector(file, _SKIP) if _SKIP in shapes else None,
        block=opening.block,
    )


def _activation(file: TensorFile, threshold: str, config: Config | None, opening: Opening) -> Activation:
    if threshold in file.shapes:
        return Activation(ActivationKind.jumprelu, threshold=opening.vector(file, threshold))
    named = "relu" if config is None else config.one_of("activation", ("relu", "topk"), "relu")
    if "k" in file.shapes or named == "topk":
        k = int(file.read("k").reshape(-1)[0]) if "k" in file.shapes or config is None else config.count("k")
        return Activation(ActivationKind.topk, k=k)
    return Activation()


def _read_cross(
    layer: int, layers: int, pair: tuple[TensorFile, TensorFile], config: Config | None, opening: Opening
) -> Features:
    encoder, decoder = pair
    names = {name: f"{name}_{layer}" for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    for file, needed in ((encoder, ("W_enc", "b_enc", "b_dec")), (decoder, ("W_dec",))):
        if missing := next((names[name] for name in needed if names[name] not in file.shapes), None):
            raise InputError(f"{file.path} lacks {missing!r}: cross-layer transcoders of circuit-tracer have it")
    size, width = features_first(encoder, names["W_enc"], names["b_enc"])
    if "W_skip" in encoder.shapes or f"W_skip_{layer}" in encoder.shapes:
        raise InputError(
            f"{encoder.path}: skips of cross-layer transcoders are not read: no format says their orientation"
        )
    encoder.expect({names["b_dec"]: (width,)})
    encoder.expect({names["threshold"]: (size,)}, {names["threshold"]})
    decoder.expect({names["W_dec"]: (size, layers - layer, width)})
    reads, _ = _hooks(config, layer, Site.resid_mid, Site.mlp_added)
    writes = tuple(_hooks(config, to, Site.resid_mid, Site.mlp_added)[1] for to in range(layer, layers))
    return Features(
        reads,
        writes,
        opening.matrix(encoder, names["W_enc"]),
        opening.vector(encoder, names["b_enc"]),
        tuple(opening.matrix(decoder, names["W_dec"], part=part) for part in range(layers - layer)),
        opening.vector(encoder, names["b_dec"]),
        _activation(encoder, names["threshold"], config, opening),
        block=opening.block,
    )


def write(dictionary: Dictionary, folder: Path) -> list[Path]:
    """Write a dictionary in one of these layouts, per layer or cross-layer as it is. Raises InputError for one that
    they cannot hold."""
    sets = dictionary.sets
    check_writable(dictionary)
    cross = any(len(one.writes) > 1 for one in sets)
    lines = {
        "model_kind": _CROSS if cross else _PER_LAYER,
        "model_name": dictionary.model_name or "unknown",
        "feature_input_hook": sets[0].reads.in_block,
        "feature_output_hook": sets[0].writes[0].in_block,
        "scan": dictionary.scan or dictionary.name,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, "".join(f"{key}: {_quoted(value)}\n" for key, value in lines.items()))
    made = [folder / CONFIG]
    for layer, one in enumerate(sets):
        for name, tensors in (_cross_files if cross else _layer_files)(layer, one).items():
            write_bytes(folder / name, save({key: value.contiguous().cpu() for key, value in sorted(tensors.items())}))
            made.append(folder / name)
    return made


def check_writable(dictionary: Dictionary) -> None:
    """Raises InputError for what these layouts cannot hold."""
    sets: Sequence[Features] = dictionary.sets
    if not dictionary.replaces_mlps or [one.reads.layer for one in sets] != list(range(len(sets))):
        raise InputError(
            f"dictionary {dictionary.name} is no set of transcoders for layers 0 to the last, one for each: only these "
            "can be written as circuit-tracer does"
        )
    if len({(one.reads.site, one.writes[0].site) for one in sets}) > 1:
        raise InputError(f"dictionary {dictionary.name} reads or writes at different places in different layers")
    for one in sets:
        usual = one.activation.selection is None and one.normalisation is Normalisation.none
        if one.activation.kind in (ActivationKind.gated, ActivationKind.groupmax) or not usual:
            raise InputError(
                f"features at {one.reads} are {one.activation.describe()}, normalisation {one.normalisation.value}: "
                "circuit-tracer's layouts hold ReLU, JumpReLU and TopK of what is read as it is"
            )


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bias(one: Features) -> Tensor:
    """With what is taken off the input made part of it."""
    return one.bias if one.centre is None else one.bias - one.encoder.rows(slice(None)) @ one.centre


def _layer_files(layer: int, one: Features) -> dict[str, dict[str, Tensor]]:
    tensors = {
        "W_enc": one.encoder.rows(slice(None)),
        "W_dec": one.decoders[0].rows(slice(None)),
        "b_enc": _bias(one),
        "b_dec": one.constant,
    }
    if one.skip is not None:
        tensors[_SKIP] = one.skip
    if one.activation.threshold is not None:
        tensors[_THRESHOLD] = one.activation.threshold
    if one.activation.k is not None:
        tensors["k"] = torch.tensor(one.activation.k)
    return {f"layer_{layer}.safetensors": tensors}


def _cross_files(layer: int, one: Features) -> dict[str, dict[str, Tensor]]:
    if one.skip is not None or one.activation.k is not None:
        raise InputError(f"features at {one.reads}: a cross-layer set is written with ReLU or JumpReLU, without a skip")
    encoder = {
        f"W_enc_{layer}": one.encoder.rows(slice(None)),
        f"b_enc_{layer}": _bias(one),
        f"b_dec_{layer}": one.constant,
    }
    if one.activation.threshold is not None:
        encoder[f"threshold_{layer}"] = one.activation.threshold
    decoder = torch.stack([matrix.rows(slice(None)) for matrix in one.decoders], 1)
    return {
        f"W_enc_{layer}.safetensors": encoder,
        f"W_dec_{layer}.safetensors": {f"W_dec_{layer}": decoder},
    }
