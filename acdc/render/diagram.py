"""What a picture of a circuit consists of, before it has a layout: ranked nodes and styled links."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from acdc.artefacts.circuit import Circuit, ScoredEdge
from acdc.graph import ComponentGraph, Edge, Reader, ReaderKind, Writer, WriterKind
from acdc.options import Colouring
from acdc.render.look import PLAIN, Look
from acdc.render.style import EDGE_COLOUR, OPACITY, READABLE, EdgeStyle, LineMeaning, scores_edges


@dataclass(frozen=True)
class Node:
    """A component, the logits, or under grouped-query attention a key or value slot that several heads share.

    `rank` orders from the embeddings down: per layer shared slots, heads, MLP. `place` orders inside a rank. `role`:
    of a head, where roles are shown. `present`: whether an edge leads to or from it; others only mark their place.
    `mark`: how its outline differs from that of its kind, if it does.
    """

    id: str
    label: str
    kind: str
    rank: int
    place: int
    role: str | None = None
    present: bool = True
    mark: LineMeaning | None = None


@dataclass(frozen=True)
class Link:
    """An edge of the circuit, or wiring from a shared slot to its heads (`tooltip` empty)."""

    source: str
    target: str
    port: ReaderKind
    colour: str
    width: float
    dash: str
    tooltip: str
    opacity: float = OPACITY

    @property
    def is_wiring(self) -> bool:
        return not self.tooltip


@dataclass(frozen=True)
class Diagram:
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]

    @property
    def is_crowded(self) -> bool:
        """Whether there are more links than can be followed one by one: what they show then is where most lead."""
        return len(self.links) > READABLE


@dataclass(frozen=True)
class StyledEdge:
    """An edge by its id, and how it is drawn."""

    id: str
    colour: str
    width: float
    dash: str
    tooltip: str
    opacity: float = OPACITY


def build_diagram(circuit: Circuit, look: Look = PLAIN, kept: Collection[str] | None = None) -> Diagram:
    """Nodes and links of the effective circuit, or of the edges of it that are `kept`, in a fixed order."""
    style, scored_edges = EdgeStyle(circuit), scores_edges(circuit)
    styled = [
        StyledEdge(
            id=scored.id,
            colour=_colour(circuit, scored, style, look),
            width=style.width(scored.score),
            dash="dashed" if style.opposes(scored) else "solid",
            tooltip=f"{scored.id}: {scored.score:+.4g}" if scored_edges else scored.id,
            opacity=style.opacity(scored.score),
        )
        for scored in circuit.links
        if kept is None or scored.id in kept
    ]
    return arrange(circuit.graph, styled, look)


def _colour(circuit: Circuit, scored: ScoredEdge, style: EdgeStyle, look: Look) -> str:
    if look.colours is Colouring.input:
        return EDGE_COLOUR[Edge.parse(scored.id).reader.kind]
    return style.colour(scored.score)


def arrange(graph: ComponentGraph, edges: Sequence[StyledEdge], look: Look = PLAIN) -> Diagram:
    """Nodes and links of some edges of a graph, in a fixed order; where places are fixed, with all of its nodes."""
    nodes: dict[str, Node] = {}
    links: list[Link] = []
    writers = {Edge.parse(styled.id).writer for styled in edges}
    for styled in edges:
        edge = Edge.parse(styled.id)
        reader = edge.reader
        _add(nodes, _writer_node(edge.writer))
        owners = graph.owners(reader)
        drawn = [owner for owner in owners if owner in writers] or list(owners[:1])
        target = _slot_node(reader) if reader.shared else _writer_node(drawn[0]) if drawn else _logits_node(graph)
        if reader.shared and target.id not in nodes:
            links += [_wiring(reader, owner) for owner in drawn if owner in writers]
        _add(nodes, target)
        how = styled.colour, styled.width, styled.dash, styled.tooltip, styled.opacity
        links.append(Link(edge.writer.id, target.id, reader.kind, *how))
    for node in _every_node(graph) if look.fixed else ():
        _add(nodes, replace(node, present=False))
    placed = sorted(nodes.values(), key=lambda node: (node.rank, node.place))
    named = (replace(n, role=look.roles.get(n.id), label=look.names.get(n.id, n.label)) for n in placed)
    return Diagram(tuple(named), tuple(links))


def _every_node(graph: ComponentGraph) -> list[Node]:
    slots = [_slot_node(reader) for reader in graph.readers if reader.shared]
    return [*map(_writer_node, graph.writers), *slots, _logits_node(graph)]


def _add(nodes: dict[str, Node], node: Node) -> None:
    nodes.setdefault(node.id, node)


def _writer_node(writer: Writer) -> Node:
    match writer.kind:
        case WriterKind.HEAD:
            return Node(writer.id, writer.id, "attention", 3 * writer.layer + 2, writer.head)
        case WriterKind.MLP:
            return Node(writer.id, writer.id, "mlp", 3 * writer.layer + 3, 0)
        case _:
            return Node(writer.id, writer.id, "embedding", 0, int(writer.kind is WriterKind.POSITIONS))


def _slot_node(reader: Reader) -> Node:
    label = f"kv{reader.head} {'key' if reader.kind is ReaderKind.K else 'value'}"
    return Node(reader.id, label, "slot", 3 * reader.layer + 1, 2 * reader.head + (reader.kind is ReaderKind.V))


def _logits_node(graph: ComponentGraph) -> Node:
    return Node("logits", "logits", "logits", 3 * graph.anatomy.n_layers + 1, 0)


def _wiring(reader: Reader, owner: Writer) -> Link:
    return Link(reader.id, owner.id, reader.kind, EDGE_COLOUR[reader.kind], 0.9, "dotted", "")
