"""Where the nodes of a picture by span stand: a column for each span, a row for each layer's heads and for its MLP.

Rows without a node are left out, and neighbouring spans without one share a narrow column.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from acdc.graph import Edge, Writer, WriterKind
from acdc.render.layout import Box

ROW, GAP, COLUMN_GAP, PAD, LETTER, NAME = 74.0, 14.0, 14.0, 10.0, 9.4, 30.0

At = tuple[str, str]  # a component and its span


@dataclass(frozen=True)
class Column:
    """One span, or neighbouring spans without nodes."""

    name: str
    box: Box
    empty: bool


class Columns:
    """Boxes of nodes by component and span, and the columns around them."""

    def __init__(self, spans: Sequence[str], widths: Mapping[At, float], left: float, top: float):
        """`widths`: of each node."""
        cells: dict[str, dict[int, list[At]]] = defaultdict(lambda: defaultdict(list))
        for component, span in sorted(widths, key=lambda at: _by_head(at[0])):
            cells[span][rank_of(component)].append((component, span))
        ranks = sorted({rank_of(component) for component, _ in widths})
        self.rows = {rank: top + NAME + ROW * (place + 0.5) for place, rank in enumerate(ranks)}
        self.bottom = top + NAME + ROW * len(ranks)
        self.boxes: dict[At, Box] = {}
        self.columns: list[Column] = []
        for name, own in _folded(spans, cells):
            needed = {rank: sum(widths[at] + GAP for at in some) - GAP for rank, some in cells.get(own, {}).items()}
            width = max([*needed.values(), LETTER * len(name)]) + 2 * PAD
            middle = left + width / 2
            for rank, some in cells.get(own, {}).items():
                x = middle - needed[rank] / 2
                for at in some:
                    self.boxes[at] = Box(x + widths[at] / 2, self.rows[rank], widths[at])
                    x += widths[at] + GAP
            around = Box(middle, (top + self.bottom) / 2, width, self.bottom - top)
            self.columns.append(Column(name, around, not needed))
            left += width + COLUMN_GAP
        self.right = left - COLUMN_GAP


def _folded(spans: Sequence[str], filled: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """(what is written over a column, its span), once for all neighbours that have no nodes."""
    for empty, group in itertools.groupby(spans, key=lambda span: span not in filled):
        some = list(group)
        if empty and len(some) > 1:
            yield f"{some[0]} \u2026 {some[-1]}", ""
        else:
            yield from zip(some, some, strict=True)


def writer_of(component: str) -> Writer | None:
    """None for the logits."""
    return None if component == "logits" else Edge.parse(f"{component}->logits").writer


def rank_of(component: str) -> int:
    """Embeddings first, then by layer attention and MLP, the logits last."""
    writer = writer_of(component)
    if writer is None:
        return 10**9
    if writer.kind not in (WriterKind.HEAD, WriterKind.MLP):
        return -1
    return 2 * writer.layer + (writer.kind is WriterKind.MLP)


def _by_head(component: str) -> tuple[int, str]:
    writer = writer_of(component)
    return (-1 if writer is None else writer.head, component)
