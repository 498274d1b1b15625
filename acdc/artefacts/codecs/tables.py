"""Edges as a table: CSV with the columns `edge`, `score` and `kept`, of which a circuit written by hand needs the first
alone. A file without a heading has one edge in each line. Parquet holds the same.
"""

import csv
import io
from pathlib import Path
from typing import Any

from acdc.artefacts.codecs.foreign import Codec, ForeignGraph, Mark
from acdc.artefacts.codecs.reading import number
from acdc.artefacts.frames import frame
from acdc.errors import InputError
from acdc.files import read_bytes
from acdc.graph import Anatomy, ComponentGraph

NAME = "csv"
COLUMNS = ("edge", "score", "kept")
YES, NO = ("yes", "no")


def rows(found: ForeignGraph, graph: ComponentGraph) -> list[dict[str, Any]]:
    """The circuit's edges, or where all candidates have scores these; `kept` says which are the circuit's."""
    own = found.edges
    if found.scores is None:
        listed = own or {}
        return [{"edge": name, "score": listed[name], "kept": YES} for name in graph.names if name in listed]
    kept = [None if own is None else YES if name in own else NO for name in graph.names]
    return [{"edge": n, "score": found.scores[n], "kept": k} for n, k in zip(graph.names, kept, strict=True)]


def encode(found: ForeignGraph, graph: ComponentGraph) -> bytes:
    """CSV of them."""
    out = io.StringIO()
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows(found, graph))
    return out.getvalue().encode()


def parquet(found: ForeignGraph, graph: ComponentGraph) -> bytes:
    """Parquet of them. Raises InputError without pandas and pyarrow."""
    table, out = frame(rows(found, graph), COLUMNS), io.BytesIO()
    try:
        table.to_parquet(out, index=False)
    except ImportError:
        raise InputError("format 'parquet' needs pyarrow, which is not installed: pip install pyarrow") from None
    return out.getvalue()


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
    scores: dict[str, float | None] = {}
    kept: dict[str, float | None] = {}
    for row, line in enumerate(lines[headed:], 1 + headed):
        cells = {name: line[at].strip() if at < len(line) else "" for name, at in places.items()}
        name, score = cells["edge"], _number(cells.get("score", ""), f"{path}, line {row}")
        if name in scores:
            raise InputError(f"{path}, line {row}: {name} occurs twice")
        scores[name] = score
        if cells.get("kept", YES) not in (YES, NO, ""):
            raise InputError(f"{path}, line {row}: kept is {cells['kept']!r}, not {YES} or {NO}")
        if cells.get("kept", YES) != NO:
            kept[name] = score
    known = {name: score for name, score in scores.items() if score is not None}
    every = known if len(kept) < len(scores) and len(known) == len(scores) else None
    return ForeignGraph(scores=every, edges=kept)


def _number(cell: str, place: str) -> float | None:
    if not cell:
        return None
    try:
        return number(float(cell), place)
    except ValueError:
        raise InputError(f"{place}: score {cell!r} is not a number") from None


def terms(anatomy: Anatomy, mark: Mark) -> ComponentGraph:
    return ComponentGraph(anatomy, mark.split_embeddings, mark.direct_edges)


CODEC = Codec(NAME, terms, encode, decode, nodes=False, outside=False)
