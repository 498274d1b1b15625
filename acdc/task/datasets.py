"""Data sets of the library `datasets`: by name from the Hugging Face hub, or from a folder or file on this machine.

`hf:NAME[/CONFIG][:SPLIT][@COUNTERFACTUAL]` or `hf:PATH[:SPLIT][@COUNTERFACTUAL]`, such as `hf:mib-bench/ioi:train` and
`hf:data/pairs.parquet`. A path is a folder that `save_to_disk` wrote, or a .parquet, .arrow, .json or .jsonl file. Rows
have our own columns, AutoCircuit's, EAP-IG's, or MIB's, where `COUNTERFACTUAL` names the corrupted prompt's column.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from acdc.errors import AcdcWarning, InputError
from acdc.files import check_ordinary
from acdc.task.eap_ig import ANSWER_COLUMNS, VERBS, Read, row_reader
from acdc.task.names import TaskName
from acdc.task.raw_rows import Header, PlacedRow, RawRow, RawTask, check_keys, validate
from acdc.task.readers import check_columns, own_names
from acdc.words import count_of, were

_COUNTERFACTUAL = "_counterfactual"
_PREFERRED = ("s2_io_flip_counterfactual", "symbol_counterfactual", "random_counterfactual")  # MIB's own choices
Fields = Mapping[str, Any]
Reader = Callable[[Fields, str], Read | None]
_FILES = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json"}


def read_data_set(source: TaskName) -> RawTask:
    """Rows of a data set; places name the data set, the split and the row.

    Rows of MIB that have no counterfactual are left out, with a warning. Raises InputError for a data set that cannot
    be had, for columns of no known kind, and for a row that does not fit.
    """
    table, split = _load(source)
    where = f"data set {source.place}, split {split}" if split else f"data set {source.place}"
    check_columns(table.column_names, where)
    reader = _reader(table.column_names, source, where)
    return RawTask(Header(task=source.label), _rows(table, reader, where))


def raw_rows_of(records: Sequence[Fields], columns: Sequence[str], where: str) -> Iterator[PlacedRow]:
    """Rows that are no file's, read as those of a data set with these columns."""
    return _rows(records, _reader(columns, TaskName(where, where, "", None), where), where)


def _rows(table: Iterable[Fields], reader: Reader, where: str) -> Iterator[PlacedRow]:
    left_out, told = 0, False
    for number, record in enumerate(table):
        place = f"{where}, row {number}"
        found = reader(record, place)
        if found is None:
            left_out += 1
            continue
        if found.note and not told:
            warnings.warn(f"{where}: {found.note}", AcdcWarning, stacklevel=2)
            told = True
        yield PlacedRow(place, validate(RawRow, {"id": str(number), **found.fields}, place), found.answers)
    if left_out:
        warnings.warn(
            f"{where}: {count_of(left_out, 'row')} without a counterfactual {were(left_out)} left out",
            AcdcWarning,
            stacklevel=2,
        )


def _load(source: TaskName) -> tuple[Any, str | None]:
    """(the rows of one split, its name or None where there are no splits)."""
    try:
        import datasets
    except ImportError:
        raise InputError(f"data set {source.place!r} needs the library datasets: install acdc[datasets]") from None
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        found = _open(datasets, source)
    except InputError:
        raise
    except Exception as error:  # it raises errors of several libraries; all mean that it cannot be loaded
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"data set {source.place!r} cannot be loaded: {lines[0]}") from None
    if not isinstance(found, Mapping):
        if source.path is not None and source.split is not None:
            raise InputError(f"data set {source.place!r} has no splits: leave out {source.split!r}")
        return found, source.split
    if source.split is None and len(found) > 1:
        raise InputError(f"data set {source.place!r} has several splits: name one of {', '.join(found)} after a colon")
    split = source.split or next(iter(found))
    if split not in found:
        raise InputError(f"data set {source.place!r} has no split {split!r}; it has {', '.join(found)}")
    return found[split], split


