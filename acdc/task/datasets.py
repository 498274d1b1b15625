"""Data sets of the library `datasets`: by name from the Hugging Face hub, or from a folder or file on this machine.

`hf:NAME[/CONFIG][:SPLIT][@COUNTERFACTUAL]` or `hf:PATH[:SPLIT][@COUNTERFACTUAL]`, such as `hf:mib-bench/ioi:train` and
`hf:data/pairs.parquet`. A path is a folder that `save_to_disk` wrote, or a .parquet, .arrow, .json or .jsonl file. Rows
have our own columns, AutoCircuit's, EAP-IG's, or MIB's, where `COUNTERFACTUAL` names the corrupted prompt's column.
"""

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc.errors import AcdcWarning, InputError
from acdc.files import check_ordinary, existing_path
from acdc.task.readers import AUTOCIRCUIT_NAMES, Header, RawRow, RawTask, validate
from acdc.words import count_of, were

PREFIX = "hf:"
_NAME = re.compile(r"hf:(?P<name>[^:@]+)(?::(?P<split>[\w.-]+))?(?:@(?P<counterfactual>\w+))?")
_COUNTERFACTUAL = "_counterfactual"
_PREFERRED = ("s2_io_flip_counterfactual", "symbol_counterfactual", "random_counterfactual")  # MIB's own choices
_FILES = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json"}


@dataclass(frozen=True)
class DataSet:
    """What a name says: `place` is a name on the hub, or a path where `path` is not None."""

    place: str
    path: Path | None
    split: str | None
    counterfactual: str | None

    @classmethod
    def parse(cls, text: str) -> "DataSet":
        """Raises InputError for what is no name of a data set."""
        found = _NAME.fullmatch(text)
        if not found:
            raise InputError(f"data set {text!r} is not written hf:NAME[/CONFIG][:SPLIT][@COUNTERFACTUAL]")
        place = found["name"]
        return cls(place, existing_path(place), found["split"], found["counterfactual"])

    @property
    def label(self) -> str:
        """What a task of it is called."""
        name = self.path.resolve().stem if self.path else self.place.split("/", 1)[-1]
        return f"{name}-{self.split}" if self.split else name

    def at(self, place: str) -> str:
        """Its name with another place, such as an absolute path."""
        split = f":{self.split}" if self.split else ""
        return f"{PREFIX}{place}{split}" + (f"@{self.counterfactual}" if self.counterfactual else "")


def is_data_set(name: str) -> bool:
    return name.startswith(PREFIX)


def read_data_set(name: str) -> RawTask:
    """Rows of a data set; places name the data set, the split and the row.

    Rows of MIB that have no counterfactual are left out, with a warning. Raises InputError for a data set that cannot
    be had, for columns of no known kind, and for a row that does not fit.
    """
    source = DataSet.parse(name)
    table, split = _load(source)
    where = f"data set {source.place}, split {split}" if split else f"data set {source.place}"
    reader = _reader(set(table.column_names), source, where)
    rows, places, left_out = [], [], 0
    for number, record in enumerate(table):
        place = f"{where}, row {number}"
        fields = reader(record, place)
        if fields is None:
            left_out += 1
            continue
        rows.append(validate(RawRow, {"id": str(number), **fields}, place))
        places.append(place)
    if left_out:
        warnings.warn(
            f"{where}: {count_of(left_out, 'row')} without a counterfactual {were(left_out)} left out",
            AcdcWarning,
            stacklevel=2,
        )
    if not rows:
        raise InputError(f"{where} has no rows")
    return RawTask(Header(task=source.label), rows, places)


def _load(source: DataSet) -> tuple[Any, str | None]:
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


def _open(datasets: Any, source: DataSet) -> Any:
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


Fields = Mapping[str, Any]


def _reader(columns: set[str], source: DataSet, where: str) -> Callable[[Fields, str], Fields | None]:
    """How a row with these columns is read."""
    if "prompt" in columns and (known := sorted(name for name in columns if name.endswith(_COUNTERFACTUAL))):
        column = source.counterfactual or next((name for name in _PREFERRED if name in known), known[0])
        if column not in known:
            raise InputError(f"{where}: has no column {column!r}; its counterfactuals are {', '.join(known)}")
        return lambda record, place: _read_mib(record, column, place)
    if source.counterfactual:
        raise InputError(f"{where}: has no counterfactuals: leave out @{source.counterfactual}")
    if {"clean", "corrupt"} <= columns:
        return lambda record, place: {AUTOCIRCUIT_NAMES.get(k, k): v for k, v in _present(record)}
    if {"clean", "corrupted"} <= columns:
        return _read_eap_ig if columns & {"label", "correct_idx"} else lambda record, place: dict(_present(record))
    raise InputError(
        f"{where}: expected columns clean and corrupted (acdc, EAP-IG), clean and corrupt (AutoCircuit), or prompt and "
        f"*{_COUNTERFACTUAL} (MIB), got {', '.join(sorted(columns))}"
    )


def _present(record: Fields) -> Iterator[tuple[str, Any]]:
    """A table has a value in every column, None for what a row does not have."""
    return ((name, value) for name, value in record.items() if value is not None)


def _read_eap_ig(record: Fields, place: str) -> Fields:
    fields = {"clean": record["clean"], "corrupted": record["corrupted"]}
    if record.get("correct_idx") is None:
        return fields | {"correct": [record.get("label")]}
    incorrect = record.get("incorrect_idx")
    return fields | {
        "correct": _listed(record["correct_idx"]),
        "incorrect": [] if incorrect is None else _listed(incorrect),
    }


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _read_mib(record: Fields, column: str, place: str) -> Fields | None:
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
    return fields | ({"group": template} if isinstance(template, str) else {})


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
