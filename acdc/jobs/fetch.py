"""Take finished runs from one folder of jobs to another, from this machine or from a cluster.

Whoever sends is not trusted: only files that acdc writes are taken, under names that stay within the folder, if they
have the announced content, and nothing that is there is written over but a verification, by one that goes further.
`run.json` comes last, so that a run that was taken in part is no finished run.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.curve import FILE_NAME as CURVE
from acdc.artefacts.digests import CIRCUITS, digest
from acdc.artefacts.verification.examples import FILE_NAME as EXAMPLES
from acdc.artefacts.verification.report import FILE_NAME as VERIFICATION
from acdc.artefacts.verification.report import Report
from acdc.errors import InputError
from acdc.files import make_private, read_bytes, write_json, write_text
from acdc.runs.finished import PAGE, RUN_FILES, is_report_of, load_report, no_report
from acdc.runs.ranking import DECISIONS, POLISH, SCREENING
from acdc.runs.run_directory import RUN_FILE, RunRecord, read_run
from acdc.runs.score_files import ARRAY, SCORES
from acdc.runs.sweep import PICTURE

ARTEFACTS = (*RUN_FILES, VERIFICATION, EXAMPLES, SCORES, ARRAY, DECISIONS, SCREENING, POLISH, CURVE, PICTURE, RUN_FILE)
VERIFIED = (VERIFICATION, PAGE, RUN_FILE)  # what verifying a run further changes; of the last, the digests alone
_FOLDER, _CIRCUIT = r"\w[\w.-]*", r"\w[\w.+-]*\.json"
_NAME = re.compile(rf"{_FOLDER}/({'|'.join(map(re.escape, ARTEFACTS))}|{CIRCUITS}/{_CIRCUIT})")


class FileEntry(BaseModel):
    """A file of a run: its name within the folder of jobs, its size in bytes, and the SHA-256 of its content."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: int = Field(ge=0, le=2**30)
    sha256: str

    @property
    def run(self) -> str:
        """The run that it is a file of."""
        return self.name.partition("/")[0]

    @property
    def file(self) -> str:
        """Its name within the run."""
        return self.name.partition("/")[2]


class Source(Protocol):
    """Where finished runs can be fetched from."""

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
                content = read_bytes(path)
                entries.append(FileEntry(name=name, size=len(content), sha256=digest(content)))
    return entries


def take(source: Source, out: Path) -> list[FileEntry]:
    """Take all finished runs of a source into a folder: the files that were not there before, and those of runs that
    have been verified further than there.

    Raises InputError, before anything is written, for a name that is no artefact's and for a file that is there with
    other content for any other reason. What was verified further here stays as it is.
    """
    entries = source.files()
    for entry in entries:
        _check_place(out, entry)
    missing = {entry.name for entry in entries if not (out / entry.name).exists()}
    changed = [entry for entry in entries if entry.name not in missing and not _is_same(out / entry.name, entry)]
    further = _further(source, out, entries, changed)
    wanted_names = missing | {entry.name for entry in changed if entry.run in further}
    wanted = [entry for entry in entries if entry.name in wanted_names]
    make_private(out)
    for run, record in further.items():
        _announce(out / run, record)
    for entry, text in _receive(source, wanted):
        path = out / entry.name
        make_private(path.parent)
        write_text(path, text)
    return wanted


def _further(
    source: Source, out: Path, entries: Sequence[FileEntry], changed: Sequence[FileEntry]
) -> dict[str, RunRecord]:
    """The runs whose files that are there with other content are replaced by a further verification, with their
    records as they are sent."""
    for entry in changed:
        if entry.file not in VERIFIED or not (out / entry.name).is_file():
            raise _other_content(out / entry.name)
    runs: dict[str, list[FileEntry]] = {entry.run: [] for entry in changed}
    for entry in entries:
        runs.get(entry.run, []).append(entry)
    told = [entry for listed in runs.values() for entry in listed if entry.file in (VERIFICATION, RUN_FILE)]
    sent = {entry.name: text for entry, text in _receive(source, told)}
    further = {}
    for run, listed in runs.items():
        files = {entry.file for entry in changed if entry.run == run}
        first = out / next(entry.name for entry in changed if entry.run == run)
        record = _record_of(first, sent.get(f"{run}/{RUN_FILE}"), listed)
        if files == {RUN_FILE} or _goes_further(first, sent.get(f"{run}/{VERIFICATION}")):
            further[run] = record
    return further


def _record_of(path: Path, sent: str | None, listed: Sequence[FileEntry]) -> RunRecord:
    """A run's record as it is sent. Raises InputError where it is not that of the run of a file here, but for digests,
    or does not have those of the files that are `listed` with it."""
    try:
        here, there = read_run(path.parent), RunRecord.model_validate_json(sent or "")
    except (InputError, ValidationError):
        raise _other_content(path) from None
    aside: dict[str, Any] = {"artefacts": None, "replaced": {}}
    same = here.model_copy(update=aside) == there.model_copy(update=aside)
    if not same or not all(there.records(entry.file, entry.sha256) for entry in listed if entry.file != RUN_FILE):
        raise _other_content(path)
    return there


def _announce(run: Path, there: RunRecord) -> None:
    """Let both what is here and what is about to be written be the run's, until its own record comes."""
    here = read_run(run)
    if here.artefacts is not None:
        both: dict[str, Any] = {"artefacts": there.artefacts, "replaced": here.replaced | here.artefacts}
        write_json(run / RUN_FILE, here.model_copy(update=both).model_dump(mode="json"))


def _goes_further(path: Path, sent: str | None) -> bool:
    """Whether a verification that is sent, None where there is none, goes further than that of the run of a file here.

    Raises InputError where neither does, or where they are not of one circuit.
    """
    try:
        circuit, here = Circuit.load(path.parent), load_report(path.parent)
        there = no_report(circuit) if sent is None else Report.model_validate_json(sent)
    except (InputError, ValidationError):
        raise _other_content(path) from None
    further = there.surpasses(here)
    if not is_report_of(there, circuit) or not (further or here.surpasses(there)):
        raise _other_content(path)
    return further


def _receive(source: Source, entries: Sequence[FileEntry]) -> Iterator[tuple[FileEntry, str]]:
    """Files and their texts, as they arrive. Raises InputError for one that is not what was announced or is missing."""
    received = []
    for entry, content in source.read(entries):
        yield entry, _checked(entry, content)
        received.append(entry)
    if received != list(entries):
        raise InputError(f"{len(entries) - len(received)} of {len(entries)} files did not arrive: fetch again")


def _checked(entry: FileEntry, content: bytes) -> str:
    """A file's text. Raises InputError where it is not what was announced."""
    if digest(content) != entry.sha256:
        raise InputError(f"{entry.name} arrived with other content than it had: fetch again")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{entry.name} is not text, so it is not a file of a run") from None


def _check_place(out: Path, entry: FileEntry) -> None:
    """Raises InputError for an entry that must not be written."""
    if not _NAME.fullmatch(entry.name):
        raise InputError(f"{entry.name!r} is not a file of a run: nothing was written")
    if _is_linked(out, entry.name):
        raise InputError(f"{out / entry.name} goes through a symbolic link: nothing was written")


def _is_same(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and digest(read_bytes(path)) == entry.sha256


def _other_content(path: Path) -> InputError:
    return InputError(f"{path} exists with other content: nothing was written; use another --out")


def _is_linked(folder: Path, name: str) -> bool:
    """Whether a name within a folder goes through a symbolic link."""
    return (folder / name).resolve() != folder.resolve() / name
