"""Read ordinary files only, and write files so that a reader sees the old content or the new one, never a part."""

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import tempfile
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from acdc.errors import DiskError, InputError, first_line, without_prefix

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")

MOST_BYTES = 2**30  # of a file that is read as a whole
_PART = ".part"
_PART_NAME = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.part")  # as `tempfile` makes it
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
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


def open_file(path: Path) -> BufferedReader:
    """Open for reading what a user names. Raises InputError, naming it, where it cannot be read or is no ordinary file:
    a pipe may never begin, and a device may never end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # non-blocking: a pipe is not waited for
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in it, or what is no text of this system
        raise InputError(f"{str(path)!r} is no path: {error}") from None
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        raise InputError(f"{path} is {_KINDS.get(kind, 'something else')}, not an ordinary file")
    return os.fdopen(handle, "rb")


def check_ordinary(path: Path) -> None:
    """Raises InputError as `open_file` does, for a file that a library will open."""
    open_file(path).close()


def is_there(path: Path) -> bool:
    """Whether a file is there. Raises InputError as `open_file` does where something else is, which is not to pass for
    a file that is missing."""
    if not os.path.lexists(path):
        return False
    check_ordinary(path)
    return True


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The whole of an ordinary file. Raises InputError as `open_file` does, and for more than so many bytes."""
    with open_file(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            content = file.read(size + 1) if size <= most else None  # no room is made for more than there is
            if content is not None and len(content) > size:  # it is still growing
                content += file.read(most + 1 - len(content))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if content is None or len(content) > most:
        raise InputError(f"{path} is larger than {most / 2**20:,.0f} MiB")
    return content


def check_text(name: str) -> None:
    """Raises InputError for a file name that is no valid UTF-8: runs record the names of what they depend on."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name {name!r} is not valid UTF-8, and acdc records names as text: rename it") from None


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
    """Write UTF-8 as `write_bytes` does. Raises InputError too for text that has no such form."""
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"cannot write {path}: {text[error.start : error.end]!r} is not valid Unicode") from None
    write_bytes(path, content)


def check_target(path: Path) -> None:
    """Raises InputError where something is there that is no ordinary file: opening a pipe would wait for a reader."""
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {path}: it is not an ordinary file")


def write_bytes(path: Path, content: bytes) -> None:
    """Write atomically and durably, through symbolic links. Raises InputError, leaving the old file, when the disk
    refuses or `path` is no ordinary file."""
    path = path.resolve()
    check_target(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    except OSError as error:
        raise refused(error, path) from None
    try:
        with os.fdopen(handle, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # held to the end, so that `clear_parts` tells a killed writer's file
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
    found = _PART_NAME.fullmatch(path.name)
    return found is not None and name in ("", found[1])


def clear_parts(folder: Path) -> None:
    """Delete what writers that were killed have left in a folder. What another writer has locked, and what a read-only
    disk keeps, stays."""
    for path in filter(is_part, folder.glob(".*")):
        with contextlib.suppress(OSError, InputError), open_file(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a stable layout; a value that is not finite is an error, never written."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """A value as `write_json` writes it."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
    return _parse(read_bytes(path), path)


def _parse(content: bytes, path: Path) -> Any:
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: not valid JSON ({first_line(error)})") from None


def read_model(model: type[M], path: Path, what: str) -> M:
    """Read JSON into a pydantic model. Raises InputError saying that the file is not `what`, and where it is wrong."""
    return parse_model(model, read_bytes(path), path, what)


def parse_model(model: type[M], content: bytes, path: Path, what: str) -> M:
    """The same for the content of the file at a path."""
    from pydantic import ValidationError

    try:
        return model.model_validate(_parse(content, path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{path} is not {what}, version 1: {where}: {without_prefix(first['msg'])}") from None


def make_folder(path: Path, option: str) -> None:
    """Make a folder that may be there, for files that an option asks for. Raises InputError where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {path} cannot be made: {error.strerror}") from None
