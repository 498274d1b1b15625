"""Places of a model's components whatever edges a circuit has, so that pictures of its circuits can be compared.

Layers are rows and heads columns, with a column of MLPs and embeddings in the middle. Every writer has a lane of its
own beside its column, in which its trunk runs straight down.
"""

from collections.abc import Sequence

from acdc.graph import ComponentGraph
from acdc.render.diagram import Diagram, Node
from acdc.render.layout import NODE_HEIGHT, RANK_GAP, Box, Layout, node_width, rank_places, reach

MIDDLE_WIDTH, LANE_WIDTH, LANES_WIDTH, LANE_MARGIN = 96.0, 6.0, 66.0, 9.0


def place(diagram: Diagram, graph: ComponentGraph) -> Layout:
    """Layout of a diagram that has every node of its graph."""
    used = sorted({node.rank for node in diagram.nodes})
    ranks = {node.id: used.index(node.rank) for node in diagram.nodes}
    columns, heights = _Columns(diagram.nodes, graph), rank_places(len(used))
    boxes = {node.id: columns.box(node, heights[ranks[node.id]]) for node in diagram.nodes}
    nodes = {node.id: node for node in diagram.nodes}
    trunks = {
        (source, rank): Box(columns.lane(nodes[source]), heights[rank], 0.0)
        for source, lowest in reach(diagram, ranks).items()
        for rank in range(ranks[source] + 1, lowest + 1)
    }
    height = len(used) * NODE_HEIGHT + (len(used) - 1) * RANK_GAP
    return Layout(boxes, trunks, ranks, columns.width, height)


class _Columns:
    """Where columns are: heads in their order, the first half of them left of the middle."""

    def __init__(self, nodes: Sequence[Node], graph: ComponentGraph):
        anatomy = graph.anatomy
        self._group = anatomy.group_size
        self._head_width = max(node_width(node, 0) for node in nodes if node.kind in ("attention", "slot"))
        embeddings = len(graph.embeddings)
        self._first_lane, lanes = embeddings, embeddings + anatomy.n_layers
        self._step = min(LANE_WIDTH, LANES_WIDTH / lanes)
        gap = self._step * (lanes - 1) + 2 * LANE_MARGIN
        half = anatomy.n_heads // 2
        self._middle = half * (self._head_width + gap) + MIDDLE_WIDTH / 2
        after = self._middle + MIDDLE_WIDTH / 2 + gap
        self._heads = [
            (head * (self._head_width + gap) if head < half else after + (head - half) * (self._head_width + gap))
            + self._head_width / 2
            for head in range(anatomy.n_heads)
        ]
        self.width = max(self._heads[-1] + self._head_width / 2, self._middle + MIDDLE_WIDTH / 2) + gap

    def box(self, node: Node, y: float) -> Box:
        """Place and size of a node; the logits are as wide as all columns, so that lanes run straight into them."""
        match node.kind:
            case "attention":
                return Box(self._heads[node.place], y, self._head_width)
            case "slot":  # keys over the first head of those that share them, values over the last
                kv_head, is_value = divmod(node.place, 2)
                head = kv_head * self._group + (self._group - 1) * is_value
                return Box(self._heads[head], y, self._head_width)
            case "logits":
                return Box(self.width / 2, y, self.width)
            case "embedding":  # two of them share the column
                return Box(self._middle + node.place * (MIDDLE_WIDTH + 4), y, MIDDLE_WIDTH)
            case _:
                return Box(self._middle, y, MIDDLE_WIDTH)

    def lane(self, node: Node) -> float:
        """Of a writer, right of its column: embeddings first, then by layer."""
        if node.kind == "attention":
            left, index = self._heads[node.place] + self._head_width / 2, self._first_lane + (node.rank - 2) // 3
        else:
            left = self._middle + MIDDLE_WIDTH / 2
            index = node.place if node.kind == "embedding" else self._first_lane + (node.rank - 3) // 3
        return left + LANE_MARGIN + self._step * index
