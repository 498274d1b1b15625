"""Read task files: JSONL (our own, whose rows may be JSON or CSV too), AutoCircuit JSON, EAP-IG CSV.

Every error names the file and the row.

A reader yields raw rows one by one: prompts and answers are text or token ids, as the file has them.
"""

import ast
import csv
import io
import itertools
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from acdc.errors import AcdcWarning, InputError
from acdc.files import RefusedJson, open_file, unique_keys
from acdc.task.eap_ig import ANSWER_COLUMNS, VERBS, Said, row_reader
from acdc.task.raw_rows import (
    AUTOCIRCUIT_NAMES,
    KINDS,
    Header,
    PlacedRow,
    RawRow,
    RawTask,
    check_keys,
    meant_by,
    validate,
)
from acdc.words import shortened

T = TypeVar("T")
U = TypeVar("U")
Refuse = Callable[[InputError], None]


def raising(error: InputError) -> None:
    """What is done of a row that cannot be read, unless somebody wants to know of others."""
    raise error


def read_task_file(path: Path, said: Said | None = None, refuse: Refuse = raising) -> RawTask:
    """Read a task file by its suffix; `said`: what the user says of a column of a CSV file. `refuse`: told of each row
    that cannot be read, which is then left out.

    Raises InputError for anything that is not a well-formed task, also while its rows are read.
    """
    if path.suffix == ".csv":
        return read_eap_ig_csv(path, said, refuse)
    readers = {".jsonl": read_jsonl, ".json": read_autocircuit}
    if path.suffix not in readers:
        raise InputError(f"task file {path} must end in .jsonl, .json (AutoCircuit) or .csv (EAP-IG)")
    if said is not None:
        raise InputError(f"task file {path} has no columns: leave out @{said}")
    return readers[path.suffix](path, refuse)


@contextmanager
def _opened(path: Path, newline: str) -> Iterator[TextIO]:
    """A text file to read. Raises InputError where it is none, also later on."""
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(f"task file {path} is not UTF-8 text: {error}") from None
    except OSError as error:
        raise InputError(f"task file {path} cannot be read: {error.strerror}") from None


def read_jsonl(path: Path, refuse: Refuse = raising) -> RawTask:
    """Our own format: one row a line, optionally after a header line (see `Header`) that has no prompts."""
    records = _json_lines(path, refuse)
    first = next(records, None)
    if first is None:
        return RawTask(Header(), iter(()))
    place, record = first
    if not _is_header(record):
        return RawTask(Header(), _rows(itertools.chain([first], records), refuse))
    check_keys(Header, record, place)
    return RawTask(validate(Header, record, place), _rows(records, refuse))


