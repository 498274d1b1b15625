"""A heat map as a picture: layers or heads downwards, places or heads to the right, colours around 0."""

from collections.abc import Iterator
from math import ceil, floor, log10

from acdc.artefacts.patching import PatchMap, PatchRecord
from acdc.render.layout import Box
from acdc.render.patching.words import convention, heading, name_of, said, sentence, what
from acdc.render.shapes import DrawnNode, Picture, Rectangle, Shape, Text
from acdc.render.style import FAINT, INK, PAPER, QUIET

MARGIN, HEADER, GAP = 24.0, 104.0, 10.0
LETTER, BOLD = 0.56, 0.62  # of a letter of a font's size
SMALL, HEADING, LABEL = 12.0, 17.0, 11.0
ROW, DENSE_ROW, DENSE = 20.0, 13.0, 64  # height of a row, and where there are more than so many
NARROWEST, WIDEST, ONLY_COLOUR = 26.0, 96.0, 24  # widths of columns; more columns than that show no numbers
SCALE_WIDTH, SCALE_STEPS, SCALE_HEIGHT = 30.0, 9, 16.0
LEAST = 0.05  # that the end of a scale is: what is smaller is pale in every picture
COLD, WARM = (0x00, 0x4C, 0x8C), (0xB3, 0x3A, 0x00)  # above and below 0, told apart by all eyes
UNSEEN = 0.02  # of the scale: what is smaller has no number
STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)  # that a scale may end at, times a power of ten
DARK = 0.5  # of the scale: numbers on it are white
GONE = "…"


def draw(one: PatchMap, record: PatchRecord) -> Picture:
    """The picture of one map, with its colour scale; cells tell their values when pointed at."""
    grid = _Grid(one)
    title, lines = sentence(name_of(one)), [f"{heading(record)}: {what(record)}", convention(one, record)]
    width = max(
        grid.right + MARGIN,
        2 * MARGIN + BOLD * HEADING * len(title),
        *(2 * MARGIN + LETTER * SMALL * len(line) for line in lines),
        2 * MARGIN + SCALE_STEPS * SCALE_WIDTH,
    )
    scale_top = grid.bottom + 34
    behind: list[Shape] = [
        Text(MARGIN, 34, title, HEADING, bold=True),
        *(Text(MARGIN, 54 + 17 * place, line, SMALL, QUIET) for place, line in enumerate(lines)),
        *grid.axes(),
        *grid.cells(),
    ]
    return Picture(
        width, scale_top + SCALE_HEIGHT + MARGIN, title, tuple(behind), (), tuple(_scale(grid.limit, scale_top))
    )


class _Grid:
    """Where the cells of a map are."""

    def __init__(self, one: PatchMap):
        self.map, self.limit = one, scale_end(one)
        self.dense = len(one.rows) > DENSE
        self.height = DENSE_ROW if self.dense else ROW
        self.size = min(LABEL, self.height - 3)
        longest = max(map(len, one.columns))
        self.width = min(WIDEST, max(NARROWEST, LETTER * LABEL * longest + 8))
        self.numbers = not self.dense and len(one.columns) <= ONLY_COLOUR
        self.width = max(self.width, 36.0) if self.numbers else self.width
        self.left = MARGIN + max(LETTER * self.size * max(map(len, one.rows)), LETTER * LABEL * len(one.row_kind)) + GAP
        self.right = self.left + self.width * len(one.columns)
        self.top = HEADER + 14
        self.bottom = self.top + self.height * len(one.rows)

    def axes(self) -> Iterator[Shape]:
        """What rows and columns are, and the name of each."""
        yield Text(MARGIN, self.top - 6, self.map.row_kind, LABEL, QUIET)
        yield Text(self.left, self.top - 21, self.map.column_kind, LABEL, QUIET)
        for place, name in enumerate(self.map.columns):
            yield Text(self.x(place), self.top - 6, self.fitting(name), LABEL, centred=True)
        for place, name in enumerate(self.map.rows):
            start = self.left - GAP - LETTER * self.size * len(name)
            yield Text(start, self.y(place) + self.size * 0.36, name, self.size)

    def fitting(self, name: str) -> str:
        most = int((self.width - 4) / (LETTER * LABEL))
        return name if len(name) <= most else name[: most - 1] + GONE

    def cells(self) -> Iterator[Shape]:
        columns = len(self.map.columns)
        for place, (row, column, metric, effect) in enumerate(self.map.cells()):
            x, y = self.x(place % columns), self.y(place // columns)
            fill = FAINT if effect is None else colour(effect / self.limit)
            tooltip = said(self.map, row, column, metric, effect)
            yield Rectangle(Box(x, y, self.width, self.height), fill, FAINT, 0, 0.5, tooltip=tooltip)
            if self.numbers and effect is not None and abs(effect) >= UNSEEN * self.limit:
                ink = PAPER if abs(effect) / self.limit > DARK else INK
                yield Text(x, y + 3.6, f"{effect:.2f}".replace("-", "\N{MINUS SIGN}"), 10, ink, centred=True)

    def x(self, column: int) -> float:
        return self.left + self.width * (column + 0.5)

    def y(self, row: int) -> float:
        return self.top + self.height * (row + 0.5)


def scale_end(one: PatchMap) -> float:
    """The |effect| that has the full colour: the largest, rounded up."""
    largest = max((abs(effect) for *_, effect in one.cells() if effect is not None), default=0.0)
    if largest <= LEAST:
        return LEAST
    power = 10.0 ** floor(log10(largest))
    return next(base * power for base in STEPS if round(largest / power, 9) <= base)


def colour(share: float) -> str:
    """White at 0, and darker towards 1 and -1."""
    strength, end = min(1.0, abs(share)), COLD if share > 0 else WARM
    return "#" + "".join(f"{ceil(255 + strength**0.8 * (part - 255)):02x}" for part in end)


def _scale(limit: float, top: float) -> Iterator[DrawnNode]:
    """The colours from the least to the largest effect; the ends and the middle say what they are."""
    for step in range(SCALE_STEPS):
        share = 2 * step / (SCALE_STEPS - 1) - 1
        box = Box(MARGIN + SCALE_WIDTH * (step + 0.5), top + SCALE_HEIGHT / 2, SCALE_WIDTH, SCALE_HEIGHT)
        label = f"{limit * share:g}".replace("-", "\N{MINUS SIGN}") if step % 4 == 0 else ""
        text = Text(box.x, box.y + 4, label, LABEL, PAPER if abs(share) > DARK else INK, centred=True)
        yield DrawnNode(f"scale{step}", 0, Rectangle(box, colour(share), FAINT, 0, 0.6), text)
