"""The digests of a run's files in its `run.json`: what was changed since is told from what acdc wrote."""

import hashlib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from acdc.errors import InputError
from acdc.files import is_there, parse_model, read_bytes, read_model

RUN_FILE, CIRCUITS = "run.json", "circuits"  # a run's record; a folder of the circuits of a sweep
ATTRIBUTION = "attribution.json"  # the graph of a trace
FEATURE_CIRCUIT = "feature-circuit.json"
# What under these names was not written by the run is none of its own; under others, users may keep files there.
DATA_FILES = (
    *("circuit.json", "verification.json", "examples.json"),
    *("scores.json", "scores.safetensors", "decisions.jsonl", "curve.json"),
)
_HOW_TO_MEND = "put the original back, or repeat the command that made the run, with the same --out, to make it again"
M = TypeVar("M", bound=BaseModel)


class ChangedFile(InputError):
    """A file of a run is not as the run wrote it."""


class Digests(BaseModel):
    """The SHA-256 of a run's files by their names in its folder; None in runs of before there were any.

    A digest is recorded before its file is written. `replaced` is that of the content before, which a process that was
    killed in between leaves behind.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    artefacts: dict[str, str] | None = None
    replaced: dict[str, str] = {}

    def fits(self, name: str, content: bytes) -> bool:
        """Whether a file can be what the run wrote; older runs do not tell."""
        return self.records(name, digest(content))

    def records(self, name: str, digest: str) -> bool:
        return self.artefacts is None or digest in (self.artefacts.get(name), self.replaced.get(name))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_artefact(model: type[M], path: Path, what: str) -> M:
    """Read a JSON file of a run. Raises InputError as `read_model` does, and ChangedFile for another content than the
    run wrote."""
    content = read_bytes(path)
    found = parse_model(model, content, path, what)
    check_unchanged(path, content)
    return found


def has_artefact(path: Path) -> bool:
    """Whether a run has a file. Raises ChangedFile where its run wrote it and it is gone since, and InputError where
    something else is in its place."""
    if is_there(path):
        return True
    if is_there(record := path.parent / RUN_FILE):
        recorded = read_model(Digests, record, "a run of acdc").artefacts
        if path.name in (recorded or ()):
            raise ChangedFile(f"{path} is missing, but its run wrote it: {_HOW_TO_MEND}")
    return False


def check_unchanged(path: Path, content: bytes) -> None:
    """Raises ChangedFile where the record of the run that a file is in has it with another content. A file that the run
    did not write is as good as one outside of it."""
    folder = path.parent.parent if path.parent.name == CIRCUITS else path.parent
    if not is_there(folder / RUN_FILE):
        return
    recorded, name = read_model(Digests, folder / RUN_FILE, "a run of acdc"), path.relative_to(folder).as_posix()
    if not recorded.fits(name, content) and (name in (recorded.artefacts or ()) or path.name in DATA_FILES):
        raise ChangedFile(f"{path} was changed since its run wrote it: {_HOW_TO_MEND}")
