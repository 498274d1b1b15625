"""Take finished runs from one folder of jobs to another, from this machine or from a cluster.

Whoever sends is not trusted: only files that acdc writes are taken, under names that stay within the folder, if they
have the announced content, and nothing else that is there is written over. `run.json` comes last, so that a run that
was taken in part is no finished run.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from acdc.circuit.circuit import CIRCUITS
from acdc.circuit.curve import FILE_NAME as CURVE
from acdc.errors import InputError
from acdc.files import make_private, write_text
from acdc.jobs.finish import RUN_FILES
from acdc.jobs.ranking import DECISIONS, SCORES
from acdc.jobs.run_directory import RUN_FILE
from acdc.jobs.sweep import PICTURE
from acdc.verification.examples import FILE_NAME as EXAMPLES
from acdc.verification.report import FILE_NAME as VERIFICATION

ARTEFACTS = (*RUN_FILES, VERIFICATION, EXAMPLES, SCORES, DECISIONS, CURVE, PICTURE, RUN_FILE)
_FOLDER, _CIRCUIT = r"\w[\w.-]*", r"\w[\w.+-]*\.json"
_NAME = re.compile(rf"{_FOLDER}/({'|'.join(map(re.escape, ARTEFACTS))}|{CIRCUITS}/{_CIRCUIT})")


class FileEntry(BaseModel):
    """A file of a run: its name within the folder of jobs, its size in bytes, and the SHA-256 of its content."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: int = Field(ge=0, le=2**30)
    sha256: str


class Source(Protocol):
    """Where finished runs are to be had."""

    def files(self) -> list[FileEntry]:
        """The files of all finished runs."""

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[FileEntry, bytes]]:
        """Their contents, in their order."""


def list_files(folder: Path, runs: Sequence[str]) -> list[FileEntry]:
    """The files of runs in a folder; what acdc did not write, and what is a symbolic link, is left out."""
    entries = []
    for run in runs:
        paths = [folder / run / name for name in ARTEFACTS] + sorted((folder / run / CIRCUITS).glob("*.json"))
        for path in sorted(paths, key=lambda path: path.name == RUN_FILE):
            name = path.relative_to(folder).as_posix()
            if _NAME.fullmatch(name) and path.is_file() and not _is_linked(folder, name):
                content = path.read_bytes()
                entries.append(FileEntry(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest()))
    return entries


def take(source: Source, out: Path) -> list[FileEntry]:
    """Take all finished runs of a source into a folder; the files that were not there before.

    Raises InputError, before anything is written, for a name that is no artefact's and for a file that is there with
    other content.
    """
    missing = [entry for entry in source.files() if not _is_there(out, entry)]
    make_private(out)
    taken = []
    for entry, content in source.read(missing):
        path, text = out / entry.name, _checked(entry, content)
        make_private(path.parent)
        write_text(path, text)
        taken.append(entry)
    if taken != missing:
        raise InputError(f"{len(missing) - len(taken)} of {len(missing)} files did not arrive: fetch again")
    return taken


def _checked(entry: FileEntry, content: bytes) -> str:
    """A file's text. Raises InputError where it is not what was announced."""
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise InputError(f"{entry.name} arrived with other content than it has: fetch again")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{entry.name} holds no text, and so is no file of a run") from None


def _is_there(out: Path, entry: FileEntry) -> bool:
    """Raises InputError for an entry that must not be written."""
    if not _NAME.fullmatch(entry.name):
        raise InputError(f"{entry.name!r} is no file of a run: nothing was written")
    if _is_linked(out, entry.name):
        raise InputError(f"{out / entry.name} goes through a symbolic link: nothing was written")
    path = out / entry.name
    if not path.exists():
        return False
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
        raise InputError(f"{path} is there with other content: nothing was written; use another --out")
    return True


def _is_linked(folder: Path, name: str) -> bool:
    """Whether a name within a folder goes through a symbolic link."""
    return (folder / name).resolve() != folder.resolve() / name
