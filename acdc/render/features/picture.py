"""A still picture of a feature circuit: a row for each place of the model where features are, a column for each span or
position where there are several, the logits on top."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from acdc.artefacts.feature_circuit import FeatureCircuitRecord, NodeRecord
from acdc.dictionaries.hooks import MLP_INPUTS, Hook, Site
from acdc.render import dot, svg
from acdc.render.features.words import helps, subtitle, title
from acdc.render.grid import FOOT, HEADER, LOWERS, MARGIN, RAISES, UNIT, Places, header, legend, link, rules, stack
from acdc.render.shapes import DrawnLink, DrawnNode, Picture, Rectangle, Shape, Text
from acdc.render.style import INK, NODE_FILL, NODE_LINE, PAPER, QUIET
from acdc.words import count_of

MOST_NODES, MOST_LINKS = 60, 200
LOGITS = "logits"
HELPS, AGAINST = "#dbeaf6", "#fbe3d6"  # fills
WIDE, LETTER, NARROWEST = 40.0, 6.2, 660.0
IN_LINE = {True: 4, False: 16}  # nodes side by side in a cell, of circuits at places and of others
LINES = 100  # of nodes in a row, at most
_NODE = re.compile(r"(m\d+|[a-z_]+\d+|embed)\.(f\d+|error)(?:@(.+))?")


@dataclass(frozen=True)
class _Named:
    """The parts of a node's name."""

    site: str
    short: str
    place: str

    @classmethod
    def of(cls, name: str) -> "_Named":
        found = _NODE.fullmatch(name)
        assert found  # ids of nodes that acdc wrote
        return cls(found[1], found[2].removeprefix("f"), found[3] or "")

    @property
    def order(self) -> tuple[int, int]:
        """Of where it is in the model: layer, and place in it."""
        layer = re.fullmatch(r"m(\d+)", self.site)
        hook = Hook(int(layer[1]), MLP_INPUTS[0]) if layer else Hook.parse(self.site)
        return hook.layer, list(Site).index(hook.site)


def to_svg(circuit: FeatureCircuitRecord, pages: Mapping[str, str] | None = None) -> str:
    """`pages`: where nodes lead to, by their ids."""
    return svg.write(draw(circuit, pages))


def to_dot(circuit: FeatureCircuitRecord) -> str:
    return dot.write(draw(circuit))


def draw(circuit: FeatureCircuitRecord, pages: Mapping[str, str] | None = None) -> Picture:
    """Its strongest nodes, and of the edges among them the strongest."""
    nodes = circuit.nodes[:MOST_NODES]
    there = {node.id for node in nodes} | {LOGITS}
    links = [edge for edge in circuit.edges if edge.source in there and edge.target in there]
    shown, heading, places = links[:MOST_LINKS], title(circuit), _places(circuit, nodes)
    largest = abs(shown[0].effect) if shown else 1.0
    drawn = [
        DrawnLink(
            _id(edge.source),
            _id(edge.target),
            link(
                places.at(edge.source),
                places.at(edge.target),
                (abs(edge.effect) / largest) ** 0.5,
                RAISES if helps(circuit, edge.effect) else LOWERS,
                f"{edge.source} to {edge.target}: {edge.effect:+.3g}",
            ),
        )
        for edge in reversed(shown)
    ]
    ranks = _ranks(nodes)
    boxes = [_node(circuit, node, places, ranks[node.id], pages or {}) for node in nodes]
    return Picture(
        width=max(places.width + 2 * MARGIN, NARROWEST, 8.8 * len(heading) + 2 * MARGIN),
        height=places.height + HEADER + FOOT + MARGIN,
        heading=heading,
        behind=tuple(_behind(circuit, places, len(nodes), (len(shown), len(links)))),
        links=tuple(drawn),
        nodes=(_logits(places), *sorted(boxes, key=lambda one: one.rank)),
    )


