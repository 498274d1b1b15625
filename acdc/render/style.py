"""How components and edges look, the same in every picture. The colours are Okabe and Ito's, told apart by all eyes."""

from acdc.circuit.circuit import Circuit, ScoredEdge
from acdc.graph import ReaderKind
from acdc.options import Level

NODE_FILL = {
    "embedding": "#d8efe4",
    "attention": "#dbeaf6",
    "mlp": "#fbe8cf",
    "logits": "#ece4f2",
}
NODE_LINE = {
    "embedding": "#009e73",
    "attention": "#0072b2",
    "mlp": "#d98600",
    "logits": "#7b4f9e",
}
EDGE_COLOUR = {
    ReaderKind.Q: "#d55e00",
    ReaderKind.K: "#009e73",
    ReaderKind.V: "#0072b2",
    ReaderKind.MLP: "#5f6b76",
    ReaderKind.LOGITS: "#5f6b76",
}
TRUNK_COLOUR = "#c3cad1"
INK = "#1d2730"
NODE_LABEL = {"embedding": "embedding", "attention": "attention head", "mlp": "MLP", "logits": "logits"}
THINNEST, THICKEST = 0.9, 5.5


class EdgeStyle:
    """Widths and dashes of one circuit's edges."""

    def __init__(self, circuit: Circuit):
        self._largest = max((abs(edge.score) for edge in circuit.links), default=0.0)
        self._effects = circuit.score_kind == "effect"
        self._sign = -1.0 if circuit.larger_is_better else 1.0

    def width(self, score: float) -> float:
        """Stroke width in points: grows with the square root of |score|, so that weak edges stay visible."""
        share = (abs(score) / self._largest) ** 0.5 if self._largest > 0 else 0.0
        return round(THINNEST + (THICKEST - THINNEST) * share, 2)

    def opposes(self, edge: ScoredEdge) -> bool:
        """Whether ablating the edge alone improves the metric: it works against the behaviour. Drawn dashed."""
        return self._effects and self._sign * edge.score < 0


def legend_edges() -> list[tuple[str, str, bool]]:
    """(colour, meaning, dashed) of every kind of edge."""
    return [
        (EDGE_COLOUR[ReaderKind.Q], "into a query", False),
        (EDGE_COLOUR[ReaderKind.K], "into a key", False),
        (EDGE_COLOUR[ReaderKind.V], "into a value", False),
        (EDGE_COLOUR[ReaderKind.MLP], "into an MLP or the logits", False),
        (EDGE_COLOUR[ReaderKind.MLP], "works against the behaviour", True),
    ]


def title(circuit: Circuit) -> str:
    """One line that says what the picture shows."""
    size = f"{circuit.edges_effective:,} of {circuit.edges_total:,} edges"
    components = len(circuit.graph.writers) - len(circuit.graph.embeddings)
    if circuit.level is Level.nodes:
        size = f"{len(circuit.nodes)} of {components} nodes"
    if circuit.level is Level.neurons:
        every = components * circuit.graph.anatomy.d_model
        size = f"{len(circuit.neurons):,} of {every:,} neurons, in {len(circuit.nodes)} of {components} nodes"
    return f"{circuit.task.name} in {circuit.model.name}: {size}"


def subtitle(circuit: Circuit) -> str:
    return f"{circuit.method.name}, {circuit.metric}, {circuit.ablation} ablation"
