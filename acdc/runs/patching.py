"""Run activation patching into a run directory: the maps, their table, pictures and page."""

import csv
import io
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc.artefacts.digests import read_artefact
from acdc.artefacts.patching import FILE_NAME, PatchRecord
from acdc.errors import InputError
from acdc.files import json_text, write_bytes
from acdc.model.load import Model, load_model
from acdc.patching.patch import Announce, patch, unheard
from acdc.patching.plan import Plan
from acdc.patching.settings import PatchSettings
from acdc.progress import Progress, silent
from acdc.render import graphviz
from acdc.render.patching.heat_map import draw
from acdc.render.patching.page import to_html
from acdc.runs.discovery import discarding_refused
from acdc.runs.run_directory import RunDirectory
from acdc.runs.spec import source_of
from acdc.task.load import load_task
from acdc.task.rows import Task

PAGE, TABLE = "patching.html", "patching.csv"
PICTURES, TABLES = ("svg", "png", "pdf"), ("csv", "parquet")
_COLUMNS = ("map", "direction", "row_kind", "row", "column_kind", "column", "rows", "metric", "effect")


@dataclass(frozen=True)
class PatchJob:
    """What to patch where; `pictures` and `tables` say in which formats the maps are written."""

    model: str
    task: str
    settings: PatchSettings
    revision: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    pictures: tuple[str, ...] = ("svg",)
    tables: tuple[str, ...] = ("csv",)

    def check(self) -> None:
        """Raises InputError for values that no run can use, and formats that this machine cannot write."""
        self.settings.check()
        for option, given, known in (("--pictures", self.pictures, PICTURES), ("--tables", self.tables, TABLES)):
            for name in given:
                if name not in known:
                    raise InputError(f"{option} {name!r} is not one of {', '.join(known)}")
        for name in self.pictures:
            graphviz.check_writable(name)
        if "parquet" in self.tables:
            _parquet()

    def inputs(self, model: Model, task: Task) -> dict[str, Any]:
        """Everything that determines the maps, by content instead of by name."""
        spans = task.spans_hash() if task.span_names else None
        data = {"model": model.content_hash, "task": task.content_hash(), "spans": spans, "task_metric": task.metric}
        return {**data, "dtype": self.dtype, **self.settings.record()}

    def command(self) -> str:
        """The command line that makes the same maps."""
        words = ["acdc", "patch", self.model, self.task]
        words += ["--revision", self.revision] if self.revision else []
        for name, value in ({"dtype": self.dtype} | self.settings.record()).items():
            option = f"--{name.replace('_', '-')}"
            if value is True:
                words.append(option)
            elif value is not None and value is not False:
                words += [option, ",".join(value) if isinstance(value, list) else str(value)]
        return shlex.join(words)


@dataclass(frozen=True)
class FinishedPatching:
    """A run's folder and its maps."""

    path: Path
    record: PatchRecord
    resumed: bool


def run_patching(
    job: PatchJob, out: Path | None, progress: Progress = silent, announce: Announce = unheard
) -> FinishedPatching:
    """Patch, write and draw; finished maps of the same inputs in `out` are only drawn again."""
    job.check()
    model = load_model(job.model, revision=job.revision, device=job.device, dtype=job.dtype)
    task = load_task(job.task, model)
    Plan.of(model, task, job.settings)  # which refuses what does not fit before a folder is made
    label = f"{task.name}-{model.name}-patch"
    source = source_of(job.model, job.revision, job.task)
    run = RunDirectory.open(out, label, "patch", job.inputs(model, task), job.command(), source, model.where)
    record = _finished(run)
    resumed = record is not None
    if record is None:
        record = discarding_refused(run, lambda: patch(model, task, job.settings, progress, announce))
        run.write(FILE_NAME, json_text(record.model_dump(mode="json")))
        run.note(complete=True)
    _write(run, record, job)
    run.settle()
    return FinishedPatching(run.path, record, resumed)


def _finished(run: RunDirectory) -> PatchRecord | None:
    if run.record.status != "complete" or not run.has(FILE_NAME):
        return None
    return read_artefact(PatchRecord, run.path / FILE_NAME, "activation patching of acdc")


def _write(run: RunDirectory, record: PatchRecord, job: PatchJob) -> None:
    run.write(PAGE, to_html(record, run.record.command))
    if "csv" in job.tables:
        run.write(TABLE, _csv(record))
    if "parquet" in job.tables:
        write_bytes(run.path / "patching.parquet", _as_parquet(record))
    for one in record.maps:
        for name in job.pictures:
            content = graphviz.write(draw(one, record), name)
            if name == "svg":
                run.write(f"{one.name}.svg", content.decode())
            else:
                write_bytes(run.path / f"{one.name}.{name}", content)


def table_rows(record: PatchRecord) -> Iterator[tuple[str | int | float | None, ...]]:
    """One for each cell of each map, with the columns `_COLUMNS`."""
    for one in record.maps:
        measured = dict(zip(one.columns, one.measured, strict=True))
        for row, column, metric, effect in one.cells():
            kinds = one.site, one.direction, one.row_kind, row, one.column_kind, column
            yield (*kinds, measured[column], metric, effect)


def _csv(record: PatchRecord) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_COLUMNS, *(["" if cell is None else cell for cell in row] for row in table_rows(record))])
    return text.getvalue()


def _as_parquet(record: PatchRecord) -> bytes:
    pyarrow, parquet = _parquet()
    columns = dict(zip(_COLUMNS, map(list, zip(*table_rows(record), strict=True)), strict=True))
    out = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue().to_pybytes()


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError("--tables parquet needs the library pyarrow: install pyarrow, or take csv") from None
    return pyarrow, pyarrow.parquet
