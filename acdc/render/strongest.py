"""The strongest paths of a circuit from the embeddings to the logits.

A path is as strong as its weakest edge; of two with the same, the second weakest decides, and so on. This order does
not change when both paths get one more edge, so the best paths to a component are made of the best to those before it.
"""

import math
from collections import defaultdict
from dataclasses import dataclass

from acdc.artefacts.circuit import Circuit, ScoredEdge
from acdc.graph import Edge


@dataclass(frozen=True)
class Path:
    """Edges, each from a component that the one before it leads into."""

    edges: tuple[ScoredEdge, ...]

    @property
    def weakest(self) -> float:
        """The least |score|."""
        return min(abs(edge.score) for edge in self.edges)

    @property
    def order(self) -> tuple[float, ...]:
        """Greater for a stronger path."""
        return (*sorted(abs(edge.score) for edge in self.edges), math.inf)

    @property
    def text(self) -> str:
        """The components that it leads through, with the input of a head that it goes into."""
        parsed = [Edge.parse(edge.id) for edge in self.edges]
        parts = [parsed[0].writer.id]
        for edge, after in zip(parsed, parsed[1:], strict=False):
            kind = edge.reader.kind.value
            parts.append(after.writer.id if kind == "mlp" else f"{after.writer.id}<{kind}>")
        return " \u2192 ".join([*parts, "logits"])


def strongest_paths(circuit: Circuit, count: int) -> list[Path]:
    """At most so many, the strongest first."""
    graph, into = circuit.graph, defaultdict(list)
    for scored in circuit.links:
        edge = Edge.parse(scored.id)
        for target in [owner.id for owner in graph.owners(edge.reader)] or ["logits"]:
            into[target].append((edge.writer.id, scored))
    best: dict[str, list[Path]] = {writer.id: [Path(())] for writer in graph.embeddings}

    def through(target: str) -> list[Path]:
        found = [Path((*path.edges, scored)) for writer, scored in into[target] for path in best[writer]]
        return sorted(found, key=lambda path: (tuple(-size for size in path.order), len(path.edges)))[:count]

    for writer in graph.writers[len(graph.embeddings) :]:
        best[writer.id] = through(writer.id)
    return through("logits")
