"""A circuit of edges at spans of the prompts: spans are columns, in the order of the prompts, and layers rows.

A component stands in the column of every span at which it is part of the circuit. Keys and values lead from one column
to another, everything else stays in its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from acdc.artefacts.circuit import Circuit, ScoredEdge
from acdc.graph import Edge, ReaderKind, WriterKind
from acdc.render.columns import At, Columns, rank_of, writer_of
from acdc.render.layout import NODE_HEIGHT
from acdc.render.shapes import DrawnLink, DrawnNode, Line, Picture, Rectangle, Shape, Text
from acdc.render.style import (
    EDGE_COLOUR,
    FAINT,
    GROUND,
    LEGEND,
    PAPER,
    QUIET,
    EdgeStyle,
    LineMeaning,
    node_colours,
    subtitle,
    title,
)
from acdc.render.ways import Way, Ways

MOST_DRAWN = 600
MARGIN, LAYERS, HEADER, LEGEND_STEP, SAMPLE = 24.0, 66.0, 46.0, 22.0, 36.0
BOLD, LETTER = 9.4, 7.6  # of a letter of a heading and of other words, in the widest fonts that stand in for Helvetica
NODE, WIDEST, PORT, ARROW = 58.0, 200.0, 7.0, 8.0
PORTS = {ReaderKind.Q: -0.3, ReaderKind.K: 0.0, ReaderKind.V: 0.3}
KINDS = {WriterKind.HEAD: "attention", WriterKind.MLP: "mlp"}


@dataclass(frozen=True)
class _Link:
    """An edge between two components at spans; `port`: through which input it arrives."""

    source: At
    target: At
    port: ReaderKind
    scored: ScoredEdge


def draw_by_span(circuit: Circuit, most: int = MOST_DRAWN) -> Picture:
    """The picture of a circuit that has spans, with at most so many of its strongest edges."""
    assert circuit.spans is not None
    edges = sorted(circuit.positions, key=lambda edge: (-abs(edge.score), edge.id))[:most]
    writing = {tuple(scored.id.split("->")[0].split("@")) for scored in circuit.positions}
    links = [link for scored in edges for link in _links(circuit, scored, writing)]
    texts = [title(circuit), subtitle(circuit)]
    if len(edges) < len(circuit.positions):
        texts.append(f"the {len(edges):,} strongest are drawn")
    wide = max(BOLD * len(texts[0]), *(LETTER * len(text) for text in texts[1:]), 2 * LETTER * 40)
    columns = Columns(circuit.spans.names, _widths(links), MARGIN + LAYERS, HEADER + 20 * len(texts))
    width = max(columns.right, wide + MARGIN) + MARGIN
    legend, bottom = _legend(width, columns.bottom + 34)
    missing = [] if links else [Text(MARGIN, columns.bottom + 4, "no edges: nothing is needed beyond the ablated run")]
    return Picture(
        width=width,
        height=bottom + MARGIN,
        heading=texts[0],
        behind=(*_header(texts), *_columns(columns), *_layers(columns), *missing, *legend),
        links=tuple(_drawn(links, columns, EdgeStyle(circuit, edges))),
        nodes=tuple(_nodes(columns)),
    )


def _links(circuit: Circuit, scored: ScoredEdge, writing: set[tuple[str, ...]]) -> Iterable[_Link]:
    """What is drawn of a positional edge: one line for each component of the circuit that its slot belongs to."""
    left, right = scored.id.split("->")
    (writer, source), (slot, span) = left.split("@"), right.split("@")
    reader = Edge.parse(f"{writer}->{slot}").reader
    owners = [owner.id for owner in circuit.graph.owners(reader)]
    there = [owner for owner in owners if (owner, span) in writing] or owners or [slot]
    return (_Link((writer, source), (owner, span), reader.kind, scored) for owner in there)


def _widths(links: Sequence[_Link]) -> dict[At, float]:
    """Of each node; MLPs and the logits have room for each writer that they read."""
    arriving: dict[At, set[At]] = defaultdict(set)
    for link in links:
        arriving[link.target].add(link.source)
    ends = {at for link in links for at in (link.source, link.target)}
    return {at: NODE if _is_head(at) else min(WIDEST, max(NODE, PORT * len(arriving[at]))) for at in sorted(ends)}


def _drawn(links: Sequence[_Link], columns: Columns, style: EdgeStyle) -> Iterable[DrawnLink]:
    """Thin lines over thick ones."""
    ports = _ports(links, columns)
    ordered = sorted(links, key=lambda link: -abs(link.scored.score))
    ways = []
    for link in ordered:
        start, end = columns.boxes[link.source], columns.boxes[link.target]
        first, last = (start.x, start.y + NODE_HEIGHT / 2), (ports[link], end.y - NODE_HEIGHT / 2 - ARROW)
        ways.append(Way("@".join(link.source), first, last))
    for link, points in zip(ordered, Ways(columns.boxes.values()).curves(ways), strict=True):
        score, dash = link.scored.score, "dashed" if style.opposes(link.scored) else "solid"
        tooltip = f"{link.scored.id}: {score:+.4g}"
        line = Line(points, EDGE_COLOUR[link.port], style.width(score), dash, style.opacity(score), ARROW, tooltip)
        yield DrawnLink("@".join(link.source), "@".join(link.target), line, link.scored.id)


def _ports(links: Sequence[_Link], columns: Columns) -> dict[_Link, float]:
    """Where along a node each line arrives: q, k and v of a head apart, others by where they come from."""
    sources: dict[At, set[At]] = defaultdict(set)
    for link in links:
        sources[link.target].add(link.source)

    def place(at: At) -> tuple[float, float]:
        return columns.boxes[at].x, -columns.boxes[at].y

    def share(link: _Link) -> float:
        if link.port in PORTS:
            return PORTS[link.port]
        ordered = sorted(sources[link.target], key=place)
        return 0.86 * ((ordered.index(link.source) + 0.5) / len(ordered) - 0.5)

    return {link: columns.boxes[link.target].x + share(link) * columns.boxes[link.target].width for link in links}


def _nodes(columns: Columns) -> Iterable[DrawnNode]:
    for (component, span), box in columns.boxes.items():
        fill, line = node_colours(_kind(component))
        label = Text(box.x, box.y + 4.5, component, 12.0, centred=True)
        yield DrawnNode(f"{component}@{span}", rank_of(component), Rectangle(box, fill, line, 6), label)


def _is_head(at: At) -> bool:
    return _kind(at[0]) == "attention"


def _kind(component: str) -> str:
    writer = writer_of(component)
    return "logits" if writer is None else KINDS.get(writer.kind, "embedding")


def _header(texts: Sequence[str]) -> Iterable[Shape]:
    yield Text(MARGIN, MARGIN + 12, texts[0], 17.0, bold=True)
    for place, text in enumerate(texts[1:]):
        yield Text(MARGIN, MARGIN + 32 + 20 * place, text, colour=QUIET)


def _columns(columns: Columns) -> Iterable[Shape]:
    """The name of each span over its column."""
    for column in columns.columns:
        top = column.box.y - column.box.height / 2
        yield Rectangle(column.box, PAPER if column.empty else GROUND, FAINT, 6, 0.8)
        colour = {"colour": QUIET} if column.empty else {"bold": True}
        yield Text(column.box.x, top + 20, column.name, centred=True, **colour)


def _layers(columns: Columns) -> Iterable[Shape]:
    """The number of each layer beside its first row."""
    seen = set()
    for rank, y in columns.rows.items():
        layer = rank // 2
        if 0 <= layer < 10**8 and layer not in seen:
            seen.add(layer)
            yield Text(MARGIN, y + 4.5, f"layer {layer}", 12.0, QUIET)


def _legend(width: float, y: float) -> tuple[list[Shape], float]:
    """(what lines mean, in as many rows as it takes; the end of the last row)."""
    shapes: list[Shape] = []
    x = MARGIN
    for meaning in (*LEGEND, LineMeaning("", "width grows with |score|")):
        needed = (SAMPLE if meaning.colour else 0) + LETTER * len(meaning.meaning)
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + LEGEND_STEP
        if meaning.colour:
            ends = ((x, y), (x + 9, y), (x + 17, y), (x + 26, y))
            shapes += [Line(ends, meaning.colour, 2.4, meaning.dash), Text(x + SAMPLE, y + 4.5, meaning.meaning)]
        else:
            shapes.append(Text(x, y + 4.5, meaning.meaning, colour=QUIET))
        x += needed + 20
    return shapes, y
