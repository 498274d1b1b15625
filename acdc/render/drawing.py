"""The picture of a circuit by component: a laid out diagram as shapes, with what is written around it."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from acdc.artefacts.circuit import Circuit
from acdc.graph import ComponentGraph, ReaderKind
from acdc.options import Colouring, Legend
from acdc.render import fixed, legend
from acdc.render.diagram import Diagram, Link, Node, build_diagram
from acdc.render.layout import Box, Label, Layout, lay_out, rank_places
from acdc.render.look import PLAIN, Look
from acdc.render.shapes import DrawnLink, DrawnNode, Line, Picture, Point, Rectangle, Shape, Text, Words
from acdc.render.style import (
    ABSENT,
    FAINT,
    FAINT_TRUNK,
    GROUND,
    INK,
    PAPER,
    QUIET,
    TRUNK_COLOUR,
    advice,
    meanings,
    node_colours,
    subtitle,
    title,
    width_note,
    without_positions,
)

MARGIN, HEADER = 24.0, 62.0
DEEP, GUTTER, FOOT = 6, 130.0, 18.0  # layers; room for what is said of those that are left out
BOLD, LETTER = 9.4, 7.6  # of a letter of a heading and of other words, in the widest fonts that stand in for Helvetica
ROLE_PAD, THICK = 7.0, 3.0
PORT_SHARE = {ReaderKind.Q: -0.3, ReaderKind.K: 0.0, ReaderKind.V: 0.3}


def draw_by_component(circuit: Circuit, look: Look = PLAIN) -> Picture:
    """The effective circuit, with a title, a legend and each edge's score as a tooltip."""
    words = Words(
        title(circuit),
        without_positions(circuit) or subtitle(circuit),
        advice(circuit),
        width_note(circuit),
        "no edges: nothing is needed beyond the ablated run",
        meanings(circuit, look.colours is Colouring.input),
    )
    return compose(circuit.graph, build_diagram(circuit, look), words, look)


def compose(graph: ComponentGraph, diagram: Diagram, words: Words, look: Look = PLAIN) -> Picture:
    """A diagram under its header, with a legend at the right of it or below."""
    layout = fixed.place(diagram, graph) if look.fixed else lay_out(diagram, look.landscape)
    gaps = [] if look.fixed else _gaps(diagram, layout, graph.anatomy.n_layers)
    gutter, foot = (0.0, FOOT) if layout.turned else (GUTTER, 0.0)
    gutter, foot = (gutter, foot) if gaps else (0.0, 0.0)
    body = (layout.height, layout.width) if layout.turned else (layout.width, layout.height)
    legend_width = legend.width_of(words, diagram) if look.legend is Legend.right else 0.0
    texts = (
        max(BOLD * len(words.heading), LETTER * len(words.below), LETTER * len(words.warning)) if look.title else 0.0
    )
    width = max(gutter + body[0] + legend_width + (3 if legend_width else 2) * MARGIN, texts + 2 * MARGIN)
    top = HEADER + MARGIN + (20 if words.warning or look.fixed else 0) if look.title else MARGIN
    bottom = top + body[1] + foot
    meaning: list[Shape] = []
    if look.legend is Legend.right:
        meaning, end = legend.beside(words, diagram, width - legend_width - MARGIN, top + 10)
        bottom = max(bottom, end)
    elif look.legend is Legend.below:
        meaning, bottom = legend.below(words, diagram, width, bottom + 30)
    left = MARGIN + gutter
    drawn = _Drawn(diagram, layout, *((top, left) if layout.turned else (left, top)))
    missing = [] if diagram.links else [Text(MARGIN, top if diagram.nodes else top + 20, words.nothing)]
    left_out = [Text(left + x, top + y, text, 10.5, QUIET, centred=True) for x, y, text in gaps]
    return Picture(
        width=width,
        height=bottom + MARGIN,
        heading=words.heading,
        behind=(
            *(header(words) if look.title else ()),
            *meaning,
            *missing,
            *left_out,
            *drawn.role_boxes(),
            *drawn.trunks(),
        ),
        links=tuple(drawn.links()),
        nodes=tuple(drawn.nodes()),
    )


def _gaps(diagram: Diagram, layout: Layout, layers: int) -> list[tuple[float, float, str]]:
    """(x, y, text) between the ranks of a deep model's layers that others without a part lie between: at the left of
    the diagram, or where it is turned below it."""
    ranks = sorted({(layout.ranks[node.id], min((node.rank - 1) // 3, layers)) for node in diagram.nodes})
    if layers <= DEEP or not ranks:
        return []
    depth = next(iter(layout.boxes.values())).height
    places, found = rank_places(len(ranks), depth), []
    for (rank, layer), (_, below) in pairwise([(-1, -1), *ranks]):
        if below - layer > 1 and rank >= 0:
            which = f"{layer + 1}" if below - layer == 2 else f"{layer + 1} to {below - 1}"
            at = (places[rank] + places[rank + 1]) / 2
            text = f"layer {which} left out" if below - layer == 2 else f"layers {which} left out"
            found.append((at, layout.width + FOOT, text) if layout.turned else (-GUTTER / 2, at + 4, text))
    return found


def header(words: Words) -> list[Shape]:
    heading = Text(MARGIN, MARGIN + 12, words.heading, 17.0, bold=True)
    below = Text(MARGIN, MARGIN + 32, words.below, colour=QUIET)
    warning = Text(MARGIN, MARGIN + 52, words.warning, colour="#a34700")
    return [heading, below, warning] if words.warning else [heading, below]


class _Drawn:
    """A laid out diagram as shapes, moved by (left, top) before it is turned."""

    def __init__(self, diagram: Diagram, layout: Layout, left: float, top: float):
        def moved(box: Box) -> Box:
            return Box(box.x + left, box.y + top, box.width, box.height)

        self._diagram, self._turned = diagram, layout.turned
        self._ranks = layout.ranks
        self._boxes = {name: moved(box) for name, box in layout.boxes.items()}
        self._trunks = {slot: moved(box) for slot, box in layout.trunks.items()}
        self._labels = {label: moved(box) for label, box in layout.labels.items()}
        self._ports = self._find_ports()

    def nodes(self) -> list[DrawnNode]:
        drawn = []
        for node in self._diagram.nodes:
            box = self._seen(self._boxes[node.id])
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
        return self._points(points)

    def _seen(self, box: Box) -> Box:
        return Box(box.y, box.x, box.height, box.width) if self._turned else box

    def _points(self, points: Sequence[Point]) -> tuple[Point, ...]:
        return tuple((y, x) for x, y in points) if self._turned else tuple(points)

    def role_boxes(self) -> list[Shape]:
        """Around the heads of one role in one layer, with its name."""
        shapes: list[Shape] = []
        for label, box in sorted(self._labels.items(), key=lambda at: (at[0].rank, at[0].role)):
            right = max(b.x + b.width / 2 for b in self._of_role(label))
            left = box.x - box.width / 2
            around = Box((left + right) / 2, box.y, right - left + 2 * ROLE_PAD, box.height + 2 * ROLE_PAD)
            name = self._seen(box)
            shapes += [
                Rectangle(self._seen(around), GROUND, node_colours("attention", label.role)[1], 9, 0.8),
                Text(name.x, name.y + 3.5, label.text, 10.5, QUIET, centred=True),
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
        return Line(
            self._points((first, *_curve(first, last))), link.colour, link.width, link.dash, link.opacity, head, tooltip
        )


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
