"""Read task files: JSONL (our own), AutoCircuit JSON, EAP-IG CSV. Every error names the file and the row.

A reader yields raw rows: prompts and answers are text or token ids, as the file has them.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from acdc.errors import InputError, without_prefix
from acdc.files import read_bytes

TokenId = Annotated[StrictInt, Field(ge=0)]
Prompt = Annotated[StrictStr, Field(min_length=1)] | Annotated[list[TokenId], Field(min_length=1)]
M = TypeVar("M", bound=BaseModel)
AUTOCIRCUIT_NAMES = {"corrupt": "corrupted", "answers": "correct", "wrong_answers": "incorrect"}
Answer = TokenId | Annotated[StrictStr, Field(min_length=1)]


class RawRow(BaseModel):
    """One row as its file has it, before tokenization; unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    clean: Prompt
    corrupted: Prompt
    correct: list[Answer] = []
    incorrect: list[Answer] = []
    answer_position: TokenId | None = None
    id: StrictStr | StrictInt | None = None
    group: StrictStr | StrictInt | None = None


class Header(BaseModel):
    """Optional first line of a JSONL task."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    task: StrictStr | None = None
    metric: StrictStr | None = None
    prepend_bos: bool | None = None


@dataclass(frozen=True)
class RawTask:
    """A parsed task file; `places` says where each row stood, for messages."""

    header: Header
    rows: list[RawRow]
    places: list[str]


def read_task_file(path: Path) -> RawTask:
    """Read a task file by its suffix. Raises InputError for anything that is not a well-formed task."""
    readers = {".jsonl": read_jsonl, ".json": read_autocircuit, ".csv": read_eap_ig_csv}
    if path.suffix not in readers:
        raise InputError(f"task file {path} must end in .jsonl, .json (AutoCircuit) or .csv (EAP-IG)")
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"task file {path} is not UTF-8 text: {error}") from None
    task = readers[path.suffix](path, text)
    if not task.rows:
        raise InputError(f"task file {path} has no rows")
    return task


def read_jsonl(path: Path, text: str) -> RawTask:
    """Our own format: one row a line, optionally after a header line (see `Header`) that has no prompts."""
    header: Header | None = None
    rows: list[RawRow] = []
    places: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        record = _parse_json(line, place)
        if not isinstance(record, dict):
            raise InputError(f"{place}: expected a JSON object, got {type(record).__name__}")
        if header is None and not rows and _is_header(record):
            header = validate(Header, record, place)
            continue
        rows.append(validate(RawRow, record, place))
        places.append(place)
    return RawTask(header or Header(), rows, places)


def _is_header(record: dict) -> bool:
    return not {"clean", "corrupted"} & set(record) and bool(set(Header.model_fields) & set(record))


def read_autocircuit(path: Path, text: str) -> RawTask:
    """AutoCircuit's dataset: {"prompts": [{"clean", "corrupt", "answers", "wrong_answers"}]}."""
    record = _parse_json(text, str(path))
    prompts = record.get("prompts") if isinstance(record, dict) else None
    if not isinstance(prompts, list):
        raise InputError(f"{path}: expected AutoCircuit's format, an object with a list 'prompts'")
    rows, places = [], []
    for number, prompt in enumerate(prompts):
        place = f"{path}, prompt {number}"
        if not isinstance(prompt, dict):
            raise InputError(f"{place}: expected a JSON object, got {type(prompt).__name__}")
        rows.append(validate(RawRow, {AUTOCIRCUIT_NAMES.get(k, k): v for k, v in prompt.items()}, place))
        places.append(place)
    return RawTask(Header(), rows, places)


def read_eap_ig_csv(path: Path, text: str) -> RawTask:
    """EAP-IG's dataset: columns clean, corrupted and either label (answer text) or correct_idx and incorrect_idx."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    columns = _columns(reader, path)
    if not {"clean", "corrupted"} <= set(columns):
        raise InputError(f"{path}: expected the columns clean and corrupted, got {', '.join(columns) or 'none'}")
    if not ({"correct_idx"} <= set(columns) or "label" in columns):
        raise InputError(f"{path}: expected a column label, or correct_idx and incorrect_idx")
    rows, places = [], []
    for number, (place, record) in enumerate(_csv_records(reader, path), start=1):
        fields = {"clean": record["clean"], "corrupted": record["corrupted"], "id": str(number)}
        if "correct_idx" in record:
            fields["correct"] = _ids(record["correct_idx"], place)
            fields["incorrect"] = _ids(record.get("incorrect_idx") or "[]", place)
        else:
            fields["correct"] = [record["label"]]
        rows.append(validate(RawRow, fields, place))
        places.append(place)
    return RawTask(Header(), rows, places)


def _columns(reader: csv.DictReader, path: Path) -> list[str]:
    try:
        return list(reader.fieldnames or [])
    except csv.Error as error:
        raise InputError(f"{path}, line 1: {error}") from None


def _csv_records(reader: csv.DictReader, path: Path) -> Iterator[tuple[str, dict]]:
    try:
        for record in reader:
            place = f"{path}, line {reader.line_num}"
            if None in record or None in record.values():
                raise InputError(f"{place}: expected {len(reader.fieldnames or ())} fields")
            yield place, record
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _ids(cell: str, place: str) -> list[int]:
    value = _parse_json(cell, place)
    return value if isinstance(value, list) else [value]


def _parse_json(text: str, place: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise InputError(f"{place}: {constant} is not a value that a task may hold")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not valid JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise InputError(f"{place}: not a task: nested too deeply") from None
    except ValueError:
        raise InputError(f"{place}: a number in it is too long") from None


def validate(model: type[M], record: dict, place: str) -> M:
    """Raises InputError naming the place and the field that is not as it should be."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
        return model.model_validate(record)
    except UnicodeEncodeError:
        raise InputError(f"{place}: its text is not valid Unicode") from None
    except ValidationError as error:
        first = error.errors()[0]
        # Of a union pydantic reports every branch; the field's own name is the first part of the location.
        raise InputError(f"{place}: {first['loc'][0]!r}: {_describe(first, record)}") from None


def _describe(problem: Mapping[str, Any], record: dict) -> str:
    name = problem["loc"][0]
    if problem["type"] == "missing":
        return "missing"
    wanted = {
        "clean": "non-empty text or a list of token ids",
        "corrupted": "non-empty text or a list of token ids",
        "correct": "a list of texts or token ids",
        "incorrect": "a list of texts or token ids",
        "answer_position": "a position from 0",
    }.get(name, without_prefix(problem["msg"]))
    shown = json.dumps(record[name])
    return f"expected {wanted}, got {shown if len(shown) <= 40 else shown[:37] + '...'}"
