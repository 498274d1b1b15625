"""How lines get past the nodes between their ends: as one curve, or where a node stands in its way, as joined curves
through the gaps beside nodes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from acdc.render.layout import NODE_HEIGHT, Box
from acdc.render.shapes import Point

CLEAR, PASSING, APART = 4.0, 4.0, 3.0  # from a node at the side and above, and between lines beside one node
STEPS = 128


@dataclass(frozen=True)
class Way:
    """A line that leaves `start` downwards and arrives at `end` downwards; lines of one `owner` may lie on another."""

    owner: str
    start: Point
    end: Point


@dataclass(frozen=True)
class _Passage:
    """Beside a node in a row: `side` is 1 right of it and -1 left of it, `room` the width of the gap there."""

    row: float
    x: float
    side: int
    room: float


class Ways:
    """Past these nodes, which stand in rows."""

    def __init__(self, boxes: Iterable[Box]):
        self._taken: dict[float, list[tuple[float, float]]] = defaultdict(list)
        for box in sorted(boxes, key=lambda box: (box.y, box.x)):
            self._taken[box.y].append((box.x - box.width / 2 - CLEAR, box.x + box.width / 2 + CLEAR))

    def curves(self, ways: Sequence[Way]) -> list[tuple[Point, ...]]:
        """Joined cubic Bézier curves, [3 n + 1 points] for each of the ways."""
        found = [self._passages(way.start, way.end) for way in ways]
        beside: dict[_Passage, dict[str, None]] = defaultdict(dict)
        for way, passages in sorted(zip(ways, found, strict=True), key=lambda one: (one[0].start, one[0].owner)):
            for passage in passages:
                beside[passage][way.owner] = None
        lanes = {passage: list(owners) for passage, owners in beside.items()}
        drawn = []
        for way, passages in zip(ways, found, strict=True):
            points = [way.start]
            for passage in passages:
                owners = lanes[passage]
                apart = min(APART, passage.room / 2 / len(owners))
                x = passage.x + passage.side * apart * owners.index(way.owner)
                above, below = _past(passage.row, x)
                points += [*_curve(points[-1], above), *_curve(above, below)]
            drawn.append((*points, *_curve(points[-1], way.end)))
        return drawn

    def _passages(self, start: Point, end: Point) -> list[_Passage]:
        """None where one curve meets no node; else past the node that is most in its way, and before and after it."""
        most, worst = 0.0, None
        for row in self._taken:
            if start[1] < row < end[1]:
                half = NODE_HEIGHT / 2
                passage, shift = self._beside(row, _across(start, end, row - half), _across(start, end, row + half))
                if passage is not None and shift >= most:
                    most, worst = shift, passage
        if worst is None:
            return []
        above, below = _past(worst.row, worst.x)
        return [*self._passages(start, above), worst, *self._passages(below, end)]

    def _beside(self, row: float, first: float, last: float) -> tuple[_Passage | None, float]:
        """The passage that is nearest to a line between two places, and how far it is; none where no node is between
        them."""
        taken, (low, high), middle = self._taken[row], sorted((first, last)), (first + last) / 2
        nearest, shift = None, float("inf")
        for place, (left, right) in enumerate(taken):
            if right <= low or left >= high:
                continue
            before = left - taken[place - 1][1] if place else float("inf")
            after = taken[place + 1][0] - right if place + 1 < len(taken) else float("inf")
            for passage in (_Passage(row, left, -1, before), _Passage(row, right, 1, after)):
                if abs(passage.x - middle) < shift:
                    nearest, shift = passage, abs(passage.x - middle)
        return nearest, shift if nearest else 0.0


def _past(row: float, x: float) -> tuple[Point, Point]:
    half = NODE_HEIGHT / 2 + PASSING
    return (x, row - half), (x, row + half)


def _curve(start: Point, end: Point) -> tuple[Point, Point, Point]:
    middle = (start[1] + end[1]) / 2
    return (start[0], middle), (end[0], middle), end


def _shares() -> list[float]:
    """How far across such a curve is, by how far down it is."""
    found, t = [], 0.0
    for step in range(STEPS + 1):
        while 1.5 * t * (1 - t) + t**3 < step / STEPS and t < 1:
            t += 1 / (8 * STEPS)
        found.append(min(1.0, 3 * t**2 - 2 * t**3))
    return found


_SHARES = _shares()


def _across(start: Point, end: Point, y: float) -> float:
    down = STEPS * min(1.0, max(0.0, (y - start[1]) / (end[1] - start[1])))
    step = min(int(down), STEPS - 1)
    share = _SHARES[step] + (down - step) * (_SHARES[step + 1] - _SHARES[step])
    return start[0] + (end[0] - start[0]) * share
