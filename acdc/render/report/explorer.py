"""What the page's script draws and prunes: the graph, the edges that a threshold goes over, and the circuit's own.

With scores of all candidate edges, the threshold goes over the strongest of them, else over the circuit's own edges.
`size` is what is compared with a threshold: |score|, or where components were chosen, what both ends of an edge have.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.names import NO_NAMES, Names
from acdc.artefacts.verification.mechanism import ATTENDS
from acdc.artefacts.verification.over_sizes import SHARES
from acdc.artefacts.verification.report import Report
from acdc.graph import Edge, WriterKind
from acdc.render.style import scores_edges
from acdc.words import count_of

MOST_EDGES = 6000  # of the candidates, the strongest


def explorer_data(
    circuit: Circuit, report: Report, scores: np.ndarray | None, names: Names = NO_NAMES
) -> dict[str, Any]:
    """JSON values; edges and within-head edges are columns, in the order of the graph, and `own` are the places of the
    circuit's.

    `floor`: the least threshold under which all candidates that reach it are there.
    """
    graph, values = circuit.graph, _values(circuit, scores)
    sizes = _sizes(circuit, values)
    places, floor = _embedded(circuit, sizes, scores is not None)
    writers, readers = graph.ends
    wire_ends = [(graph.reader_index[inner.reader], graph.writer_index[inner.owner]) for inner in graph.within_heads]
    edges, within_heads = places[places < len(writers)], places[places >= len(writers)]
    return {
        "writers": [writer.id for writer in graph.writers],
        "embeddings": len(graph.embeddings),
        "readers": [
            [reader.id, reader.kind.value, [graph.writer_index[owner] for owner in graph.owners(reader)], reader.shared]
            for reader in graph.readers
        ],
        "edges": {
            "w": writers[edges].tolist(),
            "r": readers[edges].tolist(),
            **_columns(circuit, values, sizes, edges),
        },
        "wires": {
            "w": [wire_ends[place - len(writers)][1] for place in within_heads],
            "r": [wire_ends[place - len(writers)][0] for place in within_heads],
            **_columns(circuit, values, sizes, within_heads),
        },
        "directEdges": graph.direct_edges,
        "total": graph.n_edges,
        "candidates": None if scores is None else len(scores),
        "floor": floor,
        "effects": circuit.score_kind == "effect",
        "sign": -1 if circuit.larger_is_better else 1,
        "metric": circuit.metric,
        "faithfulness": report.faithfulness,
        "level": circuit.level.value,
        "scored": scores_edges(circuit),
        "components": {} if scores_edges(circuit) else {node.id: node.score for node in circuit.nodes},
        "parts": parts_text(circuit),
        "positional": len(circuit.positions) if circuit.spans is not None else None,
        "removals": {r.id: [r.change, r.rows_worse, r.hurts] for r in report.removals},
        "sizes": measured_sizes(circuit, report),
        "names": names.names,
        "given": names.roles,
        **_heads(report, names),
    }


def parts_text(circuit: Circuit) -> str:
    """How many of each kind of component a circuit of components has, as a sentence; of heads and neurons, that there
    are none of one kind."""
    kinds = [writer.kind for writer in (Edge.parse(f"{node.id}->logits").writer for node in circuit.nodes)]
    heads, mlps = kinds.count(WriterKind.HEAD), kinds.count(WriterKind.MLP)
    if circuit.units.have_neurons:
        neurons = len(circuit.neurons) - len(circuit.nodes)  # it lists heads too
        return f"{count_of(heads, 'head')} and {count_of(neurons, 'neuron') if neurons else 'no neuron'} were kept."
    return f"{count_of(heads, 'head')} and {count_of(mlps, 'MLP')} were kept."


def _heads(report: Report, names: Names) -> dict[str, Any]:
    """By id, the role of heads that verification hints at or a reader gave, and what it found: the direct effect, where
    most attention goes."""
    hints = report.full_verification.hints if report.full_verification else []
    hinted = {hint.id: hint.label.removeprefix(ATTENDS) for hint in hints if hint.label}
    return {
        "hinted": hinted,
        "roles": hinted | names.roles,
        "heads": {
            hint.id: {
                "adds": [hint.adds.value, hint.adds.low, hint.adds.high],
                "everywhere": _largest(hint.attention.everywhere),
                "answer": _largest(hint.attention.answer),
            }
            for hint in hints
        },
    }


def _largest(shares: Mapping[str, float | None]) -> list[tuple[str, float]]:
    """Shares of attention by target, the largest first."""
    known = [(target, share) for target, share in shares.items() if share is not None]
    return sorted(known, key=lambda one: (-one[1], one[0]))


def _values(circuit: Circuit, scores: np.ndarray | None) -> np.ndarray:
    """Score of every edge [edges], nan where there is none."""
    values = np.full(circuit.graph.n_edges, np.nan) if scores is None else np.array(scores, dtype=float)
    for edge in circuit.edges:
        values[circuit.graph.index[edge.id]] = edge.score
    return values


def _sizes(circuit: Circuit, values: np.ndarray) -> np.ndarray:
    """What thresholds are compared with, [edges]; -1 where there is no score.

    Of a circuit of components, an edge stays while its sender does (embeddings always do) and one that its slot belongs
    to does: the same edges as `ComponentGraph.between` of the components with enough.
    """
    if scores_edges(circuit):
        return np.nan_to_num(np.abs(values), nan=-1.0)
    graph, writers = circuit.graph, circuit.graph.ends[0]
    strength = {node.id: abs(node.score) for node in circuit.nodes}
    of_writer = np.array([strength.get(writer.id, -1.0) for writer in graph.writers])
    of_writer[: len(graph.embeddings)] = np.inf
    owned = [[graph.writer_index[owner] for owner in graph.owners(reader)] for reader in graph.readers]
    of_reader = np.array([max(of_writer[owners]) if owners else np.inf for owners in owned])
    sizes = np.minimum(of_writer[writers], of_reader[graph.ends[1]])
    largest = max(strength.values(), default=0.0)
    within_heads = [of_writer[graph.writer_index[inner.owner]] for inner in graph.within_heads]
    return np.minimum(np.concatenate([sizes, within_heads]), largest)


def _embedded(circuit: Circuit, sizes: np.ndarray, scored: bool) -> tuple[np.ndarray, float]:
    """(places of the edges that the page has, the least threshold that it has all edges for)."""
    own = circuit.mask
    least = max(0.0, float(sizes[own].min())) if own.any() else 0.0
    if not scored:
        return np.flatnonzero(own), least
    if len(sizes) <= MOST_EDGES:
        return np.arange(len(sizes)), float(sizes.min())
    beyond = np.partition(sizes, -MOST_EDGES - 1)[-MOST_EDGES - 1]
    strong = sizes > beyond  # with none of a tie at the border, or all of it
    if not strong.any():
        return np.flatnonzero(own), least
    return np.flatnonzero(strong | own), float(sizes[strong].min())


def _columns(circuit: Circuit, values: np.ndarray, sizes: np.ndarray, places: np.ndarray) -> dict[str, Any]:
    return {
        "score": values[places].tolist(),
        "size": sizes[places].tolist() if not scores_edges(circuit) else None,
        "own": np.flatnonzero(circuit.mask[places]).tolist(),
    }


def measured_sizes(circuit: Circuit, report: Report) -> list[tuple[int, float]]:
    """(edges selected by rank, faithfulness) of the full verification's curve over sizes."""
    sizes = report.full_verification.over_sizes if report.full_verification else None
    if sizes is None:
        return []
    return [(round(share * circuit.edges_total), f) for share, f in zip(SHARES, sizes.by_size, strict=True)]