def _json_lines(path: Path, refuse: Refuse) -> Iterator[tuple[str, dict]]:
    """(place, object) of every line."""
    with _opened(path, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield from _each([(f"{path}, line {number}", line)], _of_line, refuse)


def _of_line(placed: tuple[str, str]) -> tuple[str, dict]:
    place, line = placed
    return _object(_parse_json(line, place), place)


def _each(items: Iterable[T], read: Callable[[T], U], refuse: Refuse) -> Iterator[U]:
    """What is read of each item that can be read."""
    for item in items:
        try:
            found = read(item)
        except InputError as error:
            refuse(error)
        else:
            yield found


def _object(record: Any, place: str) -> tuple[str, dict]:
    if not isinstance(record, dict):
        raise InputError(f"{place}: expected a JSON object, got {type(record).__name__}")
    return place, record


def _rows(records: Iterator[tuple[str, dict]], refuse: Refuse) -> Iterator[PlacedRow]:
    def read(placed: tuple[str, dict]) -> PlacedRow:
        place, record = placed
        check_keys(RawRow, record, place)
        return PlacedRow(place, validate(RawRow, record, place))

    return _each(records, read, refuse)


def _is_header(record: dict) -> bool:
    return not {"clean", "corrupted"} & set(record) and bool(set(Header.model_fields) & set(record))


def read_autocircuit(path: Path, refuse: Refuse = raising) -> RawTask:
    """AutoCircuit's dataset: {"prompts": [{"clean", "corrupt", "answers", "wrong_answers"}]}; or a list of rows as our
    own format has them in lines."""
    with _opened(path, newline="\n") as file:
        record = _parse_json(file.read(), str(path))
    if isinstance(record, list):
        placed = _each(enumerate(record), lambda row: _object(row[1], f"{path}, row {row[0]}"), refuse)
        return RawTask(Header(), _rows(placed, refuse))
    prompts = record.get("prompts") if isinstance(record, dict) else None
    if not isinstance(prompts, list):
        raise InputError(f"{path}: expected a list of rows, or AutoCircuit's format, an object with a list 'prompts'")

    def read(numbered: tuple[int, Any]) -> tuple[str, dict]:
        place, prompt = _object(numbered[1], f"{path}, prompt {numbered[0]}")
        return place, own_names(prompt, place)

    return RawTask(Header(), _rows(_each(enumerate(prompts), read, refuse), refuse))


def own_names(record: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A row of AutoCircuit with our names. Raises InputError for one that has both names of something."""
    for theirs, ours in AUTOCIRCUIT_NAMES.items():
        if theirs in record and ours in record:
            raise InputError(f"{place}: {theirs!r} and {ours!r} say the same thing: leave out one")
    return {AUTOCIRCUIT_NAMES.get(name, name): value for name, value in record.items()}


def read_eap_ig_csv(path: Path, said: Said | None = None, refuse: Refuse = raising) -> RawTask:
    """EAP-IG's dataset: the columns clean and corrupted, and those that `acdc.task.eap_ig` lists."""
    records = _csv_records(path)
    columns = list(next(records)[1])
    for column in columns:
        if column not in ("clean", "corrupted") and meant_by(column, ("clean", "corrupted")):
            raise InputError(f"{path}: {column!r} is no column of a task: did you mean clean or corrupted?")
    if "clean" not in columns:
        raise InputError(f"{path}: expected the columns clean and corrupted, got {', '.join(columns) or 'none'}")
    if said is None and not set(ANSWER_COLUMNS) & set(columns) and set(KINDS) & set(columns):
        check_keys(RawRow, columns, str(path))
        return RawTask(Header(), _own_csv_rows(columns, records, refuse))
    if said is None and not set(ANSWER_COLUMNS) & set(columns):
        raise InputError(
            f"{path}: expected a column label, or correct_idx and incorrect_idx (EAP-IG), or correct and incorrect"
        )
    return RawTask(Header(), _csv_rows(path, said, columns, records, refuse))


def _own_csv_rows(columns: list[str], records: Iterator[tuple[str, list[str]]], refuse: Refuse) -> Iterator[PlacedRow]:
    """Rows with our own keys as columns: an answer is a text, or a list as JSON or Python writes it; an empty cell is
    none."""

    def read(numbered: tuple[int, tuple[str, list[str]]]) -> PlacedRow:
        number, (place, cells) = numbered
        fields: dict[str, Any] = {"id": str(number)}
        fields |= {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
        for kind in KINDS:
            if fields.get(kind, "").startswith("["):
                fields[kind] = _listed(fields[kind], f"{place}: {kind}")
        return PlacedRow(place, validate(RawRow, fields, place))

    return _each(enumerate(records, start=1), read, refuse)


def _listed(cell: str, place: str) -> Any:
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise InputError(f"{place}: begins with [ and is no list: {shortened(cell)}") from None


def _csv_rows(
    path: Path, said: Said | None, columns: list[str], records: Iterator[tuple[str, list[str]]], refuse: Refuse
) -> Iterator[PlacedRow]:
    row_of, told = row_reader(columns, str(path), said, path.with_name(VERBS)), False

    def read(numbered: tuple[int, tuple[str, list[str]]]) -> PlacedRow:
        nonlocal told
        number, (place, cells) = numbered
        found = row_of(dict(zip(columns, cells, strict=True)), place)
        if found.note and not told:
            warnings.warn(f"{path}: {found.note}", AcdcWarning, stacklevel=2)
            told = True
        return PlacedRow(place, validate(RawRow, {**found.fields, "id": str(number)}, place), found.answers)

    return _each(enumerate(records, start=1), read, refuse)


def _csv_records(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(place, cells) of every record, the names of the columns first."""
    with _opened(path, newline="") as file:
        reader, width = csv.reader(file, strict=True), 0
        try:
            for cells in filter(None, reader):
                place = f"{path}, line {reader.line_num}"
                if not width:
                    check_columns(cells, place)
                    width = len(cells)
                if len(cells) != width:
                    raise InputError(f"{place}: expected {width} fields")
                yield place, cells
        except csv.Error as error:
            raise InputError(f"{path}, line {max(reader.line_num, 1)}: {error}") from None
    if not width:
        yield str(path), []


def check_columns(columns: list[str], place: str) -> None:
    """Raises InputError for a name that several columns have."""
    if len(set(columns)) < len(columns):
        twice = next(name for number, name in enumerate(columns) if name in columns[:number])
        raise InputError(f"{place}: several columns are called {twice!r}")


def _refuse(constant: str) -> NoReturn:
    raise RefusedJson(f"{constant} is not a value that a task may hold")


_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=unique_keys)


def _parse_json(text: str, place: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not valid JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise InputError(f"{place}: not a task: nested too deeply") from None
    except RefusedJson as error:
        raise InputError(f"{place}: {error}") from None
    except ValueError:
        raise InputError(f"{place}: a number in it is too long") from None
