"""Edges of two sets in one picture: those in both, and those in one of them alone."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from acdc.graph import ComponentGraph
from acdc.render.diagram import Diagram, StyledEdge, arrange
from acdc.render.drawing import compose
from acdc.render.look import PLAIN, Look
from acdc.render.shapes import Picture, Words
from acdc.render.style import LineMeaning


@dataclass(frozen=True)
class Share:
    """Edges by id with what their tooltips say; a node that only edges of this share touch has its outline, if they
    `mark` their nodes."""

    style: LineMeaning
    width: float
    tooltips: dict[str, str]
    mark: bool


def split(first: Collection[str], second: Collection[str]) -> tuple[set[str], set[str], set[str]]:
    """(in both, in the first alone, in the second alone)."""
    ours, theirs = set(first), set(second)
    return ours & theirs, ours - theirs, theirs - ours


def draw_shares(graph: ComponentGraph, shares: Sequence[Share], words: Words, look: Look = PLAIN) -> Picture:
    """All edges of all shares, in the order of the graph inside each."""
    edges = [
        StyledEdge(name, share.style.colour, share.width, share.style.dash, f"{name}: {share.tooltips[name]}")
        for share in shares
        for name in graph.ids(graph.mask(share.tooltips))
    ]
    return compose(graph, _mark(arrange(graph, edges, look), shares), words, look)


def _mark(diagram: Diagram, shares: Sequence[Share]) -> Diagram:
    share_of = {name: share for share in shares for name in share.tooltips}
    touching: dict[str, set[LineMeaning | None]] = defaultdict(set)
    for link in diagram.links:
        if not link.is_wiring:
            share = share_of[link.tooltip.partition(": ")[0]]
            for node in (link.source, link.target):
                touching[node].add(share.style if share.mark else None)
    marks = {node: found.copy().pop() for node, found in touching.items() if len(found) == 1}
    return replace(diagram, nodes=tuple(replace(node, mark=marks.get(node.id)) for node in diagram.nodes))
