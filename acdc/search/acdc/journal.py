"""What ACDC's passes have given so far, on disk, so that a run that was cut off goes on in the middle.

A line per pass: the objectives that counted. A resumed run takes these in the place of its first passes and so comes
to the same state, bit by bit. The first line says what the numbers depend on; with another one the journal begins anew.
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from acdc.files import check_target, refused

FLUSH_EVERY = 1.0  # seconds
_BATCH_SIZE = "restarted with batches of"  # in the first line, where memory did not suffice for larger ones


class Journal:
    """The journal of one run of ACDC; a context that closes its file."""

    def __init__(self, path: Path, depends_on: dict[str, Any]):
        """Raises InputError where the file cannot be written."""
        self.path, self._flushed, self._depends_on = path, time.monotonic(), depends_on
        check_target(path)
        whole = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []  # what a crash cut off counts for nothing
        self.batch_size = _batch_size(whole[0], depends_on) if whole else None
        head = _head(depends_on, self.batch_size)
        self._recorded = _numbers(whole[1:]) if whole and whole[0] == head else []
        try:
            self._file = path.open("r+b" if self._recorded else "wb")
            if self._recorded:
                self._file.truncate(sum(len(line) + 1 for line in whole[: len(self._recorded) + 1]))
                self._file.seek(0, os.SEEK_END)
            else:
                self._file.write(head + b"\n")
        except OSError as error:
            raise refused(error, path) from None
        self._next = 0

    def restart(self, batch_size: int) -> None:
        """Start over with batches of another size. Raises InputError when the disk refuses."""
        self._recorded, self._next, self.batch_size = [], 0, batch_size
        try:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(_head(self._depends_on, batch_size) + b"\n")
            self._file.flush()
        except OSError as error:
            raise refused(error, self.path) from None

    def recorded(self) -> list[float] | None:
        """What the next pass gave in an earlier attempt; None after the last."""
        if self._next >= len(self._recorded):
            return None
        self._next += 1
        return self._recorded[self._next - 1]

    def add(self, objectives: Sequence[float]) -> None:
        """Record the result of a pass. Raises InputError when the disk refuses."""
        try:
            self._file.write(json.dumps(list(objectives)).encode() + b"\n")
            if time.monotonic() - self._flushed >= FLUSH_EVERY:
                self._flushed = time.monotonic()
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise refused(error, self.path) from None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        try:
            self._file.close()
        except OSError as failure:
            if error is None:
                raise refused(failure, self.path) from None


def _head(depends_on: dict[str, Any], batch_size: int | None) -> bytes:
    more = {} if batch_size is None else {_BATCH_SIZE: batch_size}
    return json.dumps(depends_on | more, sort_keys=True).encode()


def _batch_size(head: bytes, depends_on: dict[str, Any]) -> int | None:
    """The batch size that a journal of the same inputs was restarted with; None where it was not."""
    try:
        found = json.loads(head)[_BATCH_SIZE]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return found if type(found) is int and found > 0 and head == _head(depends_on, found) else None


def _numbers(lines: Sequence[bytes]) -> list[list[float]]:
    """The passes of the lines up to the first that is none."""
    passes = []
    for line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not (isinstance(found, list) and found and all(isinstance(value, float) for value in found)):
            break
        passes.append(found)
    return passes
