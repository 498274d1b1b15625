"""A circuit of edges at spans of the prompts: spans are columns, in the order of the prompts, and layers rows.

All tokens that no named span has are one column, the last, since they stand before, between and after the spans.

A component stands in the column of every span at which it is part of the circuit. Keys and values lead from one column
to another, everything else stays in its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from acdc.artefacts.circuit import Circuit, ScoredEdge, SpansRecord
from acdc.graph import Edge, ReaderKind, WriterKind
from acdc.options import Colouring, Legend
from acdc.render.columns import NAME, At, Columns, rank_of, writer_of
from acdc.render.layout import NODE_HEIGHT, Box
from acdc.render.look import PLAIN, Look
from acdc.render.shapes import DrawnLink, DrawnNode, Line, Picture, Rectangle, Shape, Text
from acdc.render.style import (
    EDGE_COLOUR,
    FAINT,
    GROUND,
    LEGEND,
    PAPER,
    QUIET,
    WIDTHS,
    EdgeStyle,
    LineMeaning,
    node_colours,
    scale,
    subtitle,
    title,
)
from acdc.render.ways import Way, Ways

MOST_DRAWN = 600
REST = "rest"  # what the tokens are called that no named span has, see `acdc.task.spans`
MARGIN, LAYERS, HEADER, LEGEND_STEP, SAMPLE = 24.0, 66.0, 46.0, 22.0, 36.0
BOLD, LETTER = 9.4, 7.6  # of a letter of a heading and of other words, in the widest fonts that stand in for Helvetica
NODE, WIDEST, PORT, ARROW, HATCH = 58.0, 200.0, 7.0, 8.0, 14.0
PORTS = {ReaderKind.Q: -0.3, ReaderKind.K: 0.0, ReaderKind.V: 0.3}
KINDS = {WriterKind.HEAD: "attention", WriterKind.MLP: "mlp"}


@dataclass(frozen=True)
class _Link:
    """An edge between two components at spans; `port`: through which input it arrives."""

    source: At
    target: At
    port: ReaderKind
    scored: ScoredEdge


def draw_by_span(circuit: Circuit, most: int = MOST_DRAWN, look: Look = PLAIN) -> Picture:
    """The picture of a circuit that has spans, with at most so many of its strongest edges; of the look, it heeds
    `legend` (which is below wherever there is one), `title`, `colours` and `names`."""
    assert circuit.spans is not None
    edges = sorted(circuit.positions, key=lambda edge: (-abs(edge.score), edge.id))[:most]
    writing = {tuple(scored.id.split("->")[0].split("@")) for scored in circuit.positions}
    links = [link for scored in edges for link in _links(circuit, scored, writing)]
    texts = [title(circuit), subtitle(circuit)]
    if len(edges) < len(circuit.positions):
        texts.append(f"the {len(edges):,} strongest are drawn")
    wide = max(BOLD * len(texts[0]), *(LETTER * len(text) for text in texts[1:]), 2 * LETTER * 40)
    top = HEADER + 20 * len(texts) if look.title else MARGIN
    columns = Columns(in_order(circuit.spans), _widths(links, look.names), MARGIN + LAYERS, top)
    width = max(columns.right, wide + MARGIN if look.title else 0.0) + MARGIN
    style = EdgeStyle(circuit, edges)
    meanings = LEGEND if look.colours is Colouring.input else scale(style.largest, circuit.score_kind == "effect")
    legend, bottom = _legend(meanings, width, columns.bottom + 34)
    if look.legend is Legend.none:
        legend, bottom = [], columns.bottom
    missing = [] if links else [Text(MARGIN, columns.bottom + 4, "no edges: nothing is needed beyond the ablated run")]
    return Picture(
        width=width,
        height=bottom + MARGIN,
        heading=texts[0],
        behind=(
            *(_header(texts) if look.title else ()),
            *_columns(columns, circuit.spans.named),
            *_layers(columns),
            *missing,
            *legend,
        ),
        links=tuple(_drawn(links, columns, style, look)),
        nodes=tuple(_nodes(columns, look.names)),
    )


def _links(circuit: Circuit, scored: ScoredEdge, writing: set[tuple[str, ...]]) -> Iterable[_Link]:
    """What is drawn of a positional edge: one line for each component of the circuit that its slot belongs to."""
    left, right = scored.id.split("->")
    (writer, source), (slot, span) = left.split("@"), right.split("@")
    reader = Edge.parse(f"{writer}->{slot}").reader
    owners = [owner.id for owner in circuit.graph.owners(reader)]
    there = [owner for owner in owners if (owner, span) in writing] or owners or [slot]
    return (_Link((writer, source), (owner, span), reader.kind, scored) for owner in there)


def in_order(spans: SpansRecord) -> list[str]:
    """Their names in the order of the prompts; what is in none of them, which has no place in it, last."""
    names = [name for name in spans.names if name != REST or not spans.named]
    return names + [REST] * (len(spans.names) - len(names))


def _widths(links: Sequence[_Link], names: Mapping[str, str]) -> dict[At, float]:
    """Of each node; MLPs and the logits have room for each writer that they read."""
    arriving: dict[At, set[At]] = defaultdict(set)
    for link in links:
        arriving[link.target].add(link.source)
    ends = {at for link in links for at in (link.source, link.target)}
    own = {at: max(NODE, 14 + LETTER * len(names.get(at[0], ""))) for at in sorted(ends)}
    room = {at: 0.0 if _is_head(at) else min(WIDEST, PORT * len(arriving[at])) for at in own}
    return {at: max(least, room[at]) for at, least in own.items()}


def _drawn(links: Sequence[_Link], columns: Columns, style: EdgeStyle, look: Look) -> Iterable[DrawnLink]:
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
        colour = EDGE_COLOUR[link.port] if look.colours is Colouring.input else style.colour(score)
        line = Line(points, colour, style.width(score), dash, style.opacity(score), ARROW, tooltip)
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


def _nodes(columns: Columns, names: Mapping[str, str]) -> Iterable[DrawnNode]:
    for (component, span), box in columns.boxes.items():
        fill, line = node_colours(_kind(component))
        label = Text(box.x, box.y + 4.5, names.get(component, component), 12.0, centred=True)
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


def _columns(columns: Columns, named: bool) -> Iterable[Shape]:
    """The name of each span over its column; that of all other tokens is hatched."""
    for column in columns.columns:
        top = column.box.y - column.box.height / 2
        apart = named and column.name == REST
        fill, dash = PAPER if column.empty or apart else GROUND, "dashed" if apart else "solid"
        yield Rectangle(column.box, fill, FAINT, 6, 0.8, dash)
        if apart:
            yield from _hatched(column.box)
        colour = {"colour": QUIET} if column.empty else {"bold": True}
        yield Text(column.box.x, top + 20, column.name, centred=True, **colour)


def _hatched(box: Box) -> Iterable[Shape]:
    """Slanted lines over a column, below its name."""
    left, top, bottom = box.x - box.width / 2, box.y - box.height / 2 + NAME, box.y + box.height / 2
    y = top + HATCH
    while y - box.width < bottom:
        first, last = max(0.0, y - bottom), min(box.width, y - top)
        start, end = (left + first, y - first), (left + last, y - last)
        yield Line((start, start, end, end), FAINT, 0.6)
        y += HATCH


def _layers(columns: Columns) -> Iterable[Shape]:
    """The number of each layer beside its first row."""
    seen = set()
    for rank, y in columns.rows.items():
        layer = rank // 2
        if 0 <= layer < 10**8 and layer not in seen:
            seen.add(layer)
            yield Text(MARGIN, y + 4.5, f"layer {layer}", 12.0, QUIET)


def _legend(meanings: Sequence[LineMeaning], width: float, y: float) -> tuple[list[Shape], float]:
    """(what lines mean, in as many rows as it takes; the end of the last row)."""
    shapes: list[Shape] = []
    x = MARGIN
    for meaning in (*meanings, LineMeaning("", WIDTHS)):
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
