"""Place a diagram's nodes in layers (Sugiyama et al. 1981), with one trunk per node for its long links.

A node whose links skip ranks sends one trunk down through a slot of its own in every rank between; each link leaves
the trunk in the rank above its target. So a picture has at most one line per writer and rank to make room for, however
many edges it has. Order inside the ranks is found by barycentre sweeps from the natural order.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

from acdc.render.diagram import Diagram, Node

NODE_HEIGHT, RANK_GAP, NODE_GAP, TRUNK_WIDTH = 28.0, 62.0, 18.0, 8.0
ARROW_ROOM, WIDEST = 9.0, 420.0
SWEEPS = 12


@dataclass(frozen=True)
class Box:
    """A placed node: centre and size in points."""

    x: float
    y: float
    width: float
    height: float = NODE_HEIGHT


@dataclass(frozen=True)
class Layout:
    """Boxes of nodes by id, and of trunk slots by (writer id, rank); `ranks` is the rank of each node id."""

    boxes: dict[str, Box]
    trunks: dict[tuple[str, int], Box]
    ranks: dict[str, int]
    width: float
    height: float


def node_width(node: Node, arrivals: int) -> float:
    """Wide enough for the label and, up to a point, for every arrowhead."""
    return max(14.0 + 7.6 * len(node.label), min(ARROW_ROOM * arrivals, WIDEST))


def lay_out(diagram: Diagram) -> Layout:
    """Layout of a diagram; ranks without a node are closed up."""
    used = sorted({node.rank for node in diagram.nodes})
    ranks = {node.id: used.index(node.rank) for node in diagram.nodes}
    rows, above = _rows_with_trunks(diagram, ranks, len(used))
    arrivals = Counter(link.target for link in diagram.links)
    widths = {node.id: node_width(node, arrivals[node.id]) for node in diagram.nodes}
    _order(rows, above)
    centres = _coordinates(rows, above, widths)
    left = min((x - widths.get(item, TRUNK_WIDTH) / 2 for item, x in centres.items()), default=0.0)
    right = max((x + widths.get(item, TRUNK_WIDTH) / 2 for item, x in centres.items()), default=0.0)
    boxes, trunks = {}, {}
    for index, row in enumerate(rows):
        y = index * (NODE_HEIGHT + RANK_GAP) + NODE_HEIGHT / 2
        for item in row:
            x = round(centres[item] - left, 1)
            if isinstance(item, tuple):
                trunks[item] = Box(x, y, TRUNK_WIDTH)
            else:
                boxes[item] = Box(x, y, widths[item])
    height = len(used) * NODE_HEIGHT + max(0, len(used) - 1) * RANK_GAP
    return Layout(boxes, trunks, ranks, right - left, height)


Item = str | tuple[str, int]


def _rows_with_trunks(diagram: Diagram, ranks: dict[str, int], count: int):
    """Items of each rank (node ids and trunk slots), and for each item the items above that lead to it."""
    rows: list[list[Item]] = [[] for _ in range(count)]
    for node in diagram.nodes:
        rows[ranks[node.id]].append(node.id)
    above: dict[Item, list[Item]] = defaultdict(list)
    reach: dict[str, int] = {}
    for link in diagram.links:
        reach[link.source] = max(reach.get(link.source, 0), ranks[link.target] - 1)
    for source in [node.id for node in diagram.nodes]:
        previous: Item = source
        for rank in range(ranks[source] + 1, reach.get(source, 0) + 1):
            rows[rank].append((source, rank))
            above[source, rank].append(previous)
            previous = (source, rank)
    for link in diagram.links:
        rank = ranks[link.target] - 1
        above[link.target].append(link.source if rank == ranks[link.source] else (link.source, rank))
    return rows, above


def _order(rows: list[list[Item]], above: dict[Item, list[Item]]) -> None:
    """Sort each rank by the mean place of its neighbours, downwards and upwards in turn."""
    below: dict[Item, list[Item]] = defaultdict(list)
    for item, parents in above.items():
        for parent in parents:
            below[parent].append(item)
    place = {item: (i + 0.5) / len(row) for row in rows for i, item in enumerate(row)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for row in rows if down else reversed(rows):
            wanted = {
                item: sum(place[n] for n in neighbours[item]) / len(neighbours[item])
                if neighbours[item]
                else place[item]
                for item in row
            }
            row.sort(key=lambda item: (wanted[item], place[item]))
            place.update({item: (i + 0.5) / len(row) for i, item in enumerate(row)})


def _coordinates(rows: list[list[Item]], above: dict[Item, list[Item]], widths: dict[str, float]) -> dict[Item, float]:
    """Centres that keep the order, drawn towards the mean of the items above and below."""

    def spread(row: list[Item], wanted: list[float]) -> list[float]:
        """Closest places to the wanted ones with room between neighbours (pool adjacent violators)."""
        offsets, at = [], 0.0
        for i, item in enumerate(row):
            half = widths.get(item, TRUNK_WIDTH) / 2
            at += half if i == 0 else half + NODE_GAP
            offsets.append(at)
            at += half
        blocks: list[list[float]] = []  # [sum of (wanted - offset), count]
        for want, offset in zip(wanted, offsets, strict=True):
            blocks.append([want - offset, 1])
            while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
                total, count = blocks.pop()
                blocks[-1][0] += total
                blocks[-1][1] += count
        shifts = [total / count for total, count in blocks for _ in range(int(count))]
        return [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]

    below: dict[Item, list[Item]] = defaultdict(list)
    for item, parents in above.items():
        for parent in parents:
            below[parent].append(item)
    centres: dict[Item, float] = {}
    for row in rows:
        centres.update(zip(row, spread(row, [0.0] * len(row)), strict=True))
    for sweep in range(2 * SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = []
            for item in row:
                near = above[item] + below[item] if sweep else above[item]
                wanted.append(sum(centres[n] for n in near) / len(near) if near else centres[item])
            centres.update(zip(row, spread(row, wanted), strict=True))
    return centres
