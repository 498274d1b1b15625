"""A circuit as a graph of networkx."""

from typing import TYPE_CHECKING

from acdc.artefacts.circuit import Circuit
from acdc.graph import Edge, Writer, is_within_head

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(circuit: Circuit) -> "nx.DiGraph":
    """See `Circuit.to_networkx`."""
    import networkx as nx  # here, as it takes longer to import than a circuit to read

    graph = nx.DiGraph(
        name=f"{circuit.task.name} in {circuit.model.name}",
        metric=circuit.metric,
        sign_convention=circuit.sign_convention,
    )
    writing = {Edge.parse(scored.id).writer for scored in circuit.links}
    within_heads = {scored.id: scored.score for scored in circuit.effective if is_within_head(scored.id)}
    for scored in circuit.links:
        edge = Edge.parse(scored.id)
        _add_writer(graph, edge.writer)
        reader = edge.reader
        graph.add_node(reader.id, kind=reader.kind.value, layer=reader.layer, head=reader.head)
        graph.add_edge(edge.writer.id, reader.id, score=scored.score, wiring=False)
        for owner in (owner for owner in circuit.graph.owners(reader) if owner in writing):
            _add_writer(graph, owner)
            name = f"{reader.id}->{owner.id}"
            if owner.id != reader.id and (name in within_heads or not circuit.model.direct_edges):
                graph.add_edge(
                    reader.id, owner.id, wiring=True, **({"score": within_heads[name]} if within_heads else {})
                )
    return graph


def _add_writer(graph: "nx.DiGraph", writer: Writer) -> None:
    graph.add_node(writer.id, kind=writer.kind.value, layer=writer.layer, head=writer.head)
