"""Which files hold the weights of a model's folder, and whether what they hold can be weights."""

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path, PurePosixPath

from acdc.errors import InputError
from acdc.files import check_ordinary, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")
# Tables that are in the files of some models and that none reads: masks, and what rotary positions are computed from.
_TABLES = re.compile(r"(^|\.)(attn|attention)\.(bias|masked_bias|mask|IGNORE)$|(^|\.)(inv_freq|position_ids)$")


def find_weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads: the single one, else those that the index names, by name; none where a folder
    has neither.

    They may be symbolic links, as in the hub's cache: what is hashed and loaded is what these lead to. Raises
    InputError for an index that names files outside of the folder, or none.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        return []
    content = read_json(index)
    placed = content.get("weight_map") if isinstance(content, dict) else None
    if not (isinstance(placed, dict) and placed and all(isinstance(name, str) for name in placed.values())):
        raise InputError(f"{index} must say in 'weight_map' which file holds which tensor")
    for name in sorted(set(placed.values())):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".safetensors":
            raise InputError(f"{index} names {name!r}: weights must be .safetensors files within the model's folder")
        if not (folder / name).is_file():
            raise InputError(f"{index} names {name!r}, which is not there")
    return sorted(folder / name for name in set(placed.values()))


def check_folder(folder: Path) -> None:
    """Raises InputError where something in a folder that a library may open is a pipe, a device or a socket."""
    for path in sorted(folder.iterdir()):
        if not path.is_dir() and path.exists():
            check_ordinary(path)


def check_weights(files: Sequence[Path]) -> int:
    """How many numbers weight files hold, by the names, types and shapes of their tensors.

    Raises InputError for a tensor that is not of floating-point numbers or is in two files, and for damaged files.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Path] = {}
    size = 0
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118  # it is no mapping
                    part = file.get_slice(name)
                    _check_type(path, name, part.get_dtype())
                    if name in found:
                        raise InputError(f"tensor {name!r} is both in {found[name]} and in {path}")
                    found[name] = path
                    size += prod(part.get_shape())
        except SafetensorError as error:
            raise InputError(f"weights in {path} are damaged: {error}") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return size


def _check_type(path: Path, name: str, type: str) -> None:
    if type not in _FLOATS and not _TABLES.search(name):
        raise InputError(
            f"tensor {name!r} in {path} is of type {type}: weights must be floating-point numbers "
            f"({', '.join(_FLOATS)}); dequantise them first"
        )
