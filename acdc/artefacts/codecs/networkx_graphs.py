"""Networkx graphs of components and slots, as node-link JSON and as GraphML for yEd and Gephi.

Edges lead from a component to a slot and have a score; `wiring` leads from a slot to its component, and has a score
where it is an edge of the circuit itself. Ids are this package's, so a circuit is there as it is: with KV heads,
within-head edges and dangling edges. Of scores without a circuit, all candidate edges are there. Attributes are plain
numbers, texts and truth values, as GraphML asks."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError, fromstring

from acdc.artefacts.codecs.foreign import MARK, Codec, ForeignGraph, Mark
from acdc.artefacts.codecs.reading import number, parse_json, read_bytes, table
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph, Edge, ReaderKind, Writer, is_within_head
from acdc.graph.units import kind_of
from acdc.options import Level

if TYPE_CHECKING:
    import networkx as nx

_CIRCUIT, _SCORE, _WIRING, _INSIDE = "circuit", "score", "wiring", "in_circuit"


def to_graph(found: ForeignGraph, graph: ComponentGraph) -> "nx.DiGraph":
    """The circuit's edges, or all that are scored, with the wiring between them."""
    import networkx as nx  # here, as it takes long and listing the formats needs none of it

    edges = found.edges if found.edges is not None else found.scores or {}
    drawn = nx.DiGraph(**{_CIRCUIT: found.edges is not None, MARK: found.mark.model_dump_json()})
    scored = {name: {} if score is None else {_SCORE: float(score)} for name, score in edges.items()}
    for edge in map(Edge.parse, (name for name in scored if not is_within_head(name))):
        _add_writer(drawn, edge.writer, found)
        if edge.reader.kind is not ReaderKind.MLP:
            drawn.add_node(edge.reader.id, kind=edge.reader.kind.value, layer=edge.reader.layer, head=edge.reader.head)
        drawn.add_edge(edge.writer.id, edge.reader.id, **{_WIRING: False}, **scored[edge.id])
        for owner in graph.owners(edge.reader):
            _add_writer(drawn, owner, found)
            if owner.id != edge.reader.id and not graph.direct_edges:
                drawn.add_edge(edge.reader.id, owner.id, **{_WIRING: True})
    for inner in graph.within_heads:
        if inner.id in scored:
            _add_writer(drawn, inner.owner, found)
            drawn.add_node(
                inner.reader.id, kind=inner.reader.kind.value, layer=inner.reader.layer, head=inner.reader.head
            )
            drawn.add_edge(inner.reader.id, inner.owner.id, **{_WIRING: True}, **scored[inner.id])
    for name in found.nodes or ():  # one that no edge touches is in the circuit all the same
        _add_writer(drawn, next(writer for writer in graph.writers if writer.id == name), found)
    return drawn


def _add_writer(drawn: "nx.DiGraph", writer: Writer, found: ForeignGraph) -> None:
    own: dict[str, Any] = {}
    if found.nodes is not None:
        own = {_INSIDE: writer.id in found.nodes}
        score = found.nodes.get(writer.id)
        own |= {} if score is None else {_SCORE: float(score)}
    drawn.add_node(writer.id, kind=writer.kind.value, layer=writer.layer, head=writer.head, **own)


def from_graph(drawn: "nx.Graph", place: str) -> ForeignGraph:
    """The inverse. Raises InputError for a graph of another kind."""
    if drawn.is_multigraph() or not drawn.is_directed():
        raise InputError(f"{place}: expected a directed graph in which no edge occurs twice")
    mark = drawn.graph.get(MARK)
    mark = Mark.read(None if mark is None else parse_json(str(mark).encode(), Path(place)), place)
    edges: dict[str, float | None] = {}
    for sender, reader, data in drawn.edges(data=True):
        name = f"{sender}->{reader}"
        scored = data.get(_SCORE) is not None
        if not data.get(_WIRING, False) or scored:
            edges[name] = number(data[_SCORE], f"{place}: edge {name!r}") if scored else None
    nodes = {
        str(name): None if data.get(_SCORE) is None else number(data[_SCORE], f"{place}: node {name!r}")
        for name, data in drawn.nodes(data=True)
        if data.get(_INSIDE) is True
    }
    found = ForeignGraph(edges=edges, nodes=nodes if Level.nodes in kind_of(mark.level).lists else None, mark=mark)
    if drawn.graph.get(_CIRCUIT, True):
        return replace(found, mark=mark.model_copy(update={"scored": "circuit"}))
    if None in edges.values():
        raise InputError(f"{place}: edge {next(name for name in edges if edges[name] is None)!r} has no score")
    return ForeignGraph(scores={name: score or 0.0 for name, score in edges.items()}, mark=mark)


def _encode_json(found: ForeignGraph, graph: ComponentGraph) -> bytes:
    import networkx as nx

    record = nx.node_link_data(to_graph(found, graph), edges="edges")
    return (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()


def _decode_json(path: Path, anatomy: Anatomy) -> ForeignGraph:
    import networkx as nx

    record = table(parse_json(read_bytes(path, _convert(path)), path), str(path))
    table(record.get("graph", {}), f"{path}, graph")
    key = "links" if "links" in record else "edges"
    try:
        drawn = nx.node_link_graph(record, edges=key)
    except (KeyError, TypeError, AttributeError, ValueError, nx.NetworkXException) as error:
        raise InputError(f"{path} is not a node-link graph of networkx: {error!r}") from None
    if drawn.number_of_edges() != len(record[key]):
        raise InputError(f"{path}: an edge occurs twice")
    return from_graph(drawn, str(path))


def _encode_graphml(found: ForeignGraph, graph: ComponentGraph) -> bytes:
    import networkx as nx

    file = io.BytesIO()
    nx.write_graphml_xml(to_graph(found, graph), file)
    try:
        fromstring(file.getvalue())
    except ParseError:
        raise InputError(
            "a name in this circuit has a control character, which GraphML cannot hold: use the format networkx"
        ) from None
    return file.getvalue() + b"\n"


def _decode_graphml(path: Path, anatomy: Anatomy) -> ForeignGraph:
    import networkx as nx

    content = read_bytes(path, _convert(path))
    try:
        drawn = nx.read_graphml(io.BytesIO(content))
    except (ParseError, LookupError, TypeError, ValueError, nx.NetworkXException) as error:
        raise InputError(f"{path} is not valid GraphML: {error}") from None
    return from_graph(drawn, str(path))


def _convert(path: Path) -> str:
    return (
        f"python -c \"import json, networkx as nx, pickle; json.dump(nx.node_link_data(pickle.load(open('{path.name}', "
        f"'rb')), edges='edges'), open('{path.stem}.json', 'w'))\""
    )


def terms(anatomy: Anatomy, mark: Mark) -> ComponentGraph:
    return ComponentGraph(anatomy, mark.split_embeddings, mark.direct_edges)


def _codec(name: str, encode: Callable, decode: Callable) -> Codec:
    return Codec(name, terms, encode, decode, outside=False)


NODE_LINK = _codec("networkx", _encode_json, _decode_json)
GRAPHML = _codec("graphml", _encode_graphml, _decode_graphml)
