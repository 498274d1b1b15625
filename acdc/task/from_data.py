"""Rows that a caller holds: dictionaries, a data frame, or a data set of the library `datasets`."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from acdc.errors import InputError
from acdc.task.datasets import raw_rows_of
from acdc.task.raw_rows import Header, RawTask

WHERE = "rows"


def raw_task_of(rows: Any, prepend_bos: bool | None) -> RawTask:
    """What a file with these rows says: each a mapping, or a row of a table, with the keys of a task file, of
    AutoCircuit, EAP-IG or MIB; what is None or NaN is not there. Raises InputError for what is no table, also while
    its rows are read."""
    records = list(_records(rows))
    columns = list(dict.fromkeys(name for record in records for name in record))
    if not records:
        raise InputError(f"{WHERE}: there are none")
    return RawTask(Header(prepend_bos=prepend_bos), raw_rows_of(records, columns, WHERE))


def _records(rows: Any) -> Iterable[dict[str, Any]]:
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # a data frame, of pandas or another library
        try:
            rows = rows.to_dict("records")
        except TypeError:  # of polars
            rows = rows.to_dicts()
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise InputError(
            f"rows are a list of dictionaries, a data frame or a data set, not a {type(rows).__name__}; "
            "acdc.load_task reads files"
        )
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"{WHERE}, row {number}: expected a dictionary, got a {type(row).__name__}")
        yield {str(name): plain for name, value in row.items() if (plain := _plain(value)) is not None}


def _plain(value: Any) -> Any:
    """A value as JSON has it; None for NaN, which tables have where there is nothing."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
