"""A picture as DOT text: nodes and edges of the circuit with the places and curves that every other format has too.

`layout=nop2` makes Graphviz keep these (layers as ranks, one place for every node), so that thousands of edges take
it no longer than to write them. What is no node and no line of an edge is the graph's `_background`: header, legend,
trunks, and arrowheads, as those of Graphviz grow with a line's width, and not in every version alike.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import graphviz

from acdc.artefacts.circuit import Circuit
from acdc.errors import visible
from acdc.render.layout import Box
from acdc.render.look import PLAIN, Look
from acdc.render.shapes import LABEL, DrawnLink, DrawnNode, Line, Picture, Point, Rectangle, Shape, Text
from acdc.render.style import PAPER
from acdc.render.views import draw

FONT = "Helvetica"
INCH = 72.0
LONGEST = 8000  # bytes of one string
HALF_ARROW = 0.5  # of an arrowhead's length
CORNER = 0.55  # how far controls are along a corner that is about a quarter of a circle


def to_dot(circuit: Circuit, look: Look = PLAIN) -> str:
    """DOT text of the effective circuit. Scores stand in the edges' tooltips."""
    return write(draw(circuit, look))


def write(picture: Picture, dots: float | None = None) -> str:
    """DOT text of a picture; `dots` per inch are for formats that have dots."""
    up = _Upwards(picture.height)
    dot = graphviz.Digraph("circuit")
    whole = f"0,0,{picture.width:.1f},{picture.height:.1f}"
    dot.attr(layout="nop2", rankdir="TB", bgcolor=PAPER, pad="0", margin="0", bb=whole)  # PDF has a margin by default
    if dots:
        dot.attr(dpi=f"{dots:.4g}")
    paper = Rectangle(Box(picture.width / 2, picture.height / 2, picture.width, picture.height), PAPER, PAPER, 0)
    behind = [up.background(shape) for shape in (paper, *picture.behind)]
    dot.body.append(_joined("_background", behind + [up.arrowhead(link.line) for link in picture.links]))
    dot.attr("edge", arrowhead="none")
    dot.attr("node", shape="box", fixedsize="true", fontname=FONT, fontsize=f"{LABEL:g}")
    for rank, nodes in groupby(picture.nodes, key=lambda node: node.rank):
        with dot.subgraph(name=f"rank {rank}") as same:
            same.attr(rank="same")
            for node in nodes:
                same.node(quote(node.id), **up.node(node))
    for link in picture.links:
        dot.edge(quote(link.source), quote(link.target), **up.edge(link))
    return dot.source


def _joined(attribute: str, parts: Sequence[str]) -> str:
    """An attribute line with its value cut into strings, as Graphviz 2 reads none of more than 16,384 bytes."""
    strings, size = [""], 0
    for part in parts:
        size += len(part.encode())
        if size > LONGEST:
            strings.append("")
            size = len(part.encode())
        strings[-1] += f"{part} "
    return f"\t{attribute}=" + " +\n\t\t".join(map(graphviz.quoting.quote, strings)) + "\n"


def quote(name: str) -> str:
    """Node names without the characters that DOT reads as markup or ports."""
    return name.replace("<", "_").replace(">", "")


class _Upwards:
    """Shapes as Graphviz's attributes and xdot operations, which have y upwards from the foot of the picture."""

    def __init__(self, height: float):
        self._height = height

    def node(self, node: DrawnNode) -> dict[str, str]:
        outline, box = node.outline, node.outline.box
        return {
            "label": visible(node.label.text),
            "pos": self._at((box.x, box.y), ","),
            "width": f"{box.width / INCH:.3f}",
            "height": f"{box.height / INCH:.3f}",
            "fillcolor": outline.fill,
            "color": outline.line,
            "penwidth": f"{outline.stroke:g}",
            "style": f"filled,rounded,{outline.dash}",
            "fontcolor": node.label.colour,
            **({} if node.label.size == LABEL else {"fontsize": f"{node.label.size:.4g}"}),
        }

    def edge(self, link: DrawnLink) -> dict[str, str]:
        line = link.line
        return {
            "pos": " ".join(self._at(point, ",") for point in line.points),
            "color": _colour(line),
            "penwidth": f"{line.width:g}",
            "style": line.dash,
            "tooltip": visible(line.tooltip),
        }

    def background(self, shape: Shape) -> str:
        """Operations that draw a shape."""
        match shape:
            case Line():
                pen = f"c {_said(shape.colour)} S {_said(shape.dash)} S {_said(f'setlinewidth({shape.width:.4g})')}"
                return f"{pen} B {len(shape.points)} {' '.join(map(self._at, shape.points))}"
            case Rectangle():
                corners = list(_rounded(shape.box, shape.radius))
                pen = f"C {_said(shape.fill)} c {_said(shape.line)} S {_said('solid')}"
                stroke = _said(f"setlinewidth({shape.stroke:g})")
                return f"{pen} S {stroke} b {len(corners)} {' '.join(map(self._at, corners))}"
            case Text():
                font = f"F {shape.size:g} {_said(FONT)} t {int(shape.bold)} c {_said(shape.colour)}"
                width = len(shape.text) * shape.size / 2
                words = _said(visible(shape.text).replace("\\", "/"))
                return f"{font} T {self._at((shape.x, shape.y))} {0 if shape.centred else -1} {width:.0f} {words}"

    def arrowhead(self, line: Line) -> str:
        """Operations that draw the arrowhead beyond a line's end."""
        (x, y), half, length = line.points[-1], HALF_ARROW * line.head, line.head
        if line.points[-2][1] == y:  # into a node at the right
            corners = ((x, y - half), (x, y + half), (x + length, y))
        else:
            corners = ((x - half, y), (x + half, y), (x, y + length))
        colour = _said(_colour(line))
        return f"C {colour} c {colour} S {_said('setlinewidth(0)')} P 3 {' '.join(map(self._at, corners))}"

    def _at(self, point: Point, between: str = " ") -> str:
        return f"{point[0]:.1f}{between}{self._height - point[1]:.1f}"


def _colour(line: Line) -> str:
    return f"{line.colour}{round(255 * line.opacity):02x}"


def _said(text: str) -> str:
    """A string as xdot has it, with its length in bytes."""
    return f"{len(text.encode())} -{text}"


def _rounded(box: Box, radius: float) -> Iterator[Point]:
    """The curves around a rectangle, clockwise from the end of its upper left corner."""
    left, right = box.x - box.width / 2, box.x + box.width / 2
    top, bottom = box.y - box.height / 2, box.y + box.height / 2
    yield left + radius, top
    for x, y, across, along in ((right, top, -1, 1), (right, bottom, -1, -1), (left, bottom, 1, -1), (left, top, 1, 1)):
        horizontal, vertical = (x + across * radius, y), (x, y + along * radius)
        first, last = (horizontal, vertical) if across * along < 0 else (vertical, horizontal)
        yield from (first, first, first)
        yield _between(first, (x, y))
        yield _between(last, (x, y))
        yield last


def _between(start: Point, corner: Point) -> Point:
    return start[0] + CORNER * (corner[0] - start[0]), start[1] + CORNER * (corner[1] - start[1])
