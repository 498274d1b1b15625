"""A circuit of edges at spans of the prompts: spans are columns, in the order of the prompts, and layers rows.

A component stands in the column of every span at which it is part of the circuit. Keys and values lead from one column
to another, everything else stays in its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from acdc.artefacts.circuit import Circuit, ScoredEdge
from acdc.graph import Edge, ReaderKind, Writer, WriterKind
from acdc.render.drawing import DrawnLink, DrawnNode, Line, Picture, Point, Rectangle, Shape, Text
from acdc.render.layout import NODE_HEIGHT, Box
from acdc.render.style import EDGE_COLOUR, FAINT, INK, LEGEND, QUIET, EdgeStyle, node_colours, subtitle, title

MARGIN, HEADER, ROW, NODE, GAP, COLUMN_GAP, LETTER = 24.0, 92.0, 64.0, 58.0, 8.0, 28.0, 8.0
SAMPLE, LEGEND_WIDTH = 34.0, 250.0
PORTS = {ReaderKind.Q: -0.3, ReaderKind.K: 0.0, ReaderKind.V: 0.3}
KINDS = {WriterKind.HEAD: "attention", WriterKind.MLP: "mlp"}

At = tuple[str, str]  # a component and its span


@dataclass(frozen=True)
class _Link:
    """An edge between two components at spans; `port`: through which input it arrives."""

    source: At
    target: At
    port: ReaderKind
    scored: ScoredEdge


def draw_by_span(circuit: Circuit, most: int) -> Picture:
    """The picture of a circuit that has spans, with at most so many of its strongest edges."""
    assert circuit.spans is not None
    edges = sorted(circuit.positions, key=lambda edge: (-abs(edge.score), edge.id))[:most]
    links = [link for scored in edges for link in _links(circuit, scored)]
    layout = _Layout(circuit.spans.names, {at for link in links for at in (link.source, link.target)})
    style = EdgeStyle(circuit, edges)
    width = max(layout.width + LEGEND_WIDTH + 3 * MARGIN, LETTER * len(title(circuit)) + 2 * MARGIN)
    return Picture(
        width=width,
        height=layout.height + MARGIN,
        heading=title(circuit),
        behind=(*_header(circuit), *layout.columns(), *_legend(width - LEGEND_WIDTH - MARGIN)),
        links=tuple(
            DrawnLink("@".join(link.source), "@".join(link.target), layout.line(link, style)) for link in links
        ),
        nodes=tuple(layout.nodes()),
    )


def _links(circuit: Circuit, scored: ScoredEdge) -> Iterable[_Link]:
    """What is drawn of a positional edge: one line for each component that its slot belongs to."""
    left, right = scored.id.split("->")
    (writer, source), (slot, span) = left.split("@"), right.split("@")
    reader = Edge.parse(f"{writer}->{slot}").reader
    owners = [owner.id for owner in circuit.graph.owners(reader)] or [slot]
    return (_Link((writer, source), (owner, span), reader.kind, scored) for owner in owners)


class _Layout:
    """Where everything stands."""

    def __init__(self, spans: Sequence[str], nodes: Iterable[At]):
        self._spans = spans
        cells: dict[tuple[int, str], list[str]] = defaultdict(list)
        for component, span in nodes:
            cells[_rank(component), span].append(component)
        ranks = sorted({rank for rank, _ in cells})
        most = {span: max((len(own) for (_, at), own in cells.items() if at == span), default=1) for span in spans}
        self._left, x = {}, MARGIN
        for span in spans:
            self._left[span] = x
            x += max(most[span] * (NODE + GAP), LETTER * len(span)) + COLUMN_GAP
        self._most, self.width, self.height = most, x - COLUMN_GAP, HEADER + 30 + len(ranks) * ROW
        self._boxes: dict[At, Box] = {}
        for (rank, span), components in sorted(cells.items()):
            y = HEADER + 40 + ranks.index(rank) * ROW
            inset = (most[span] - len(components)) * (NODE + GAP) / 2
            for place, component in enumerate(sorted(components, key=_by_head)):
                left = self._left[span] + inset + place * (NODE + GAP)
                self._boxes[component, span] = Box(left + NODE / 2, y, NODE)

    def columns(self) -> list[Shape]:
        """The name of each span over its column."""
        shapes: list[Shape] = []
        for span in self._spans:
            wide = max(self._most[span] * (NODE + GAP), LETTER * len(span))
            middle = self._left[span] + wide / 2 - GAP / 2
            height = self.height - HEADER + 10
            around = Box(middle, HEADER + height / 2 - 8, wide + COLUMN_GAP / 2, height)
            shapes += [
                Rectangle(around, "#f7f9fb", FAINT, 6, 0.8),
                Text(middle, HEADER + 8, span, bold=True, centred=True),
            ]
        return shapes

    def nodes(self) -> list[DrawnNode]:
        drawn = []
        for (component, span), box in self._boxes.items():
            fill, line = node_colours(_kind(component))
            label = Text(box.x, box.y + 4.5, component, 11.0, centred=True)
            drawn.append(DrawnNode(f"{component}@{span}", _rank(component), Rectangle(box, fill, line, 6), label))
        return drawn

    def line(self, link: _Link, style: EdgeStyle) -> Line:
        start, end = self._boxes[link.source], self._boxes[link.target]
        first = (start.x, start.y + NODE_HEIGHT / 2)
        last = (end.x + PORTS.get(link.port, 0.0) * end.width, end.y - NODE_HEIGHT / 2 - 8.0)
        middle = (first[1] + last[1]) / 2
        points: tuple[Point, ...] = (first, (first[0], middle), (last[0], middle), last)
        dash = "dashed" if style.opposes(link.scored) else "solid"
        score, colour = link.scored.score, EDGE_COLOUR[link.port]
        tooltip = f"{link.scored.id}: {score:+.4g}"
        return Line(points, colour, style.width(score), dash, style.opacity(score), 8.0, tooltip)


def _writer(component: str) -> Writer | None:
    """None for the logits."""
    return None if component == "logits" else Edge.parse(f"{component}->logits").writer


def _kind(component: str) -> str:
    writer = _writer(component)
    return "logits" if writer is None else KINDS.get(writer.kind, "embedding")


def _rank(component: str) -> int:
    """Embeddings first, then by layer attention and MLP, the logits last."""
    writer = _writer(component)
    if writer is None:
        return 10**9
    return -1 if writer.kind not in KINDS else 2 * writer.layer + (writer.kind is WriterKind.MLP)


def _by_head(component: str) -> tuple[int, str]:
    writer = _writer(component)
    return (-1 if writer is None else writer.head, component)


def _header(circuit: Circuit) -> list[Shape]:
    return [
        Text(MARGIN, MARGIN + 12, title(circuit), 17.0, bold=True),
        Text(MARGIN, MARGIN + 32, subtitle(circuit), colour=QUIET),
    ]


def _legend(x: float) -> list[Shape]:
    shapes: list[Shape] = []
    for place, meaning in enumerate(LEGEND):
        y = HEADER + 22.0 * place
        ends: tuple[Point, ...] = ((x, y), (x + 9, y), (x + 17, y), (x + 26, y))
        shapes += [Line(ends, meaning.colour, 2.4, meaning.dash), Text(x + SAMPLE, y + 4, meaning.meaning, colour=INK)]
    return shapes
