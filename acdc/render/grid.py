"""Pictures of nodes in rows and columns, with links upwards: where the nodes stand, and how links are drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from acdc.render.layout import Box
from acdc.render.shapes import Line, Shape, Text
from acdc.render.style import FAINT, QUIET

HEIGHT, ROW, GAP, COLUMN_GAP, LEFT = 18.0, 40.0, 5.0, 26.0, 70.0
UNIT = 32.0  # the least width of a node
MARGIN, HEADER, FOOT = 24.0, 78.0, 30.0
RAISES, LOWERS = "#0072b2", "#d55e00"
THINNEST, THICKEST = 0.6, 4.5


@dataclass(frozen=True)
class Places:
    """Boxes of nodes by id, `rows` as (name, y), `columns` as (left, right) by their number; in points, y downwards."""

    boxes: Mapping[str, Box]
    rows: Sequence[tuple[str, float]]
    columns: Sequence[tuple[float, float]]
    width: float
    height: float

    def at(self, name: str) -> Box:
        """A node's box inside the margins of a picture."""
        box = self.boxes[name]
        return Box(box.x + MARGIN, box.y + HEADER, box.width, box.height)


def stack(
    cells: Mapping[tuple[int, int], Sequence[tuple[str, float]]],
    columns: int,
    row_name: Callable[[int], str],
    in_line: int | None = None,
    row_gap: float = ROW - HEIGHT,
) -> Places:
    """Places of nodes, (id, width) each, by (row, column): higher rows are further up. Column -1 stands before the
    `columns` that there are; nodes of one cell stand side by side in their order, at most `in_line` in a line."""
    lines = {cell: _lines(nodes, in_line) for cell, nodes in cells.items()}
    widths = [
        max((_width(line) for (_, column), some in lines.items() if column == place for line in some), default=UNIT)
        for place in range(-1, columns)
    ]
    lefts = [LEFT]
    for width in widths:
        lefts.append(lefts[-1] + width + COLUMN_GAP)
    boxes, rows, top = {}, list[tuple[str, float]](), 0.0
    for row in sorted({row for row, _ in cells}, reverse=True):
        here = {column: some for (at, column), some in lines.items() if at == row}
        rows.append((row_name(row), top + HEIGHT / 2))
        for column, some in here.items():
            for number, line in enumerate(some):
                x, y = lefts[column + 1] + (widths[column + 1] - _width(line)) / 2, top + number * (HEIGHT + GAP)
                for name, width in line:
                    boxes[name] = Box(x + width / 2, y + HEIGHT / 2, width, HEIGHT)
                    x += width + GAP
        top += max(map(len, here.values())) * (HEIGHT + GAP) - GAP + row_gap
    return Places(
        boxes,
        rows,
        list(zip(lefts[1:-1], (left - COLUMN_GAP for left in lefts[2:]), strict=True)),
        lefts[-1] - COLUMN_GAP + GAP,
        top - row_gap,
    )


def _lines(nodes: Sequence[tuple[str, float]], in_line: int | None) -> list[Sequence[tuple[str, float]]]:
    size = in_line or max(1, len(nodes))
    return [nodes[start : start + size] for start in range(0, len(nodes), size)]


def _width(nodes: Sequence[tuple[str, float]]) -> float:
    return sum(width for _, width in nodes) + GAP * (len(nodes) - 1)


def header(heading: str, *lines: str) -> list[Shape]:
    """A picture's title, and what is said below it."""
    found: list[Shape] = [Text(MARGIN, 30, heading, 17, bold=True)]
    return found + [Text(MARGIN, 48 + 15 * place, line, 10.5, QUIET) for place, line in enumerate(lines)]


def rules(places: Places) -> list[Shape]:
    """A thin line behind each row, with its name."""
    right, found = places.width + MARGIN, list[Shape]()
    for name, y in places.rows:
        line = y + HEADER
        found.append(Line(((MARGIN, line), (MARGIN, line), (right, line), (right, line)), FAINT, 0.5))
        found.append(Text(MARGIN, line - 4, name, 10, QUIET))
    return found


def legend(y: float, meanings: Sequence[tuple[str, str]], apart: float = 180.0) -> list[Shape]:
    """(colour, what it means) of links, in one line."""
    found, x = list[Shape](), MARGIN
    for colour, meaning in meanings:
        found += [Line(((x, y), (x, y), (x + 26, y), (x + 26, y)), colour, 2.5), Text(x + 32, y + 4, meaning, 11)]
        x += apart
    return found


def link(source: Box, target: Box, share: float, colour: str, tooltip: str) -> Line:
    """From the top of one node to the bottom of another, as wide and dark as its `share`, from 0 to 1, says."""
    start, end = (source.x, source.y - source.height / 2), (target.x, target.y + target.height / 2)
    bend = max(12.0, (start[1] - end[1]) / 2)
    return Line(
        (start, (start[0], start[1] - bend), (end[0], end[1] + bend), end),
        colour,
        round(THINNEST + (THICKEST - THINNEST) * share, 2),
        opacity=round(0.18 + 0.6 * share, 2),
        tooltip=tooltip,
    )
