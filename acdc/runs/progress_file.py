"""How far a running job is, in a file of its run directory, so that `acdc open --serve` can show it meanwhile.

The file is written at most every two seconds, and is gone when the run is complete. Only the page about a running job
reads it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from acdc.errors import InputError
from acdc.files import is_there, read_model, write_json
from acdc.progress import Advance, Progress
from acdc.runs.run_directory import PROGRESS

EVERY = 2.0  # seconds


class ProgressRecord(BaseModel):
    """`done` of `total` of one stage, in its own unit; `when` it was written, in seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    what: str
    done: float
    total: float
    unit: str
    note: str = ""
    when: float


def recorded(progress: Progress, folder: Path) -> Progress:
    """The same progress, which is also written into a run directory."""

    @contextmanager
    def both(what: str, total: float, unit: str) -> Iterator[Advance]:
        with progress(what, total, unit) as advance:
            written, so_far = time.monotonic(), 0.0

            def told(done: float, note: str = "") -> None:
                nonlocal written, so_far
                advance(done, note)
                so_far += done
                if (now := time.monotonic()) - written >= EVERY:
                    written = now
                    record = ProgressRecord(what=what, done=so_far, total=total, unit=unit, note=note, when=time.time())
                    write_json(folder / PROGRESS, record.model_dump(mode="json"))

            try:
                yield told
            except BaseException:
                forget(folder)
                raise

    return both


def forget(folder: Path) -> None:
    """The run is complete, or was ended by an error."""
    if is_there(folder / PROGRESS):
        (folder / PROGRESS).unlink()


def read_progress(folder: Path) -> ProgressRecord | None:
    """None where nothing has been written, or what is there is damaged: it is for show."""
    try:
        return read_model(ProgressRecord, folder / PROGRESS, "progress of a run of acdc")
    except InputError:
        return None
