"""The folder that a run leaves behind: which files, when they count as done, and whose run it is."""

import os
import platform
import time
from pathlib import Path
from typing import Any

from acdc.errors import InputError
from acdc.files import read_json, write_json, write_text

RUN_FILE = "run.json"
DEFAULT_PARENT = Path("runs")


class RunDirectory:
    """A run's folder. `run.json` holds the inputs and, beside them, what may differ between equal runs."""

    def __init__(self, path: Path, kind: str):
        self.path, self.kind = path, kind
        self.started = time.time()

    @classmethod
    def open(cls, out: Path | None, label: str, kind: str, inputs: dict[str, Any]) -> "RunDirectory":
        """The folder `out`, or a new one under `runs/` named after the run.

        Raises InputError for a folder of another run or of anything else, and where it cannot be made.
        """
        run = cls(out if out is not None else _fresh(label), kind)
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"--out {run.path} is a file, not a folder") from None
        except OSError as error:
            raise InputError(f"--out {run.path} cannot be made: {error.strerror}") from None
        if run.file(RUN_FILE).exists():
            run._check_same(inputs)
        elif any(run.path.iterdir()):
            raise InputError(f"--out {run.path} is not empty and holds no run of acdc")
        else:
            run._write(inputs, "running", {})
        return run

    def file(self, name: str) -> Path:
        return self.path / name

    def has(self, name: str) -> bool:
        return self.file(name).is_file()

    @property
    def is_complete(self) -> bool:
        return read_run(self.path)["status"] == "complete"

    def _check_same(self, inputs: dict[str, Any]) -> None:
        record = read_run(self.path)
        if record["kind"] != self.kind:
            raise InputError(f"--out {self.path} holds a run of 'acdc {record['kind']}': choose another folder")
        there = record["inputs"]
        different = [name for name in inputs if there.get(name) != inputs[name]]
        if different:
            name = different[0]
            raise InputError(
                f"--out {self.path} holds a run of other inputs ({name}: {there.get(name)} there, {inputs[name]} "
                "here): choose another folder"
            )

    def _write(self, inputs: dict[str, Any], status: str, facts: dict[str, Any]) -> None:
        record = {"format": "acdc-run", "version": 1, "kind": self.kind, "status": status, "inputs": inputs}
        write_json(self.file(RUN_FILE), record | facts)

    def complete(self, inputs: dict[str, Any], facts: dict[str, Any]) -> None:
        """Mark the run as done and add what belongs to this machine and this time."""
        machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
        seconds = round(time.time() - self.started, 3)
        self._write(inputs, "complete", {**facts, "started": self.started, "seconds": seconds, "machine": machine})

    def write(self, name: str, text: str) -> None:
        write_text(self.file(name), text)


def read_run(path: Path) -> dict[str, Any]:
    """The record of a run. Raises InputError when the folder holds none or it is damaged."""
    if not path.is_dir():
        raise InputError(f"run {path} does not exist")
    if not (path / RUN_FILE).is_file():
        raise InputError(f"{path} is not a run of acdc: it has no {RUN_FILE}")
    record = read_json(path / RUN_FILE)
    if not isinstance(record, dict) or record.get("format") != "acdc-run" or record.get("version") != 1:
        raise InputError(f"{path / RUN_FILE} is damaged: not a run of acdc, version 1")
    if not {"kind", "status", "inputs"} <= set(record):
        raise InputError(f"{path / RUN_FILE} is damaged: kind, status or inputs are missing")
    return record


def list_runs(parent: Path) -> list[Path]:
    """Folders under `parent` that hold a run, by name."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if (path / RUN_FILE).is_file())


def _fresh(label: str) -> Path:
    """A new folder under runs/: the label with the first free number; made at once, so that no other run takes it."""
    try:
        DEFAULT_PARENT.mkdir(exist_ok=True)
        number = 1
        while True:
            path = DEFAULT_PARENT / f"{label}-{number:03d}"
            try:
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
    except OSError as error:
        raise InputError(f"cannot make a folder under {DEFAULT_PARENT.resolve()}: {error.strerror}") from None
