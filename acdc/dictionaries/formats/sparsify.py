"""EleutherAI's sparsify: a folder for each hook point (`layers.N`, `layers.N.mlp`) with `cfg.json` and
`sae.safetensors`.

encoder.weight [F, d], encoder.bias [F], W_dec [F, d], b_dec [d], perhaps W_skip [d, d]. TopK or GroupMax; `transcode`
reads a module's input, else its output is read with b_dec taken off.
"""

import re
from pathlib import Path

from acdc.dictionaries.dictionary import Activation, ActivationKind, Features
from acdc.dictionaries.formats.config import Config
from acdc.dictionaries.formats.orientation import features_first
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.tensors import Opening, TensorFile
from acdc.errors import InputError

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
_MODULE = re.compile(r"(?:.*\.)?(?:layers|h)\.(\d{1,4})(?:\.(mlp|attention|attn|self_attn))?")


def is_here(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def files_of(folder: Path) -> list[Path]:
    return [folder / WEIGHTS]


def read(folder: Path, opening: Opening, hooks: tuple[Hook, Hook] | None = None) -> list[Features]:
    """`hooks`: where it reads and writes, for a folder whose name does not say it. Raises InputError where nothing
    does."""
    config, file = Config.of_json(folder / CONFIG), TensorFile(folder / WEIGHTS)
    transcodes = config.flag("transcode", False)
    reads, writes = hooks or _hooks(folder, transcodes)
    size, width = features_first(file, "encoder.weight", "encoder.bias")
    _check_size(config, size)
    d_out = file.shapes.get("b_dec", (0,))[0]
    file.expect({"W_dec": (size, d_out), "b_dec": (d_out,), "W_skip": (d_out, width)}, {"W_skip"})
    if config.flag("skip_connection", False) != ("W_skip" in file.shapes):
        raise InputError(f"{file.path}: {config.path.name} and the tensors disagree about a skip connection")
    kind = ActivationKind(config.one_of("activation", ("topk", "groupmax"), "topk"))
    constant, k = opening.vector(file, "b_dec"), config.count("k")
    if kind is ActivationKind.groupmax and size % k:
        raise InputError(f"{config.path}: {size:,} features do not make {k} groups of one size")
    return [
        Features(
            reads,
            (writes,),
            opening.matrix(file, "encoder.weight"),
            opening.vector(file, "encoder.bias"),
            (opening.matrix(file, "W_dec"),),
            constant,
            Activation(kind, k=k),
            centre=None if transcodes else constant,
            skip=opening.vector(file, "W_skip") if "W_skip" in file.shapes else None,
            block=opening.block,
        )
    ]


def describe(folder: Path) -> tuple[str | None, str | None]:
    return None, None


def _check_size(config: Config, size: int) -> None:
    wanted = config.values.get("num_latents") or config.count("d_in") * config.count("expansion_factor", 32)
    if wanted != size:
        raise InputError(f"{config.path} says {wanted:,} features, and the encoder has {size:,}")


def _hooks(folder: Path, transcodes: bool) -> tuple[Hook, Hook]:
    name = folder.resolve().name
    if name.endswith("embed_tokens") and not transcodes:
        return Hook(0, Site.embed), Hook(0, Site.embed)
    found = _MODULE.fullmatch(name)
    if not found:
        raise InputError(
            f"dictionary {folder}: the folder's name is no hook point such as layers.3 or layers.3.mlp: name the place "
            "with --hook, such as resid_post3, or two of a transcoder, such as mlp_in3,mlp_out3"
        )
    layer = int(found[1])
    sites = {
        None: (Site.resid_pre, Site.resid_post),
        "mlp": (Site.mlp_in, Site.mlp_out),
    }.get(found[2], (Site.attn_out, Site.attn_out))
    if transcodes and found[2] != "mlp":
        raise InputError(f"dictionary {folder} transcodes {name}: transcoders of MLPs are supported")
    return Hook(layer, sites[0] if transcodes else sites[1]), Hook(layer, sites[1])
