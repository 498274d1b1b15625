"""Read foreign files without trusting them: no pickles, no repeated keys, no number that is none."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acdc import files
from acdc.errors import InputError
from acdc.files import RefusedJson, unique_keys

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


def read_bytes(path: Path, convert: str) -> bytes:
    """The content of a file. Raises InputError for a pickle, which is never loaded, saying how to `convert` it."""
    content = files.read_bytes(path)
    pickled = content.startswith((_ZIP, _PICKLE)) and not is_safetensors(content)
    if pickled or path.suffix in (".pt", ".pth", ".pkl", ".pickle"):
        raise InputError(f"{path} is a pickle, which acdc never loads; where it was made, run: {convert}")
    return content


def is_safetensors(content: bytes) -> bool:
    """Whether it begins as safetensors do: with the length of a header, as 8 bytes, and the header, which is JSON."""
    return content[5:8] == b"\0\0\0" and content[8:9] == b"{"


def parse_json(content: bytes, path: Path) -> Any:
    """JSON without NaN and without repeated keys. Raises InputError naming the file and the place."""

    def refuse(constant: str) -> None:
        raise InputError(f"{path}: {constant} is not a number")

    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=refuse, object_pairs_hook=unique_keys)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from None
    except RefusedJson as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None


def number(value: Any, place: str) -> float:
    """Raises InputError for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{place}: expected a number, got {_shown(value)}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise InputError(f"{place}: expected a finite number, got {_shown(value)}")
    return found


def boolean(value: Any, place: str) -> bool:
    """Raises InputError for what is neither true nor false."""
    if not isinstance(value, bool):
        raise InputError(f"{place}: expected true or false, got {_shown(value)}")
    return value


def table(value: Any, place: str) -> Mapping[str, Any]:
    """Raises InputError for what is no JSON object."""
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected an object, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
