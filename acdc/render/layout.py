"""Place a diagram's nodes in layers (Sugiyama et al. 1981), with one trunk per node for its long links.

A node whose links skip ranks sends one trunk down through a slot of its own in every rank between; each link leaves
the trunk in the rank above its target. So a picture has at most one line per writer and rank to make room for, however
many edges it has. Order inside the ranks is found by barycentre sweeps from the natural order; heads of one role stay
together in them.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from acdc.artefacts.verification.mechanism import ATTENDS
from acdc.render.diagram import Diagram, Node

NODE_HEIGHT, RANK_GAP, NODE_GAP, TRUNK_WIDTH = 28.0, 62.0, 18.0, 8.0
ARROW_ROOM, WIDEST = 9.0, 420.0
CROWDED_GAP, CROWDED_TRUNK, CROWDED_WIDEST = 6.0, 3.0, 130.0
SWEEPS = 12


@dataclass(frozen=True)
class Box:
    """A placed node: centre and size in points."""

    x: float
    y: float
    width: float
    height: float = NODE_HEIGHT


@dataclass(frozen=True)
class Label:
    """The name of a role, before the heads of one rank that have it."""

    role: str
    rank: int

    @property
    def text(self) -> str:
        return self.role.removeprefix(ATTENDS)


@dataclass(frozen=True)
class Layout:
    """Boxes of nodes by id, of trunk slots by (writer id, rank), and of labels; `ranks`: the rank of each node id.

    Ranks follow each other along y. `turned`: the picture has x and y exchanged, so that they run to the right.
    """

    boxes: dict[str, Box]
    trunks: dict[tuple[str, int], Box]
    ranks: dict[str, int]
    width: float
    height: float
    labels: dict[Label, Box] = field(default_factory=dict)
    turned: bool = False


Trunk = tuple[str, int]
Item = str | Trunk | Label


def rank_places(count: int, depth: float = NODE_HEIGHT) -> list[float]:
    """Where from above the middle of each rank is, if ranks are so deep."""
    return [index * (depth + RANK_GAP) + depth / 2 for index in range(count)]


def node_width(node: Node, arrivals: int, widest: float = WIDEST) -> float:
    """Wide enough for the label and, up to a point, for every arrowhead."""
    return max(14.0 + 7.6 * len(node.label), min(ARROW_ROOM * arrivals, widest))


def lay_out(diagram: Diagram, turned: bool = False) -> Layout:
    """Layout of a diagram; ranks without a node are closed up. `turned`: ranks run to the right, so that they are as
    deep as the longest label, and nodes as wide as a line of text is high."""
    used = sorted({node.rank for node in diagram.nodes})
    ranks = {node.id: used.index(node.rank) for node in diagram.nodes}
    rows, above = _rows_with_trunks(diagram, ranks, len(used))
    room = _Room.of(diagram, rows, turned)
    depth = _deepest(diagram) if turned else NODE_HEIGHT
    heads = {node.id: node.place for node in diagram.nodes if node.kind == "attention" and not node.role}
    _order(rows, above, {node.id: node.role for node in diagram.nodes if node.role}, heads)
    centres = _coordinates(rows, above, room)
    left = min((x - room.width(item) / 2 for item, x in centres.items()), default=0.0)
    right = max((x + room.width(item) / 2 for item, x in centres.items()), default=0.0)
    boxes: dict[Item, Box] = {}
    for y, row in zip(rank_places(len(used), depth), rows, strict=True):
        boxes |= {item: Box(round(centres[item] - left, 1), y, room.width(item), depth) for item in row}
    return Layout(
        boxes={item: box for item, box in boxes.items() if isinstance(item, str)},
        trunks={item: box for item, box in boxes.items() if isinstance(item, tuple)},
        ranks=ranks,
        width=right - left,
        height=len(used) * depth + max(0, len(used) - 1) * RANK_GAP,
        labels={item: box for item, box in boxes.items() if isinstance(item, Label)},
        turned=turned,
    )


def _deepest(diagram: Diagram) -> float:
    """Room for the longest label or name of a role."""
    roles = (6.0 * len(Label(node.role, 0).text) for node in diagram.nodes if node.role)
    return max((*(node_width(node, 0) for node in diagram.nodes), *roles), default=0.0)


@dataclass(frozen=True)
class _Room:
    """How much room items need, and what between them."""

    widths: Mapping[Item, float]
    trunk: float
    trunk_gap: float

    @classmethod
    def of(cls, diagram: Diagram, rows: Sequence[Sequence[Item]], turned: bool) -> "_Room":
        arrivals = Counter(link.target for link in diagram.links)
        widest = CROWDED_WIDEST if diagram.is_crowded else WIDEST
        widths: dict[Item, float] = {
            node.id: max(NODE_HEIGHT, min(ARROW_ROOM * arrivals[node.id], widest))
            if turned
            else node_width(node, arrivals[node.id], widest)
            for node in diagram.nodes
        }
        labels = (item for row in rows for item in row if isinstance(item, Label))
        widths |= {item: 14.0 if turned else 6.0 * len(item.text) for item in labels}
        return cls(widths, *((CROWDED_TRUNK, CROWDED_GAP) if diagram.is_crowded else (TRUNK_WIDTH, NODE_GAP)))

    def width(self, item: Item) -> float:
        return self.widths.get(item, self.trunk)

    def between(self, left: Item, right: Item) -> float:
        return self.trunk_gap if isinstance(left, tuple) and isinstance(right, tuple) else NODE_GAP


def reach(diagram: Diagram, ranks: Mapping[str, int]) -> dict[str, int]:
    """For each source the lowest rank that its trunk goes through: the one above its last target."""
    lowest: dict[str, int] = {}
    for link in diagram.links:
        lowest[link.source] = max(lowest.get(link.source, 0), ranks[link.target] - 1)
    return lowest


def _rows_with_trunks(
    diagram: Diagram, ranks: dict[str, int], count: int
) -> tuple[list[list[Item]], dict[Item, list[Item]]]:
    """Items of each rank (labels, node ids, trunk slots), and for each item the items above that lead to it."""
    rows: list[list[Item]] = [[] for _ in range(count)]
    for node in diagram.nodes:
        label = Label(node.role or "", ranks[node.id])
        if node.role and label not in rows[label.rank]:
            rows[label.rank].append(label)
        rows[ranks[node.id]].append(node.id)
    above: dict[Item, list[Item]] = defaultdict(list)
    lowest = reach(diagram, ranks)
    for source in [node.id for node in diagram.nodes]:
        previous: Item = source
        for rank in range(ranks[source] + 1, lowest.get(source, 0) + 1):
            rows[rank].append((source, rank))
            above[source, rank].append(previous)
            previous = (source, rank)
    for link in diagram.links:
        rank = ranks[link.target] - 1
        above[link.target].append(link.source if rank == ranks[link.source] else (link.source, rank))
    return rows, above


def _order(
    rows: list[list[Item]], above: dict[Item, list[Item]], roles: Mapping[Item, str], heads: Mapping[str, int]
) -> None:
    """Sort each rank by the mean place of its neighbours, downwards and upwards in turn; what has one role stays
    together after its label, and other heads of a layer in the order of their numbers."""
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
            together = defaultdict(list)
            for item in row:
                if item in roles:
                    together[roles[item]].append(wanted[item])
            means = {role: sum(found) / len(found) for role, found in together.items()}
            row.sort(key=lambda item: _rank_in_row(item, roles, means, wanted, place))
            _by_number(row, heads)
            place.update({item: (i + 0.5) / len(row) for i, item in enumerate(row)})


def _by_number(row: list[Item], heads: Mapping[str, int]) -> None:
    """Put the heads of a rank in order, at the places that they have."""
    at = [i for i, item in enumerate(row) if isinstance(item, str) and item in heads]
    for i, head in zip(at, sorted((str(row[i]) for i in at), key=lambda name: heads[name]), strict=True):
        row[i] = head


def _rank_in_row(
    item: Item,
    roles: Mapping[Item, str],
    means: Mapping[str, float],
    wanted: Mapping[Item, float],
    place: Mapping[Item, float],
) -> tuple[float | str | bool, ...]:
    role = item.role if isinstance(item, Label) else roles.get(item, "")
    own = wanted[item], place[item]
    return (means[role], role, not isinstance(item, Label), *own) if role else (wanted[item], "", True, *own)


def _spread(row: Sequence[Item], wanted: Sequence[float], room: _Room) -> list[float]:
    """Closest places to the wanted ones with room between neighbours (pool adjacent violators)."""
    offsets, at = [], 0.0
    for i, item in enumerate(row):
        half = room.width(item) / 2
        at += half if i == 0 else half + room.between(row[i - 1], item)
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


def _coordinates(rows: list[list[Item]], above: dict[Item, list[Item]], room: _Room) -> dict[Item, float]:
    """Centres that keep the order, drawn towards the mean of the items above and below."""
    below: dict[Item, list[Item]] = defaultdict(list)
    for item, parents in above.items():
        for parent in parents:
            below[parent].append(item)
    centres: dict[Item, float] = {}
    for row in rows:
        centres.update(zip(row, _spread(row, [0.0] * len(row), room), strict=True))
    for sweep in range(2 * SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = []
            for item in row:
                near = above[item] + below[item] if sweep else above[item]
                wanted.append(sum(centres[n] for n in near) / len(near) if near else centres[item])
            _draw_near(row, wanted)
            centres.update(zip(row, _spread(row, wanted, room), strict=True))
    return centres


def _draw_near(row: Sequence[Item], wanted: list[float]) -> None:
    """Labels want to be where what follows them does."""
    for i, item in enumerate(row):
        if isinstance(item, Label):
            wanted[i] = wanted[i + 1]
