"""A still picture of a pruned attribution graph; as SVG and DOT it is written like that of a circuit."""

from collections.abc import Sequence

from acdc.artefacts.attribution.graph import AttributionGraph, Link
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node, NodeKind
from acdc.artefacts.attribution.supernodes import merged
from acdc.render import dot, svg
from acdc.render.attribution.places import caption, place
from acdc.render.attribution.sentences import subtitle, title
from acdc.render.grid import FOOT, HEADER, LOWERS, MARGIN, RAISES, Places, header, legend, link, rules
from acdc.render.shapes import DrawnLink, DrawnNode, Picture, Rectangle, Shape, Text
from acdc.render.style import INK, NODE_FILL, NODE_LINE, PAPER
from acdc.words import count_of

MOST_LINKS = 400  # that a still picture shows
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
        links=tuple(_link(one, places, shown[0].influence) for one in reversed(shown)),
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
    fewer = [f"{count_of(shown, 'link')} of most influence are drawn, of {links:,}"] if shown < links else []
    meanings = ((RAISES, "adds to the value above"), (LOWERS, "takes from it"))
    below = legend(places.height + HEADER + FOOT, meanings)
    return [*header(heading, said, *fewer), *rules(places), *below]


def _node(node: Node, places: Places, ranks: int) -> DrawnNode:
    moved = places.at(node.id)
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


def _link(one: Link, places: Places, largest: float) -> DrawnLink:
    share = (one.influence / largest) ** 0.5 if largest else 0.0
    colour = RAISES if one.weight >= 0 else LOWERS
    tooltip = f"{one.source.id} to {one.target.id}: {one.weight:+.3g}"
    line = link(places.at(one.source.id), places.at(one.target.id), share, colour, tooltip)
    return DrawnLink(drawn_id(one.source), drawn_id(one.target), line)
