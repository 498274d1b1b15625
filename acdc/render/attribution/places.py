"""Where the nodes of an attribution graph stand: a column for each token, a row for each layer, tokens below, logits on
top. Units of one layer and token stand side by side, the most influential first."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import Node, NodeKind
from acdc.render.layout import Box

HEIGHT, ROW, GAP, COLUMN_GAP, LEFT = 18.0, 40.0, 5.0, 26.0, 70.0
UNIT, WIDE_UNIT, LETTER = 32.0, 40.0, 6.2
LONGEST = 14  # letters of a token that are shown
EMBEDDINGS = (NodeKind.TOKEN, NodeKind.POSITION, NodeKind.BIAS, NodeKind.FIRST)


@dataclass(frozen=True)
class Places:
    """Boxes of kept nodes by id, `rows` of layers as (name, y), `columns` as (left, right) by position; in points, y
    downwards."""

    boxes: Mapping[str, Box]
    rows: Sequence[tuple[str, float]]
    columns: Sequence[tuple[float, float]]
    width: float
    height: float


def caption(node: Node) -> str:
    """What stands in a node's box."""
    match node.kind:
        case NodeKind.NEURON | NodeKind.FEATURE:
            return str(node.index)
        case NodeKind.GROUP:
            return _short(node.label)
        case NodeKind.REST | NodeKind.ERROR:
            return node.kind.value
        case NodeKind.TOKEN:
            return _short(node.label)
        case NodeKind.POSITION:
            return f"pos {node.position}"
        case NodeKind.BIAS:
            return "biases"
        case NodeKind.FIRST:
            return "first MLPs"
        case NodeKind.LOGIT:
            probability = "" if node.minus >= 0 else f" {node.weight:.0%}" if node.weight >= 0.01 else " <1%"
            return f"{_short(node.label)}{probability}"


def _short(label: str) -> str:
    said = label.replace("\n", "\\n") or "''"
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def _width(node: Node) -> float:
    if node.is_unit:
        return UNIT if node.index < 10_000 else WIDE_UNIT
    return max(UNIT, 12 + LETTER * len(caption(node)))


def place(graph: AttributionGraph, pruning: Pruning) -> Places:
    """Places of the nodes that a pruning keeps."""
    cells: dict[tuple[int, int], list[Node]] = defaultdict(list)
    for node in graph.kept(pruning):
        cells[_row(graph, node), node.position].append(node)
    for nodes in cells.values():
        nodes.sort(key=lambda node: (-graph.influence[graph.index[node.id]], graph.index[node.id]))
    widths = [
        max((_cell_width(nodes) for (_, column), nodes in cells.items() if column == position), default=UNIT)
        for position in range(-1, len(graph.tokens))
    ]
    lefts = [LEFT]
    for width in widths:
        lefts.append(lefts[-1] + width + COLUMN_GAP)
    rows = sorted({row for row, _ in cells}, reverse=True)
    height_of = {row: HEIGHT / 2 + number * ROW for number, row in enumerate(rows)}
    boxes = {}
    for (row, column), nodes in cells.items():
        x = lefts[column + 1] + (widths[column + 1] - _cell_width(nodes)) / 2
        for node in nodes:
            width = _width(node)
            boxes[node.id] = Box(x + width / 2, height_of[row], width, HEIGHT)
            x += width + GAP
    return Places(
        boxes,
        [(_name(graph, row), height_of[row]) for row in rows],
        list(zip(lefts[1:-1], (left - COLUMN_GAP for left in lefts[2:]), strict=True)),
        lefts[-1] - COLUMN_GAP + GAP,
        len(rows) * ROW - ROW + HEIGHT,
    )


def _row(graph: AttributionGraph, node: Node) -> int:
    return -1 if node.kind in EMBEDDINGS else node.layer


def _name(graph: AttributionGraph, row: int) -> str:
    return "tokens" if row < 0 else "logits" if row == graph.logits[0].layer else f"MLP {row}"


def _cell_width(nodes: Sequence[Node]) -> float:
    return sum(map(_width, nodes)) + GAP * (len(nodes) - 1)
