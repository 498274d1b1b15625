"""A still picture of a pruned attribution graph; as SVG and DOT it is written like that of a circuit."""

from collections.abc import Sequence

from acdc.artefacts.attribution.graph import AttributionGraph, Link
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node, NodeKind
from acdc.artefacts.attribution.supernodes import merged
from acdc.render import dot, svg
from acdc.render.attribution.places import arrange, caption, number_of
from acdc.render.attribution.sentences import subtitle, title
from acdc.render.grid import FOOT, HEADER, LOWERS, MARGIN, RAISES, Places, header, legend, link, rules
from acdc.render.shapes import DrawnLink, DrawnNode, Picture, Rectangle, Shape, Text
from acdc.render.style import INK, NODE_FILL, NODE_LINE, PAPER
from acdc.words import count_of

MOST_LINKS, MOST_FOLDED = 400, 150  # that a still picture shows, of all nodes and where some are folded
NARROWEST = 620.0  # that the header fits in


def to_svg(graph: AttributionGraph, pruning: Pruning, every: bool = False) -> str:
    return svg.write(draw(graph, pruning, every))


def to_dot(graph: AttributionGraph, pruning: Pruning, every: bool = False) -> str:
    return dot.write(draw(graph, pruning, every))


def draw(graph: AttributionGraph, pruning: Pruning, every: bool = False) -> Picture:
    """The kept nodes, supernodes as one, and of their links those along which most influence passes. Where nodes are
    too many to be read, those of least influence are folded, unless `every` one is asked for."""
    said, heading = subtitle(graph, pruning), title(graph)
    arranged = arrange(*merged(graph, pruning), every)
    folded, places = arranged.folded, arranged.places
    graph, pruning = folded.graph, folded.pruning
    links = graph.links(pruning)
    shown = strongest_links(links, MOST_FOLDED if folded.count else MOST_LINKS)
    return Picture(
        width=max(places.width + 2 * MARGIN, NARROWEST + 2 * MARGIN, 8.0 * len(heading)),
        height=places.height + HEADER + FOOT + MARGIN,
        heading=heading,
        behind=tuple(_behind(heading, said, places, folded.count, (len(shown), len(links)))),
        links=tuple(_link(one, places, shown[0].influence) for one in reversed(shown)),
        nodes=tuple(
            _node(node, places, len(places.rows) - number_of(folded.rows, node.layer))
            for node in sorted(graph.kept(pruning), key=lambda node: node.layer)
        ),
    )


def strongest_links(links: Sequence[Link], most: int) -> list[Link]:
    """Those of most influence, the most influential first."""
    return sorted(links, key=lambda link: (-link.influence, link.source.id, link.target.id))[:most]


def drawn_id(node: Node) -> str:
    """A node's id without what DOT reads as a port."""
    return node.id.replace(":", " ")


def _behind(heading: str, said: str, places: Places, folded: int, links: tuple[int, int]) -> list[Shape]:
    shown, of = links
    fewer = [f"boxes with a + stand for {count_of(folded, 'node')} of less influence"] if folded else []
    fewer += [f"{count_of(shown, 'link')} of most influence are drawn, of {of:,}"] if shown < of else []
    meanings = ((RAISES, "adds to the value above"), (LOWERS, "takes from it"))
    below = legend(places.height + HEADER + FOOT, meanings)
    return [*header(heading, said, *(["; ".join(fewer)] if fewer else [])), *rules(places), *below]


def _node(node: Node, places: Places, rank: int) -> DrawnNode:
    moved = places.at(node.id)
    fill, line = colours(node)
    dash = "dashed" if node.kind in REMAINDERS else "solid"
    outline = Rectangle(moved, PAPER if node.kind in (*REMAINDERS, NodeKind.FOLDED) else fill, line, 5, 1.2, dash)
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
    return "mlp" if node.layer >= 0 else "embedding"


def _link(one: Link, places: Places, largest: float) -> DrawnLink:
    share = (one.influence / largest) ** 0.5 if largest else 0.0
    colour = RAISES if one.weight >= 0 else LOWERS
    tooltip = f"{one.source.id} to {one.target.id}: {one.weight:+.3g}"
    line = link(places.at(one.source.id), places.at(one.target.id), share, colour, tooltip)
    return DrawnLink(drawn_id(one.source), drawn_id(one.target), line)
