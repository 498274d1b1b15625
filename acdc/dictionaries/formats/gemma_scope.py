"""Gemma Scope (Gemma 2; Lieberum et al. 2024, arXiv 2408.05147) and Gemma Scope 2 (Gemma 3).

The first: `layer_N/width_W/average_l0_X/params.npz`, where the name of a folder above, such as
`gemma-scope-2b-pt-res`, says what is read; keys may be lower case. The second: `params.safetensors` and `config.json`
in a folder for each set of features; of a cross-layer set a `NAME_i.safetensors` for each layer. Encoders are stored
[d, F], decoders [F, d] (cross-layer [F, L, d]), an affine skip [d_in, d_out]; all are JumpReLU.
"""

import math
import re
from pathlib import Path

from acdc.dictionaries.dictionary import Activation, ActivationKind, Features
from acdc.dictionaries.formats.config import Config
from acdc.dictionaries.formats.orientation import features_last
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.tensors import Opening, TensorFile
from acdc.errors import InputError

CONFIG, NUMPY, WEIGHTS = "config.json", "params.npz", "params.safetensors"
_LAYER = re.compile(r"layer_(\d{1,4})")
_CROSS = re.compile(r".*?_(\d{1,4})\.safetensors")
_AFFINE = "affine_skip_connection"
_SITES = {
    "res": (Site.resid_post, Site.resid_post),
    "mlp": (Site.mlp_added, Site.mlp_added),
    "att": (Site.z, Site.z),
    "transcoders": (Site.mlp_normed, Site.mlp_added),
}


def is_here(folder: Path) -> bool:
    return (folder / NUMPY).is_file() or _is_second(folder)


