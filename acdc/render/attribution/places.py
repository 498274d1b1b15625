"""Where the nodes of an attribution graph stand: a column for each token, a row for each layer, tokens below, logits on
top. Units of one layer and token stand side by side, the most influential first; what is folded comes last."""

from collections.abc import Sequence
from dataclasses import dataclass

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import Node, NodeKind
from acdc.render.attribution.folding import Folded, Run, by_influence, fold, span
from acdc.render.grid import UNIT, Places, stack

WIDTH, HEIGHT = 1100.0, 800.0  # of a picture whose labels can be read on a screen
OWN = (60, 48, 36, 28, 20, 14, 8, 4, 0)  # nodes of their own, as many as there is room for
IN_LINE = (None, 16, 10, 7, 5)
ROW_GAP, LEAST_GAP = 22.0, 7.0
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
        case NodeKind.FOLDED:
            return f"+{node.index}"
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
    said = label.replace("\n", "\\n") if label.strip() else repr(label)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def _width(node: Node) -> float:
    if node.is_unit:
        return UNIT if node.index < 10_000 else WIDE_UNIT
    return max(UNIT, 12 + LETTER * len(caption(node)))


@dataclass(frozen=True)
class Arranged:
    """What a picture of a graph shows, and where it stands."""

    folded: Folded
    places: Places

    @property
    def fits(self) -> bool:
        """Whether it can be read where it is looked at as a whole."""
        return self.places.width <= WIDTH and self.places.height <= HEIGHT


def arrange(graph: AttributionGraph, pruning: Pruning, every: bool = False) -> Arranged:
    """The places of all kept nodes where `every` is asked for or there is room, else those of most influence that there
    is room for and of boxes for the others."""
    order = by_influence(graph, pruning)
    whole = _best(fold(graph, pruning, order))
    if every or whole.fits:
        return whole
    found = whole
    for columns in (False, True):
        for count in OWN:
            found = _best(fold(graph, pruning, order[:count], columns))
            if found.fits and (count or columns):
                return found
    return found


def _best(folded: Folded) -> Arranged:
    """With as many nodes side by side as makes the picture the least too large."""
    found = [Arranged(folded, place(folded, in_line)) for in_line in IN_LINE]
    return min(found, key=lambda one: max(1.0, one.places.width / WIDTH, one.places.height / HEIGHT))


def place(folded: Folded, in_line: int | None = None) -> Places:
    """Places of the nodes that a folded graph keeps, at most `in_line` side by side at one place."""
    graph, cells = folded.graph, dict[tuple[int, int], list[Node]]()
    for node in graph.kept(folded.pruning):
        row = number_of(folded.rows, -1 if node.kind in EMBEDDINGS else node.layer)
        column = number_of(folded.columns, node.position) if node.position >= 0 else -1
        cells.setdefault((row, column), []).append(node)
    for nodes in cells.values():
        at = {node.id: graph.index[node.id] for node in nodes}
        nodes.sort(key=lambda node: (node.kind is NodeKind.FOLDED, -graph.influence[at[node.id]], at[node.id]))
    sized = {place: [(node.id, _width(node)) for node in nodes] for place, nodes in cells.items()}
    gap = min(max((HEIGHT - 20.0 * len(folded.rows)) / len(folded.rows), LEAST_GAP), ROW_GAP)
    return stack(sized, len(folded.columns), lambda row: _name(graph, folded.rows[row]), in_line, gap)


def number_of(runs: Sequence[Run], number: int) -> int:
    """Which of some runs a number is in."""
    return next(place for place, (first, last) in enumerate(runs) if first <= number <= last)


def _name(graph: AttributionGraph, layers: Run) -> str:
    return "tokens" if layers[1] < 0 else "logits" if layers[0] == graph.logits[0].layer else f"MLP {span(layers)}"