def _id(name: str) -> str:
    """Without what DOT reads as a port."""
    return name.replace(":", " ")


def _places(circuit: FeatureCircuitRecord, nodes: tuple[NodeRecord, ...]) -> Places:
    """Where nodes stand; cells with many have several lines."""
    named = {node.id: _Named.of(node.id) for node in nodes}
    sites = {one.order: one.site for one in named.values()}
    hooks = sorted(sites)
    columns = {place: count for count, place in enumerate(circuit.places or ("",))}
    cells: dict[tuple[int, int], list[tuple[str, float]]] = defaultdict(list)
    most = IN_LINE[bool(circuit.places)]
    count: dict[tuple[int, int], int] = defaultdict(int)
    for name, one in named.items():
        row, column = hooks.index(one.order), columns[one.place]
        line = count[row, column] // most
        count[row, column] += 1
        cells[row * LINES + LINES - 1 - line, column].append((name, max(UNIT, 12 + LETTER * len(one.short))))
    last = len(columns) - 1
    cells[len(hooks) * LINES, last] = [(LOGITS, 54.0)]
    firsts = {(row + 1) * LINES - 1: sites[hook] for row, hook in enumerate(hooks)}
    return stack(cells, len(columns), lambda row: firsts.get(row, LOGITS if row == len(hooks) * LINES else ""))


def _behind(circuit: FeatureCircuitRecord, places: Places, nodes: int, links: tuple[int, int]) -> list[Shape]:
    fewer = [f"the strongest {nodes} of {len(circuit.nodes):,} are drawn"] if nodes < len(circuit.nodes) else []
    fewer += [f"the strongest {links[0]} of {count_of(links[1], 'edge')} among them"] if links[0] < links[1] else []
    found = [*header(title(circuit), subtitle(circuit), *([", ".join(fewer)] if fewer else [])), *rules(places)]
    if circuit.places:
        y = HEADER + places.height + 16
        middles = [MARGIN + (left + right) / 2 for left, right in places.columns]
        found += [Text(x, y, name, 10, QUIET, centred=True) for x, name in zip(middles, circuit.places, strict=True)]
    worse = f"without it, {circuit.metric} gets worse"
    return found + legend(places.height + HEADER + FOOT + 6, ((RAISES, worse), (LOWERS, "better")), 260.0)


def _logits(places: Places) -> DrawnNode:
    box = places.at(LOGITS)
    outline = Rectangle(box, NODE_FILL[LOGITS], NODE_LINE[LOGITS], 5, 1.2)
    return DrawnNode(LOGITS, 0, outline, Text(box.x, box.y + 3.8, LOGITS, 10.5, INK, centred=True))


def _ranks(nodes: tuple[NodeRecord, ...]) -> dict[str, int]:
    """Of nodes by their ids, from the logits, 0, downwards, for formats that place nodes by ranks."""
    hooks = {node.id: _Named.of(node.id).order for node in nodes}
    rank = {hook: place for place, hook in enumerate(sorted(set(hooks.values()), reverse=True), 1)}
    return {name: rank[hook] for name, hook in hooks.items()}


def _node(
    circuit: FeatureCircuitRecord, node: NodeRecord, places: Places, rank: int, pages: Mapping[str, str]
) -> DrawnNode:
    box, named, good = places.at(node.id), _Named.of(node.id), helps(circuit, node.effect)
    is_error = named.short == "error"
    fill = PAPER if is_error else HELPS if good else AGAINST
    dash, colour = "dashed" if is_error else "solid", RAISES if good else LOWERS
    outline = Rectangle(box, fill, colour, 5, 1.2, dash, f"{node.id}: effect {node.effect:+.3g}")
    label = Text(box.x, box.y + 3.8, named.short, 10.5, INK, centred=True)
    unit = node.id.partition("@")[0]
    return DrawnNode(_id(node.id), rank, outline, label, pages.get(unit, ""))
