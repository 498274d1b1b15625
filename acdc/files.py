"""Write files so that a reader sees the old content or the new one, never a part."""

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from acdc.errors import DiskError, InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")

_PART = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UMASK = os.umask(0)
os.umask(_UMASK)


def existing_path(text: str) -> Path | None:
    """The path that a user wrote, when something is there; None for what is none or could be no path."""
    if not text:  # which pathlib takes for the current folder
        return None
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def make_private(folder: Path) -> None:
    """Make a folder that only its user can look into, unless it is there. Raises InputError where that fails."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{folder} is a file, not a folder") from None
    except OSError as error:
        raise refused(error, folder) from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write atomically and durably, through symbolic links. Raises InputError, leaving the old file, when the disk
    refuses or `path` is no ordinary file."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {path}: it is not an ordinary file")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    except OSError as error:
        raise refused(error, path) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_UMASK)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise refused(error, path) from None
        raise


def refused(error: OSError, path: Path) -> InputError:
    """What to raise where a file cannot be written."""
    kind = DiskError if error.errno in _FULL else InputError
    return kind(f"cannot write {path}: {error.strerror}")


def is_part(path: Path, name: str = "") -> bool:
    """Whether a file is what a writer has not finished, of the file of that name or of any."""
    return path.name.startswith(f".{name}") and path.name.endswith(_PART)


def clear_parts(folder: Path) -> None:
    """Delete what writers that were killed have left in a folder; only for who has it for himself."""
    for path in filter(is_part, folder.glob(".*")):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a stable layout; a value that is not finite is an error, never written."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class RefusedJson(ValueError):
    """JSON that says two things at once, or a number that is none."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as `object_pairs_hook`. Raises RefusedJson for a key that is there twice, of which Python
    alone would take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise RefusedJson(f"{twice!r} occurs twice")
    return found


def read_json(path: Path) -> Any:
    """Read JSON. Raises InputError naming the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: not valid JSON ({error})") from None


def read_model(model: type[M], path: Path, what: str) -> M:
    """Read JSON into a pydantic model. Raises InputError saying that the file is not `what`, and where it is wrong."""
    from pydantic import ValidationError

    try:
        return model.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{path} is not {what}, version 1: {where}: {first['msg']}") from None