def _is_second(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    config = Config.of_json(folder / CONFIG)
    return config.values.get("architecture") == "jump_relu"


def files_of(folder: Path) -> list[Path]:
    """Raises InputError where a layer of a cross-layer set is missing."""
    if (folder / NUMPY).is_file():
        return [folder / NUMPY]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    there = {int(found[1]): path for path in folder.iterdir() if (found := _CROSS.fullmatch(path.name))}
    if not there:
        raise InputError(f"dictionary {folder} holds neither {WEIGHTS} nor a file for each layer")
    missing = next((layer for layer in range(max(there) + 1) if layer not in there), None)
    if missing is not None:
        raise InputError(f"dictionary {folder} lacks layer {missing}")
    return [there[layer] for layer in range(len(there))]


def read(folder: Path, opening: Opening, hooks: tuple[Hook, Hook] | None = None) -> list[Features]:
    """`hooks`: where it reads and writes, for a folder that does not say it. Raises InputError where nothing does."""
    files = [TensorFile(path) for path in files_of(folder)]
    if not _is_second(folder):
        return [_read_first(folder, files[0], opening, hooks)]
    config = Config.of_json(folder / CONFIG)
    if len(files) > 1 or len(_shape(files[0], "w_dec")) == 3:
        return [_read_cross(config, layer, len(files), file, opening) for layer, file in enumerate(files)]
    reads = Hook.parse(config.text("hf_hook_point_in"))
    writes = Hook.parse(config.text("hf_hook_point_out", config.text("hf_hook_point_in")))
    return [_read(files[0], {name: name for name in files[0].shapes}, reads, writes, opening)]


def describe(folder: Path) -> tuple[str | None, str | None]:
    return (Config.of_json(folder / CONFIG).optional_text("model_name") if _is_second(folder) else None), None


def _shape(file: TensorFile, name: str) -> tuple[int, ...]:
    if name not in file.shapes:
        raise InputError(f"{file.path} lacks {name!r}")
    return file.shapes[name]


def _read_first(folder: Path, file: TensorFile, opening: Opening, hooks: tuple[Hook, Hook] | None) -> Features:
    parts = folder.resolve().parts
    embeds = any("embedding" in part for part in parts)
    reads, writes = hooks or _hooks(folder, parts, embeds)
    names = {name.lower(): name for name in file.shapes}
    if "scaling_factor" in names and not (file.read(names["scaling_factor"]) == 1).all():
        raise InputError(f"{file.path}: 'scaling_factor' is not 1, which no reader of this format explains")
    return _read(file, names, reads, writes, opening, math.sqrt(_shape(file, names["w_enc"])[0]) if embeds else None)


def _hooks(folder: Path, parts: tuple[str, ...], embeds: bool) -> tuple[Hook, Hook]:
    if embeds:
        return Hook(0, Site.embed), Hook(0, Site.embed)
    layers = [found[1] for part in parts if (found := _LAYER.match(part))]
    kinds = [kind for part in parts for kind in _SITES if part.startswith("gemma-scope-") and part.endswith(f"-{kind}")]
    if not (layers and kinds):
        raise InputError(
            f"dictionary {folder}: no folder above it says what it reads, as layer_20 in gemma-scope-2b-pt-res does: "
            "name the place with --hook, such as resid_post20, or two of a transcoder, such as mlp_normed20,mlp_added20"
        )
    reads, writes = _SITES[kinds[-1]]
    return Hook(int(layers[-1]), reads), Hook(int(layers[-1]), writes)


def _read(
    file: TensorFile, names: dict[str, str], reads: Hook, writes: Hook, opening: Opening, width: float | None = None
) -> Features:
    """`width`: sqrt(d), by which the encoder is divided and the decoder multiplied."""
    for name in ("w_enc", "w_dec", "b_enc", "b_dec", "threshold"):
        if name not in names:
            raise InputError(f"{file.path} lacks {name!r}")
    size, d_in = features_last(file, names["w_enc"], names["b_enc"])
    d_out = _shape(file, names["b_dec"])[0]
    file.expect({names["w_dec"]: (size, d_out), names["threshold"]: (size,)})
    skip = None
    if _AFFINE in names:
        file.expect({_AFFINE: (d_in, d_out)})
        skip = opening.vector(file, _AFFINE).T
    bias = opening.vector(file, names["b_enc"])
    up, down = (None, None) if width is None else (bias.new_full((size,), width), bias.new_full((size,), 1 / width))
    return Features(
        reads,
        (writes,),
        opening.matrix(file, names["w_enc"], transposed=True, scale=down),
        bias,
        (opening.matrix(file, names["w_dec"], scale=up),),
        opening.vector(file, names["b_dec"]),
        Activation(ActivationKind.jumprelu, threshold=opening.vector(file, names["threshold"]).clamp(min=0)),
        skip=skip,
        block=opening.block,
    )


def _read_cross(config: Config, layer: int, layers: int, file: TensorFile, opening: Opening) -> Features:
    """Its configuration names the places of a layer, which stand for those of every layer."""
    if _AFFINE in file.shapes:
        raise InputError(
            f"{file.path}: skips of cross-layer transcoders are not read: no reader of them agrees with others"
        )
    size, width = features_last(file, "w_enc", "b_enc")
    file.expect({"w_dec": (size, layers, width), "b_dec": (width,), "threshold": (size,)})
    sites = [
        Hook.parse(config.text(key).replace("{layer}", "0") if config.has(key) else usual).site
        for key, usual in (("hf_hook_point_in", "mlp_in0"), ("hf_hook_point_out", "mlp_added0"))
    ]
    return Features(
        Hook(layer, sites[0]),
        tuple(Hook(to, sites[1]) for to in range(layer, layers)),
        opening.matrix(file, "w_enc", transposed=True),
        opening.vector(file, "b_enc"),
        tuple(opening.matrix(file, "w_dec", part=part) for part in range(layer, layers)),
        opening.vector(file, "b_dec"),
        Activation(ActivationKind.jumprelu, threshold=opening.vector(file, "threshold").clamp(min=0)),
        block=opening.block,
    )
