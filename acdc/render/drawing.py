"""A picture as shapes with places and looks, before it is written: the same in SVG, DOT, PDF and PNG.

Points are (x, y) in points of a 72nd of an inch, y downwards.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.circuit import Circuit
from acdc.display import show
from acdc.graph import ComponentGraph, ReaderKind
from acdc.render import fixed
from acdc.render.diagram import Diagram, Link, Node, build_diagram
from acdc.render.layout import NODE_HEIGHT, Box, Label, Layout, lay_out
from acdc.render.look import PLAIN, Look
from acdc.render.style import (
    ABSENT,
    FAINT,
    FAINT_TRUNK,
    GROUND,
    INK,
    LEGEND,
    NODE_LABEL,
    PAPER,
    QUIET,
    ROLE_COLOURS,
    TRUNK_COLOUR,
    LineMeaning,
    advice,
    node_colours,
    subtitle,
    title,
)

MARGIN, HEADER, LEGEND_STEP, SAMPLE = 24.0, 62.0, 22.0, 36.0
BOLD, LETTER = 9.4, 7.6  # of a letter of a heading and of other words, in the widest fonts that stand in for Helvetica
ROLE_PAD, THICK = 7.0, 3.0
CARRIED = "output carried to later layers"
PORT_SHARE = {ReaderKind.Q: -0.3, ReaderKind.K: 0.0, ReaderKind.V: 0.3}

Point = tuple[float, float]


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
    size: float = 13.0
    colour: str = INK
    bold: bool = False
    centred: bool = False


Shape = Line | Rectangle | Text


@dataclass(frozen=True)
class DrawnNode:
    id: str
    rank: int
    outline: Rectangle
    label: Text


@dataclass(frozen=True)
class DrawnLink:
    """`edge`: the id of the edge that it stands for, where a page lets its reader choose edges."""

    source: str
    target: str
    line: Line
    edge: str = ""


@dataclass(frozen=True)
class Picture:
    """`behind` is drawn first: header, legend, trunks; then links, then nodes. Notebooks show it."""

    width: float
    height: float
    heading: str
    behind: tuple[Shape, ...]
    links: tuple[DrawnLink, ...]
    nodes: tuple[DrawnNode, ...]

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


def draw_by_component(circuit: Circuit, look: Look = PLAIN) -> Picture:
    """The effective circuit, with a title, a legend and each edge's score as a tooltip."""
    words = Words(
        title(circuit),
        subtitle(circuit),
        advice(circuit),
        "width grows with |score|",
        "no edges: nothing is needed beyond the ablated run",
        LEGEND,
    )
    return compose(circuit.graph, build_diagram(circuit, look), words, look)


def compose(graph: ComponentGraph, diagram: Diagram, words: Words, look: Look = PLAIN) -> Picture:
    """A diagram under its header, with a legend at the right."""
    layout = fixed.place(diagram, graph) if look.fixed else lay_out(diagram)
    legend_width = max(SAMPLE + LETTER * len(meaning) for meaning in (*(m.meaning for m in words.meanings), CARRIED))
    legend_width = max(legend_width, LETTER * len(words.note))
    texts = max(BOLD * len(words.heading), LETTER * len(words.below), LETTER * len(words.warning))
    width = max(layout.width + legend_width + 3 * MARGIN, texts + 2 * MARGIN)
    top = HEADER + MARGIN + (20 if words.warning or look.fixed else 0)  # the same whatever the circuit
    legend = _legend(words, diagram, width - legend_width - MARGIN, top + 10)
    bottom = max(shape.y for shape in legend if isinstance(shape, Text)) + 10
    drawn = _Drawn(diagram, layout, MARGIN, top)
    missing = [] if diagram.links else [Text(MARGIN, top if diagram.nodes else top + 20, words.nothing)]
    return Picture(
        width=width,
        height=max(layout.height + top, bottom) + MARGIN,
        heading=words.heading,
        behind=(*_header(words), *legend, *missing, *drawn.role_boxes(), *drawn.trunks()),
        links=tuple(drawn.links()),
        nodes=tuple(drawn.nodes()),
    )


def _header(words: Words) -> list[Shape]:
    heading = Text(MARGIN, MARGIN + 12, words.heading, 17.0, bold=True)
    below = Text(MARGIN, MARGIN + 32, words.below, colour=QUIET)
    warning = Text(MARGIN, MARGIN + 52, words.warning, colour="#a34700")
    return [heading, below, warning] if words.warning else [heading, below]


