"""Edges as a table: CSV with the columns `edge`, `score` and `kept`, of which a circuit written by hand needs the first
alone. A file without a heading has one edge in each line. Parquet holds the same. Edges may be those at spans, all or
none of them.
"""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from acdc.artefacts.codecs.foreign import Codec, ForeignGraph, Mark
from acdc.artefacts.codecs.reading import number
from acdc.errors import InputError, first_line
from acdc.files import read_bytes
from acdc.graph import Anatomy, ComponentGraph
from acdc.options import Level

NAME = "csv"
COLUMNS = ("edge", "score", "kept")
YES, NO = ("yes", "no")
GROUP = 2**17  # rows of a table that are held as such at a time


def rows(found: ForeignGraph, graph: ComponentGraph) -> Iterator[dict[str, Any]]:
    """The circuit's edges, or where all candidates have scores these; `kept` says which are the circuit's."""
    every, own = found.every(found.edge_level), found.own(found.edge_level)
    listed: Mapping[str, float | None] = every if every is not None else own or {}
    names = (listed if found.edge_level is Level.positions else graph.names) if listed else ()
    for name in names:
        if name in listed:
            kept = None if own is None else YES if name in own else NO
            yield {"edge": name, "score": listed[name], "kept": kept}


def encode(found: ForeignGraph, graph: ComponentGraph) -> bytes:
    """CSV of them."""
    out = io.StringIO()
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows(found, graph))
    return out.getvalue().encode()


def parquet(found: ForeignGraph, graph: ComponentGraph) -> bytes:
    """Parquet of them, made of so many at a time as `GROUP`. Raises InputError without pyarrow."""
    try:
        import pyarrow as arrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise InputError("format 'parquet' needs pyarrow, which is not installed: pip install pyarrow") from None
    types = (arrow.string(), arrow.float64(), arrow.string())
    schema, listed = arrow.schema(list(zip(COLUMNS, types, strict=True))), rows(found, graph)
    out = io.BytesIO()
    with ParquetWriter(out, schema) as writer:
        while some := list(itertools.islice(listed, GROUP)):
            writer.write_table(arrow.Table.from_pylist(some, schema))
    return out.getvalue()


def decode_parquet(path: Path, anatomy: Anatomy) -> ForeignGraph:
    """Raises InputError for a file that is no such table, and without pandas and pyarrow."""
    content = read_bytes(path)
    try:
        import pandas as pd
        import pyarrow as arrow
    except ImportError:
        raise InputError("format 'parquet' needs pandas and pyarrow: pip install pandas pyarrow") from None
    try:
        table = pd.read_parquet(io.BytesIO(content))
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {first_line(error)}") from None
    if "edge" not in table.columns:
        raise InputError(f"{path}: has no column 'edge'")
    cells = table[[name for name in COLUMNS if name in table.columns]].astype(object)
    records = cells.where(cells.notna(), "").to_dict("records")
    rows = ((f"row {n}", {k: str(v).strip() for k, v in record.items()}) for n, record in enumerate(records, 1))
    return _found(rows, path)


def decode(path: Path, anatomy: Anatomy) -> ForeignGraph:
    """Raises InputError naming the line that is none, or repeats an edge."""
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8: expected a table of edges") from None
    lines = [line for line in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in line)]
    head = [cell.strip() for cell in lines[0]] if lines else []
    headed = "edge" in head
    places = {name: head.index(name) for name in COLUMNS if name in head} if headed else {"edge": 0}
    rows = (
        (f"line {row}", {name: line[at].strip() if at < len(line) else "" for name, at in places.items()})
        for row, line in enumerate(lines[headed:], 1 + headed)
    )
    return _found(rows, path)


def _found(rows: Iterable[tuple[str, Mapping[str, str]]], path: Path) -> ForeignGraph:
    """What the cells of all rows say, of each with where it is."""
    scores: dict[str, float | None] = {}
    kept: dict[str, float | None] = {}
    places: dict[str, str] = {}
    for row, cells in rows:
        name, score = cells["edge"], _number(cells.get("score", ""), f"{path}, {row}")
        if name in scores:
            raise InputError(f"{path}, {row}: {name[:80]!r} occurs twice")
        scores[name], places[name] = score, row
        if cells.get("kept", YES) not in (YES, NO, ""):
            raise InputError(f"{path}, {row}: kept is {cells['kept'][:40]!r}, not {YES} or {NO}")
        if cells.get("kept", YES) != NO:
            kept[name] = score
    known = {name: score for name, score in scores.items() if score is not None}
    every = known if len(kept) < len(scores) and len(known) == len(scores) else None
    return ForeignGraph(scores=every, edges=kept, rows=places).told_apart(str(path))


def _number(cell: str, place: str) -> float | None:
    if not cell:
        return None
    try:
        return number(float(cell), place)
    except ValueError:
        raise InputError(f"{place}: score {cell!r} is not a number") from None


def terms(anatomy: Anatomy, mark: Mark) -> ComponentGraph:
    return ComponentGraph(anatomy, mark.split_embeddings, mark.direct_edges)


CODEC = Codec(NAME, terms, encode, decode, nodes=False, positions=True, partial=True)
PARQUET = replace(CODEC, name="parquet", decode=decode_parquet)
