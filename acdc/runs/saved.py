"""Results in folders without a run's record, and files of other tools, as the Python interface takes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.circuit import Circuit, ImportRecord
from acdc.artefacts.codecs import HELD, ForeignGraph
from acdc.artefacts.verification.report import FILE_NAME as VERIFICATION
from acdc.artefacts.verification.report import Report
from acdc.errors import InputError
from acdc.files import is_there, make_folder, write_bytes, write_text
from acdc.model.load import Model
from acdc.runs.discovery import write_result
from acdc.runs.exchange import Exportable, content_hash, usable_format
from acdc.runs.finished import load_report, open_run
from acdc.runs.importing import Imported, import_circuit, settings_of_file
from acdc.runs.run_directory import RUN_FILE
from acdc.runs.score_files import read_scores, scores_path
from acdc.search.discover import Result
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Task


@dataclass(frozen=True)
class Folder:
    """Files are written as they are; no record says whether they were changed later."""

    path: Path

    def write(self, name: str, text: str | bytes) -> None:
        if isinstance(text, str):
            write_text(self.path / name, text)
        else:
            write_bytes(self.path / name, text)


@dataclass(frozen=True)
class SavedRun:
    """What a folder holds: its circuit, and None for what it has none of."""

    path: Path
    circuit: Circuit
    report: Report | None
    scores: Mapping[str, float] | None

    def __repr__(self) -> str:
        return f"<SavedRun: {self.circuit!r}, {self.report if self.report is not None else 'not verified'}>"


def save_result(result: Result, path: Path) -> None:
    """See `Result.save`. Raises InputError for the folder of a run, whose record would not fit any more."""
    if is_there(path / RUN_FILE):
        raise InputError(f"{path} holds a run of acdc, whose files are not replaced: name another folder")
    make_folder(path, "folder")
    write_result(Folder(path), result)


def load_run(path: Path) -> SavedRun:
    """A run of the command line with a circuit, or a folder that `Result.save` wrote. Raises InputError for anything
    else, and for damaged files."""
    circuit = open_run(path).circuit if is_there(path / RUN_FILE) else Circuit.load(path)
    report = load_report(path) if is_there(path / VERIFICATION) else None
    return SavedRun(path, circuit, report, read_scores(path, circuit.units) if scores_path(path) else None)


def export_circuit(
    circuit: Circuit, format: str, path: str | Path, scores: Mapping[str, float] | None = None
) -> list[str]:
    """See `Circuit.export`."""
    target = usable_format(format, "write")
    assert target.write is not None  # see `usable_format`
    if format == "html":
        raise InputError("format 'html' is the report of a run: circuit.explore(report).save(path) writes its page")
    if scores is not None and (circuit.level not in HELD or scores.keys() != set(circuit.units.names())):
        raise InputError(f"scores= does not hold the {circuit.units.plural} of the circuit's graph")
    out, found = Path(path), ForeignGraph.of_circuit(circuit, scores)
    run = Exportable(out, circuit, found, circuit.graph, circuit.task.name, circuit.model.name)
    written = target.write(run)
    for name, content in written.files.items():
        file = out / name if name else out
        make_folder(file.parent, "path")
        write_bytes(file, content)
    return list(written.lost)


def read_circuit(model: Model, task: Task, file: Path, format: str, settings: DiscoverySettings) -> Imported:
    """The circuit in a file of another tool. Raises InputError for a file that is none of its format or does not fit
    the model."""
    source = usable_format(format, "read")
    assert source.read is not None  # see `usable_format`
    settings.check_values()
    settings.check_one_size()
    path = source.file(file)
    found = source.read(path, model.anatomy, settings.split_embeddings)
    record = ImportRecord(format=format, content_hash=content_hash(path), lost=list(found.mark.lost))
    return import_circuit(model, task, settings_of_file(settings, found), found, record, str(path))
