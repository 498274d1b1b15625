"""Which nodes of an attribution graph a picture shows one by one, so that it can be read, and which it folds.

The neurons or features of most influence have boxes of their own. All other nodes of a layer at a token are one box;
neighbouring layers without a node of their own are one row, and where a prompt is too long, so are neighbouring tokens.
The page does the same in the browser (see `fold.js` there).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node, NodeKind
from acdc.artefacts.attribution.supernodes import put_together

Run = tuple[int, int]  # first and last
_AT_TOKENS = (NodeKind.TOKEN, NodeKind.POSITION)


@dataclass(frozen=True)
class Folded:
    """A graph to be drawn, with its pruning. `rows`: the layers that share a row each, -1 for tokens; `columns`: the
    positions that share a column each."""

    graph: AttributionGraph
    pruning: Pruning
    rows: tuple[Run, ...]
    columns: tuple[Run, ...]

    @property
    def count(self) -> int:
        """How many nodes are folded."""
        return sum(node.index for node in self.graph.nodes if node.kind is NodeKind.FOLDED)


def by_influence(graph: AttributionGraph, pruning: Pruning) -> list[Node]:
    """Kept nodes that can be folded: units, then what is left of MLPs, each the most influential first."""
    kept = [node for node in graph.kept(pruning) if node.is_unit or node.kind in REMAINDERS]
    return sorted(kept, key=lambda node: (node.kind in REMAINDERS, pruning.rank[graph.index[node.id]], node.id))


def fold(graph: AttributionGraph, pruning: Pruning, own: Collection[Node], columns: bool = False) -> Folded:
    """Fold all that `by_influence` lists but `own`; `columns`: and tokens at which nothing is of its own."""
    kept = graph.kept(pruning)
    single = {*own, *(node for node in kept if node.kind is NodeKind.GROUP)}
    upper = [node for node in kept if node.is_unit or node.kind in (*REMAINDERS, NodeKind.GROUP)]
    tokens, top = range(len(graph.tokens)), graph.logits[0].layer
    rows = [(-1, -1), *_runs({node.layer for node in upper}, {node.layer for node in single}), (top, top)]
    last = len(tokens) - 1  # where the logits stand
    own_columns = {node.position for node in single} | {last} if columns else set(tokens)
    found = _runs(tokens, own_columns)
    cells: dict[tuple[Run, Run], list[Node]] = {}
    for node in kept:
        if node in single or node.position < 0 or node.kind is NodeKind.LOGIT:
            continue
        row, column = _run_of(rows, node.layer), _run_of(found, node.position)
        if node.kind not in _AT_TOKENS or column[0] < column[1]:
            cells.setdefault((row, column), []).append(node)
    made = [(_box(row, column, len(nodes)), [n.id for n in nodes]) for (row, column), nodes in cells.items()]
    folded = put_together(graph, pruning, [one for one in made if len(one[1]) > 1])
    return Folded(replace(folded[0], groups={}), folded[1], tuple(rows), tuple(found))


def _runs(all_of_them: Iterable[int], own: Collection[int]) -> list[Run]:
    """Each of `own` by itself, and what stands between them together."""
    found: list[Run] = []
    previous_own = True
    for number in sorted(all_of_them):
        if number in own or previous_own:
            found.append((number, number))
        else:
            found[-1] = (found[-1][0], number)
        previous_own = number in own
    return found


def _run_of(runs: Sequence[Run], number: int) -> Run:
    return next(run for run in runs if run[0] <= number <= run[1])


def _box(row: Run, column: Run, count: int) -> Node:
    where = "tokens" if row[1] < 0 else f"MLP {span(row)}"
    return Node(NodeKind.FOLDED, row[1], column[1], count, label=f"{where} at {span(column)}")


def span(run: Run) -> str:
    """A run as words."""
    return str(run[0]) if run[0] == run[1] else f"{run[0]} to {run[1]}"
