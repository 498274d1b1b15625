"""Where the nodes of an attribution graph stand: a column for each token, a row for each layer, tokens below, logits on
top. Units of one layer and token stand side by side, the most influential first."""

from collections import defaultdict

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import Node, NodeKind
from acdc.render.grid import UNIT, Places, stack

WIDE_UNIT, LETTER = 40.0, 6.2
LONGEST = 14  # letters of a token that are shown
EMBEDDINGS = (NodeKind.TOKEN, NodeKind.POSITION, NodeKind.BIAS, NodeKind.FIRST)


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
    sized = {place: [(node.id, _width(node)) for node in nodes] for place, nodes in cells.items()}
    return stack(sized, len(graph.tokens), lambda row: _name(graph, row))


def _row(graph: AttributionGraph, node: Node) -> int:
    return -1 if node.kind in EMBEDDINGS else node.layer


def _name(graph: AttributionGraph, row: int) -> str:
    return "tokens" if row < 0 else "logits" if row == graph.logits[0].layer else f"MLP {row}"