def _open(datasets: Any, source: TaskName) -> Any:
    if source.path is None:
        owner, *rest = source.place.split("/")
        name, config = "/".join((owner, *rest[:1])), "/".join(rest[1:]) or None
        return datasets.load_dataset(name, config, split=source.split)
    for path in source.path.rglob("*") if source.path.is_dir() else (source.path,):
        if not path.is_dir():
            check_ordinary(path)
    if source.path.is_dir():
        return datasets.load_from_disk(str(source.path))
    if source.path.suffix not in _FILES:
        raise InputError(f"data set {source.place!r} must be a folder, or end in {', '.join(_FILES)}")
    with tempfile.TemporaryDirectory() as cache:  # so that nothing of an earlier file with that name is found again
        files = {"data_files": {"train": str(source.path)}, "cache_dir": cache, "keep_in_memory": True}
        return datasets.load_dataset(_FILES[source.path.suffix], split="train", **files)


def _reader(names: Sequence[str], source: TaskName, where: str) -> Reader:
    """How a row with these columns is read."""
    columns = set(names)
    if "prompt" in columns and (known := sorted(name for name in columns if name.endswith(_COUNTERFACTUAL))):
        column = source.counterfactual or next((name for name in _PREFERRED if name in known), known[0])
        if column not in known:
            raise InputError(f"{where}: has no column {column!r}; its counterfactuals are {', '.join(known)}")
        return lambda record, place: _read_mib(record, column, place)
    if source.counterfactual:
        raise InputError(f"{where}: has no counterfactuals: leave out @{source.counterfactual}")
    if {"clean", "corrupt"} <= columns:
        return lambda record, place: Read(own_names(dict(_present(record)), place))
    if "clean" in columns and (source.said or columns & set(ANSWER_COLUMNS)):
        beside = None if source.path is None else source.path.with_name(VERBS)
        return row_reader(names, where, source.said, beside)
    if "clean" in columns:
        check_keys(RawRow, names, where)
        return lambda record, place: Read(dict(_present(record)))
    raise InputError(
        f"{where}: expected columns clean and corrupted (acdc, EAP-IG), clean and corrupt (AutoCircuit), or prompt and "
        f"*{_COUNTERFACTUAL} (MIB), got {', '.join(sorted(columns))}"
    )


def _present(record: Fields) -> Iterator[tuple[str, Any]]:
    """A table has a value in every column, None for what a row does not have."""
    return ((name, value) for name, value in record.items() if value is not None)


def _read_mib(record: Fields, column: str, place: str) -> Read | None:
    """The answers as MIB takes them: of ioi the two names after a space; else the label or the label of the choice that
    is right, and that of the counterfactual; None without a counterfactual."""
    if record[column] is None:
        return None
    other = _mapping(record[column], f"{place}, {column}")
    if other.get("prompt") is None:
        return None
    names = _mapping(record.get("metadata") or {}, f"{place}, metadata")
    if names.get("indirect_object") and names.get("subject"):
        right, wrong = f" {names['indirect_object']}", f" {names['subject']}"
    else:
        right, wrong = _mib_answer(record, place), _mib_answer(other, f"{place}, {column}")
    fields = {"clean": record["prompt"], "corrupted": other["prompt"], "correct": [right], "incorrect": [wrong]}
    template = record.get("template")
    return Read(fields | ({"group": template} if isinstance(template, str) else {}))


def _mapping(value: Any, place: str) -> Fields:
    if not isinstance(value, Mapping):
        raise InputError(f"{place}: expected named fields, got {type(value).__name__}")
    return value


def _mib_answer(record: Fields, place: str) -> str:
    """The text of `label`, or of the label, or the name, of the choice that `answerKey` counts from 0."""
    if record.get("label") is not None:
        return str(record["label"])
    choices, key = record.get("choices"), record.get("answerKey")
    named = isinstance(choices, list)
    texts = choices if named else _mapping(choices or {}, f"{place}, choices").get("label")
    if not isinstance(texts, list) or type(key) is not int or not 0 <= key < len(texts):
        raise InputError(f"{place}: expected label, or choices and answerKey, got answerKey {key!r}")
    return f" {texts[key]}" if named else str(texts[key])
