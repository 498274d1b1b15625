"""A still picture of a pruned attribution graph; as SVG and DOT it is written like that of a circuit."""

from collections.abc import Sequence

from acdc.artefacts.attribution.graph import AttributionGraph, Link
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node, NodeKind
from acdc.artefacts.attribution.supernodes import merged
from acdc.render import dot, svg
from acdc.render.attribution.places import Places, caption, place
from acdc.render.attribution.sentences import subtitle, title
from acdc.render.layout import Box
from acdc.render.shapes import DrawnLink, DrawnNode, Line, Picture, Rectangle, Shape, Text
from acdc.render.style import FAINT, INK, NODE_FILL, NODE_LINE, PAPER, QUIET
from acdc.words import count_of

MOST_LINKS = 400  # that a still picture shows
MARGIN, HEADER, FOOT = 24.0, 78.0, 30.0
RAISES, LOWERS = "#0072b2", "#d55e00"
THINNEST, THICKEST = 0.6, 4.5
NARROWEST = 620.0  # that the header fits in


def to_svg(graph: AttributionGraph, pruning: Pruning) -> str:
    return svg.write(draw(graph, pruning))


def to_dot(graph: AttributionGraph, pruning: Pruning) -> str:
    return dot.write(draw(graph, pruning))


def draw(graph: AttributionGraph, pruning: Pruning) -> Picture:
    """The kept nodes, supernodes as one, and of their links those along which most influence passes."""
    said, (graph, pruning) = subtitle(graph, pruning), merged(graph, pruning)
    places, links = place(graph, pruning), graph.links(pruning)
    shown = strongest_links(links, MOST_LINKS)
    heading = title(graph)
    return Picture(
        width=max(places.width + 2 * MARGIN, NARROWEST + 2 * MARGIN, 8.0 * len(heading)),
        height=places.height + HEADER + FOOT + MARGIN,
        heading=heading,
        behind=tuple(_behind(heading, said, places, len(links), len(shown))),
        links=tuple(_link(link, places, shown[0].influence) for link in reversed(shown)),
        nodes=tuple(
            _node(node, places, len(places.rows)) for node in sorted(graph.kept(pruning), key=lambda node: node.layer)
        ),
    )


def strongest_links(links: Sequence[Link], most: int) -> list[Link]:
    """Those of most influence, the most influential first."""
    return sorted(links, key=lambda link: (-link.influence, link.source.id, link.target.id))[:most]


def drawn_id(node: Node) -> str:
    """A node's id without what DOT reads as a port."""
    return node.id.replace(":", " ")


def _behind(heading: str, said: str, places: Places, links: int, shown: int) -> list[Shape]:
    x, right = MARGIN, places.width + MARGIN
    found: list[Shape] = [
        Text(x, 30, heading, 17, bold=True),
        Text(x, 48, said, 10.5, QUIET),
    ]
    if shown < links:
        found.append(Text(x, 63, f"{count_of(shown, 'link')} of most influence are drawn, of {links:,}", 10.5, QUIET))
    for name, y in places.rows:
        line = y + HEADER
        found.append(Line(((x, line), (x, line), (right, line), (right, line)), FAINT, 0.5))
        found.append(Text(x, line - 4, name, 10, QUIET))
    return [*found, *_legend(x, places.height + HEADER + FOOT)]


def _legend(x: float, y: float) -> list[Shape]:
    found: list[Shape] = []
    for colour, meaning in ((RAISES, "adds to the value above"), (LOWERS, "takes from it")):
        found += [Line(((x, y), (x, y), (x + 26, y), (x + 26, y)), colour, 2.5), Text(x + 32, y + 4, meaning, 11)]
        x += 180
    return found


def _node(node: Node, places: Places, ranks: int) -> DrawnNode:
    box = places.boxes[node.id]
    moved = Box(box.x + MARGIN, box.y + HEADER, box.width, box.height)
    fill, line = colours(node)
    dash = "dashed" if node.kind in REMAINDERS else "solid"
    outline = Rectangle(moved, PAPER if node.kind in REMAINDERS else fill, line, 5, 1.2, dash)
    rank = ranks - node.layer
    return DrawnNode(
        drawn_id(node), rank, outline, Text(moved.x, moved.y + 3.8, caption(node), 10.5, INK, centred=True)
    )


def colours(node: Node) -> tuple[str, str]:
    """Fill and line of a node."""
    kind = look(node)
    return NODE_FILL[kind], NODE_LINE[kind]


def look(node: Node) -> str:
    """As which part of a circuit a node is coloured."""
    if node.kind is NodeKind.LOGIT:
        return "logits"
    return "mlp" if node.is_unit or node.kind in (*REMAINDERS, NodeKind.GROUP) else "embedding"


def _link(link: Link, places: Places, largest: float) -> DrawnLink:
    source, target = places.boxes[link.source.id], places.boxes[link.target.id]
    start = (source.x + MARGIN, source.y + HEADER - source.height / 2)
    end = (target.x + MARGIN, target.y + HEADER + target.height / 2)
    bend = max(12.0, (start[1] - end[1]) / 2)
    share = (link.influence / largest) ** 0.5 if largest else 0.0
    line = Line(
        (start, (start[0], start[1] - bend), (end[0], end[1] + bend), end),
        RAISES if link.weight >= 0 else LOWERS,
        round(THINNEST + (THICKEST - THINNEST) * share, 2),
        opacity=round(0.18 + 0.6 * share, 2),
        tooltip=f"{link.source.id} to {link.target.id}: {link.weight:+.3g}",
    )
    return DrawnLink(drawn_id(link.source), drawn_id(link.target), line)