class _Drawn:
    """A laid out diagram as shapes, moved by (left, top)."""

    def __init__(self, diagram: Diagram, layout: Layout, left: float, top: float):
        def moved(box: Box) -> Box:
            return Box(box.x + left, box.y + top, box.width, box.height)

        self._diagram = diagram
        self._ranks = layout.ranks
        self._boxes = {name: moved(box) for name, box in layout.boxes.items()}
        self._trunks = {slot: moved(box) for slot, box in layout.trunks.items()}
        self._labels = {label: moved(box) for label, box in layout.labels.items()}
        self._ports = self._find_ports()

    def nodes(self) -> list[DrawnNode]:
        drawn = []
        for node in self._diagram.nodes:
            box = self._boxes[node.id]
            label = Text(box.x, box.y + 4.5, node.label, colour=INK if node.present else ABSENT, centred=True)
            drawn.append(DrawnNode(node.id, node.rank, _outline(node, box), label))
        return drawn

    def links(self) -> list[DrawnLink]:
        """Thin ones over thick ones; of very many, strong ones over weak ones."""
        upwards = 1 if self._diagram.is_crowded else -1
        ordered = sorted(self._diagram.links, key=lambda link: upwards * link.width)
        return [DrawnLink(link.source, link.target, self._line(link)) for link in ordered]

    def trunks(self) -> list[Line]:
        """Each a line from its writer down to where its last link leaves."""
        strongest: dict[str, float] = defaultdict(float)
        for link in self._diagram.links:
            strongest[link.source] = max(strongest[link.source], link.width)
        lowest = dict(sorted(self._trunks))
        thinner, colour = (0.4, FAINT_TRUNK) if self._diagram.is_crowded else (0.6, TRUNK_COLOUR)
        return [
            Line(self._way(source, rank), colour, thinner * strongest[source] + 0.8, tooltip=f"output of {source}")
            for source, rank in lowest.items()
        ]

    def _way(self, source: str, lowest: int) -> tuple[Point, ...]:
        box = self._boxes[source]
        x, y = box.x, box.y + box.height / 2
        points = [(x, y)]
        for rank in range(self._ranks[source] + 1, lowest + 1):
            slot = self._trunks[source, rank]
            top, bottom = slot.y - slot.height / 2, slot.y + slot.height / 2
            points += _curve((x, y), (slot.x, top)) + _curve((slot.x, top), (slot.x, bottom))
            x, y = slot.x, bottom
        return tuple(points)

    def role_boxes(self) -> list[Shape]:
        """Around the heads of one role in one layer, with its name."""
        shapes: list[Shape] = []
        for label, box in sorted(self._labels.items(), key=lambda at: (at[0].rank, at[0].role)):
            right = max(b.x + b.width / 2 for b in self._of_role(label))
            left = box.x - box.width / 2
            around = Box((left + right) / 2, box.y, right - left + 2 * ROLE_PAD, NODE_HEIGHT + 2 * ROLE_PAD)
            shapes += [
                Rectangle(around, GROUND, node_colours("attention", label.role)[1], 9, 0.8),
                Text(box.x, box.y + 3.5, label.text, 10.5, QUIET, centred=True),
            ]
        return shapes

    def _of_role(self, label: Label) -> list[Box]:
        nodes = self._diagram.nodes
        return [self._boxes[n.id] for n in nodes if n.role == label.role and self._ranks[n.id] == label.rank]

    def _leaves(self, link: Link) -> Box:
        """What the drawn part of a link starts from: its source, or the source's trunk above the target."""
        rank = self._ranks[link.target] - 1
        return self._boxes[link.source] if self._ranks[link.source] == rank else self._trunks[link.source, rank]

    def _find_ports(self) -> dict[Link, float]:
        """Where along a target's top each link arrives: q, k and v of a head apart, others by where they come from."""
        arriving: dict[str, list[Link]] = defaultdict(list)
        ports = {}
        for link in self._diagram.links:
            box = self._boxes[link.target]
            if link.port in PORT_SHARE and not link.target.endswith(">"):
                ports[link] = box.x + PORT_SHARE[link.port] * box.width
            else:
                arriving[link.target].append(link)
        for target, links in arriving.items():
            box = self._boxes[target]
            links.sort(key=lambda link: (self._leaves(link).x, link.source))
            for i, link in enumerate(links):
                ports[link] = box.x + box.width * 0.8 * ((i + 0.5) / len(links) - 0.5)
        return ports

    def _line(self, link: Link) -> Line:
        start, target = self._leaves(link), self._boxes[link.target]
        first, last = (start.x, start.y + start.height / 2), (self._ports[link], target.y - target.height / 2)
        head = (9.0 if link.width > THICK else 6.0) if self._diagram.is_crowded else 12.0 if link.width > THICK else 8.0
        last = (last[0], last[1] - head)
        tooltip = link.tooltip or "shared slot"
        return Line((first, *_curve(first, last)), link.colour, link.width, link.dash, link.opacity, head, tooltip)


def _outline(node: Node, box: Box) -> Rectangle:
    radius = 12 if node.kind == "slot" else 6
    fill, line = node_colours("attention" if node.kind == "slot" else node.kind, node.role)
    fill = PAPER if node.kind == "slot" else fill
    if not node.present:
        return Rectangle(box, PAPER, FAINT, radius, 0.8)
    if node.mark:
        return Rectangle(box, fill, node.mark.colour, radius, 2.2, node.mark.dash)
    return Rectangle(box, fill, line, radius)


def _curve(start: Point, end: Point) -> list[Point]:
    """The last three points of a curve that leaves downwards and arrives downwards."""
    middle = (start[1] + end[1]) / 2
    return [(start[0], middle), (end[0], middle), end]


def _legend(words: Words, diagram: Diagram, x: float, y: float) -> list[Shape]:
    roles = {node.role for node in diagram.nodes if node.role}
    looks = [(*node_colours(kind), label) for kind, label in NODE_LABEL.items()]
    looks[2:2] = [(*colours, role) for role, colours in ROLE_COLOURS.items() if role in roles]
    shapes: list[Shape] = []
    for fill, line, label in looks:
        shapes += [Rectangle(Box(x + 13, y - 3, 26, 14), fill, line, 4), Text(x + SAMPLE, y + 2, label)]
        y += LEGEND_STEP
    for meaning in words.meanings:
        shapes.append(_sample(x, y, meaning.colour, 2.4, meaning.dash))
        shapes.append(Text(x + SAMPLE, y + 2, meaning.meaning))
        y += LEGEND_STEP
    shapes += [_sample(x, y, TRUNK_COLOUR, 3.0), Text(x + SAMPLE, y + 2, CARRIED)]
    if words.note:
        shapes.append(Text(x, y + 4 + LEGEND_STEP, words.note, colour=QUIET))
    return shapes


def _sample(x: float, y: float, colour: str, width: float, dash: str = "solid") -> Line:
    start, end = (x, y - 3), (x + 26, y - 3)
    return Line((start, (x + 9, y - 3), (x + 17, y - 3), end), colour, width, dash)
