"""The shapes that a picture is made of, before it is written: the same in SVG, DOT, PDF and PNG.

Points are (x, y) in points of a 72nd of an inch, y downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acdc.display import show
from acdc.render.layout import Box
from acdc.render.style import INK, LineMeaning

Point = tuple[float, float]
MILLIMETRE = 72 / 25.4  # in points
LABEL = 13.0  # points that a label has, as it is drawn


@dataclass(frozen=True)
class Line:
    """Joined cubic Bézier curves [3 n + 1 points], and below their end an arrowhead of so many points, if any."""

    points: tuple[Point, ...]
    colour: str
    width: float
    dash: str = "solid"
    opacity: float = 1.0
    head: float = 0.0
    tooltip: str = ""


@dataclass(frozen=True)
class Rectangle:
    """Of so large corners, around a centre."""

    box: Box
    fill: str
    line: str
    radius: float
    stroke: float = 1.4
    dash: str = "solid"
    tooltip: str = ""


@dataclass(frozen=True)
class Text:
    """One line; `x` is its start, or where `centred` its middle, `y` its baseline."""

    x: float
    y: float
    text: str
    size: float = LABEL
    colour: str = INK
    bold: bool = False
    centred: bool = False


Shape = Line | Rectangle | Text


@dataclass(frozen=True)
class DrawnNode:
    """`page`: what it leads to, where the picture is part of a page."""

    id: str
    rank: int
    outline: Rectangle
    label: Text
    page: str = ""


@dataclass(frozen=True)
class DrawnLink:
    """`edge`: the id of the edge that it stands for, where a page lets its reader choose edges."""

    source: str
    target: str
    line: Line
    edge: str = ""


@dataclass(frozen=True)
class Picture:
    """`behind` is drawn first: header, legend, trunks; then links, then nodes. Notebooks show it. `on_paper`: its size
    was asked for, so that files say it in units of length."""

    width: float
    height: float
    heading: str
    behind: tuple[Shape, ...]
    links: tuple[DrawnLink, ...]
    nodes: tuple[DrawnNode, ...]
    on_paper: bool = False

    def save(self, path: str | Path) -> None:
        """Write it as the suffix says: .svg, .dot, or through Graphviz .pdf or .png. Raises InputError for another
        suffix, and where Graphviz is needed and not there."""
        show("picture in a file", self, Path(path))

    def __repr__(self) -> str:
        return f"<Picture: {self.heading}>"

    def _repr_svg_(self) -> str:
        return str(show("picture as SVG", self))


@dataclass(frozen=True)
class Words:
    """All that is written beside a diagram. `nothing` stands in the place of one without links."""

    heading: str
    below: str
    warning: str
    note: str
    nothing: str
    meanings: Sequence[LineMeaning]
