"""The folder that a run leaves behind: whose it is, how far it got, and what it cost."""

import os
import platform
import re
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, field_validator

from acdc.artefacts.digests import CIRCUITS, DATA_FILES, RUN_FILE, Digests, digest
from acdc.artefacts.levels import with_present_names
from acdc.errors import AcdcWarning, InputError
from acdc.execution.work import Work
from acdc.files import (
    clear_parts,
    is_part,
    is_there,
    make_private,
    read_bytes,
    read_model,
    refused,
    write_bytes,
    write_json,
    write_text,
)
from acdc.progress import keeps_work
from acdc.search.options import LATER

JOURNAL = ".trials.jsonl"  # what a search that decides has measured, until it is done
PROGRESS = ".progress.json"  # how far a run is, until it is complete
DEFAULT_PARENT = Path("runs")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SourceRecord(_Record):
    """Where model and task came from: names, or absolute paths on the machine of the run. A trace has no task."""

    model: str
    revision: str | None
    task: str = ""


Verb = Literal["discover", "score", "sweep", "minimise", "import", "patch", "trace", "intervene"]


class RunRecord(Digests):
    """`run.json`: the inputs that determine the artefacts, and beside them what may differ between equal runs.

    `evaluations` (outputs of one component for one row) and `flops` (of matrix products), both of the search, and
    `seconds` (wall time) add up over all attempts, stage by stage: what an attempt did not finish does not count.
    """

    format: Literal["acdc-run"] = "acdc-run"
    version: Literal[1] = 1
    kind: Verb
    status: Literal["running", "complete"] = "running"
    inputs: dict[str, JsonValue]
    command: str
    source: SourceRecord
    device: str
    evaluations: int = 0
    flops: int = 0
    pass_splits: int = 0
    seconds: float = 0.0
    started: float
    machine: dict[str, JsonValue]

    @field_validator("inputs")
    @classmethod
    def _with_present_names(cls, inputs: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """A run that is found again under its options' present names goes on."""
        return with_present_names(inputs)


class RunDirectory:
    """A run's folder and its record."""

    def __init__(self, path: Path, record: RunRecord, fresh: bool = False, made: bool = False):
        """`fresh`: the record is new; `made`: so is the folder."""
        self.path, self.record, self.fresh, self.made = path, record, fresh, made
        self._since = time.monotonic()

    @classmethod
    def open(
        cls,
        out: Path | None,
        label: str,
        kind: Verb,
        inputs: dict[str, Any],
        command: str,
        source: SourceRecord,
        device: str,
    ) -> "RunDirectory":
        """The folder `out`, or a new one under `runs/` named after the run.

        Raises InputError for a folder of another run or of anything else, and where it cannot be made.
        """
        path = out if out is not None else _fresh(label)
        made = out is None or not out.exists()
        if path.exists() and not path.is_dir():
            raise InputError(f"--out {path} is a file, not a folder")
        try:
            if made:
                make_private(path)
            empty = all(is_part(file, RUN_FILE) for file in path.iterdir())  # left by a first write that was cut off
        except OSError as error:
            raise InputError(f"--out {path} cannot be used: {error.strerror}") from None
        keeps_work(path, default=out is None)
        if (path / RUN_FILE).exists():
            run = cls.reopen(path)
            _check_same(path, run.record, kind, inputs)
            run.drop_changed()
            return run
        if not empty:
            raise InputError(f"--out {path} is not empty and holds no run of acdc")
        clear_parts(path)
        machine: dict[str, JsonValue] = {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        }
        run = cls(
            path,
            RunRecord(
                kind=kind,
                inputs=inputs,
                command=command,
                source=source,
                device=device,
                started=time.time(),
                machine=machine,
                artefacts={},
            ),
            fresh=True,
            made=made,
        )
        run.note()
        return run

    @classmethod
    def reopen(cls, path: Path) -> "RunDirectory":
        """A run that is there. Raises InputError when the folder holds none or its record is damaged."""
        record = read_run(path)
        for folder in (path, path / CIRCUITS):
            clear_parts(folder)
        return cls(path, record)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file of the run, its digest first. What is there already is left alone, also on a read-only disk."""
        content = text.encode() if isinstance(text, str) else text
        new, there = digest(content), self._digests([name])
        if there == {name: new} and (self.record.artefacts is None or self.record.artefacts.get(name) == new):
            return
        recorded = self.record.artefacts
        if recorded is None:  # a run of before there were digests: what it holds is taken as it is
            circuits = (f"{CIRCUITS}/{path.name}" for path in (self.path / CIRCUITS).glob("*.json"))
            recorded = self._digests([*DATA_FILES, *circuits])
        replaced = {name: recorded[name]} if name in recorded and name in there else {}
        self._update(artefacts=recorded | {name: new}, replaced=self.record.replaced | replaced)
        if isinstance(text, str):
            write_text(self.path / name, text)
        else:
            write_bytes(self.path / name, text)

    def changed(self, names: Iterable[str] | None = None) -> list[Path]:
        """Of all files, or of some, those that are not as the run wrote them."""
        there = filter(self.has, {*DATA_FILES, *(self.record.artefacts or ())} if names is None else names)
        return [self.path / name for name in sorted(there) if not self.record.fits(name, read_bytes(self.path / name))]

    def drop_changed(self, names: Iterable[str] | None = None) -> None:
        """Delete these, with a warning for each, so that they are made again."""
        for path in self.changed(names):
            warnings.warn(f"{path} was changed since its run wrote it: it is made again", AcdcWarning, stacklevel=2)
            try:
                path.unlink()
            except OSError as error:
                raise refused(error, path) from None

    def settle(self) -> None:
        """Forget what has been replaced, once nothing is being written."""
        if self.record.replaced:
            self._update(replaced={})

    def _digests(self, names: Iterable[str]) -> dict[str, str]:
        """Those of the files that are there."""
        return {name: digest(read_bytes(self.path / name)) for name in sorted(names) if self.has(name)}

    def _update(self, **changes: Any) -> None:
        self.record = self.record.model_copy(update=changes)
        write_json(self.path / RUN_FILE, self.record.model_dump(mode="json"))

    def discard(self) -> None:
        """Undo the opening of a new run that has written nothing but its record."""
        if not self.fresh or {path.name for path in self.path.iterdir()} - {RUN_FILE, JOURNAL, PROGRESS}:
            return
        (self.path / PROGRESS).unlink(missing_ok=True)
        (self.path / JOURNAL).unlink(missing_ok=True)
        (self.path / RUN_FILE).unlink()
        if self.made:
            self.path.rmdir()
            if self.path.parent == DEFAULT_PARENT and not any(DEFAULT_PARENT.iterdir()):
                DEFAULT_PARENT.rmdir()

    def note(self, work: Work | None = None, complete: bool = False) -> None:
        """Add finished work and the time since the last note to the record, and perhaps call the run complete."""
        if complete and work is None and self.record.status == "complete":
            return
        now = time.monotonic()
        since, self._since = self._since, now
        self._update(
            evaluations=self.record.evaluations + (work.evaluations if work else 0),
            flops=self.record.flops + (work.flops if work else 0),
            pass_splits=self.record.pass_splits + (work.pass_splits if work else 0),
            seconds=round(self.record.seconds + now - since, 3),
            status="complete" if complete else self.record.status,
        )


def _check_same(path: Path, record: RunRecord, kind: str, inputs: dict[str, Any]) -> None:
    if record.kind != kind:
        raise InputError(f"--out {path} holds a run of 'acdc {record.kind}': choose another folder")
    for name in [*inputs, *(LATER.keys() & record.inputs.keys())]:
        there, here = (values.get(name, LATER.get(name)) for values in (record.inputs, inputs))
        if there != here:
            raise InputError(
                f"--out {path} holds a run of other inputs ({name}: {there} there, {here} here): choose another folder"
            )


def read_run(path: Path) -> RunRecord:
    """The record of a run. Raises InputError when the folder holds none or it is damaged."""
    if not path.exists():
        raise InputError(f"run {path} does not exist")
    if not is_there(path / RUN_FILE):
        raise InputError(f"{path} is not a run of acdc: it has no {RUN_FILE}")
    return read_model(RunRecord, path / RUN_FILE, "a run of acdc")


def list_runs(parent: Path) -> list[Path]:
    """Folders under `parent` that hold a run, by name. Raises InputError when `parent` is a file."""
    if parent.is_file():
        raise InputError(f"{parent} is a file, not a folder of runs")
    return sorted(path for path in parent.glob("*") if os.path.lexists(path / RUN_FILE))


def _fresh(label: str) -> Path:
    """A new folder under runs/: the label with the first free number; made at once, so that no other run takes it."""
    name = re.sub(r"[^\w.-]+", "-", label)
    try:
        DEFAULT_PARENT.mkdir(exist_ok=True)
        number = 1
        while True:
            path = DEFAULT_PARENT / f"{name}-{number:03d}"
            try:
                path.mkdir(mode=0o700)
                return path
            except FileExistsError:
                number += 1
    except OSError as error:
        raise InputError(f"cannot make a folder under {DEFAULT_PARENT.resolve()}: {error.strerror}") from None
