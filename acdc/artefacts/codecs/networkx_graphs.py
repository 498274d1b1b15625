"""Networkx graphs of components and slots, as node-link JSON and as GraphML for yEd and Gephi.

Edges lead from a component to a slot and have a score; `wiring` leads from a slot to its component, and has a score
where it is an edge of the circuit itself. Ids are this package's, so a circuit is there as it is: with KV heads,
within-head edges and dangling edges. Of scores without a circuit, all candidate edges are there. Of a circuit at spans,
nodes are components and slots at these: `a1.h0@S1`. Attributes are plain numbers, texts and truth values, as GraphML
asks."""

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError, fromstring

from acdc.artefacts.codecs.foreign import MARK, Codec, ForeignGraph, Mark
from acdc.artefacts.codecs.reading import boolean, number, parse_json, read_bytes, table
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph, Edge, ReaderKind, Writer, is_within_head
from acdc.graph.positional_graph import parts_of
from acdc.graph.units import kind_of
from acdc.options import Level

if TYPE_CHECKING:
    import networkx as nx

_CIRCUIT, _SCORE, _WIRING, _INSIDE, _SPAN = "circuit", "score", "wiring", "in_circuit", "span"


def to_graph(found: ForeignGraph, graph: ComponentGraph) -> "nx.DiGraph":
    """The circuit's edges, or all that are scored, with the wiring between them."""
    import networkx as nx  # here, as it takes long and listing the formats needs none of it

    every, own = found.every(found.edge_level), found.own(found.edge_level)
    edges = own if own is not None else every or {}
    drawn = nx.DiGraph(**{_CIRCUIT: own is not None, MARK: found.mark.model_dump_json()})
    scored = {name: {} if score is None else {_SCORE: float(score)} for name, score in edges.items()}
    for name in (name for name in scored if not is_within_head(name)):
        _add_edge(drawn, name, scored[name], found, graph)
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


def _add_edge(
    drawn: "nx.DiGraph", name: str, attributes: dict[str, Any], found: ForeignGraph, graph: ComponentGraph
) -> None:
    """An edge between components, its ends, and the wiring from its slot."""
    plain, source, span = parts_of(name) or (name, None, None)
    edge = Edge.parse(plain)
    reader, slot = edge.reader, _at(edge.reader.id, span)
    _add_writer(drawn, edge.writer, found, source)
    if reader.kind is not ReaderKind.MLP:
        drawn.add_node(slot, kind=reader.kind.value, layer=reader.layer, head=reader.head, **_where(span))
    drawn.add_edge(_at(edge.writer.id, source), slot, **{_WIRING: False}, **attributes)
    for owner in graph.owners(reader):
        _add_writer(drawn, owner, found, span)
        if owner.id != reader.id and not graph.direct_edges:
            drawn.add_edge(slot, _at(owner.id, span), **{_WIRING: True})


def _at(name: str, span: str | None) -> str:
    return name if span is None else f"{name}@{span}"


def _where(span: str | None) -> dict[str, str]:
    return {} if span is None else {_SPAN: span}


def _add_writer(drawn: "nx.DiGraph", writer: Writer, found: ForeignGraph, span: str | None = None) -> None:
    own: dict[str, Any] = _where(span)
    if found.nodes is not None:
        own = {_INSIDE: writer.id in found.nodes}
        score = found.nodes.get(writer.id)
        own |= {} if score is None else {_SCORE: float(score)}
    name = _at(writer.id, span)
    drawn.add_node(name, kind=writer.kind.value, layer=writer.layer, head=writer.head, **own)


def from_graph(drawn: "nx.Graph", place: str, ends: Iterable[tuple[object, object]] = ()) -> ForeignGraph:
    """The inverse. `ends`: sender and reader of every edge in the order of the file. Raises InputError for a graph of
    another kind."""
    rows = _rows(ends, place)
    if drawn.is_multigraph() or not drawn.is_directed():
        raise InputError(f"{place}: expected a directed graph in which no edge occurs twice")
    mark = drawn.graph.get(MARK)
    mark = Mark.read(None if mark is None else parse_json(str(mark).encode(), Path(place)), place)
    edges: dict[str, float | None] = {}
    for sender, reader, data in drawn.edges(data=True):
        name = f"{sender}->{reader}"
        scored = data.get(_SCORE) is not None
        wiring = boolean(data.get(_WIRING, False), f"{place}: {_WIRING} of edge {name!r}")
        if not wiring or scored:
            edges[name] = number(data[_SCORE], f"{place}: edge {name!r}") if scored else None
    nodes = {
        str(name): None if data.get(_SCORE) is None else number(data[_SCORE], f"{place}: node {name!r}")
        for name, data in drawn.nodes(data=True)
        if boolean(data.get(_INSIDE, False), f"{place}: {_INSIDE} of node {name!r}")
    }
    if boolean(drawn.graph.get(_CIRCUIT, True), f"{place}: {_CIRCUIT}"):
        mark = mark.model_copy(update={"scored": "circuit"})
        inside = nodes if Level.nodes in kind_of(mark.level).lists else None
        return ForeignGraph(edges=edges, nodes=inside, mark=mark, rows=rows).told_apart(place)
    if None in edges.values():
        raise InputError(f"{place}: edge {next(name for name in edges if edges[name] is None)!r} has no score")
    scores = {name: score or 0.0 for name, score in edges.items()}
    return ForeignGraph(scores=scores, mark=mark, rows=rows).told_apart(place)


def _rows(ends: Iterable[tuple[object, object]], place: str) -> dict[str, str]:
    """By the id of each edge, which of the file's it is. Raises InputError for one that occurs twice."""
    rows: dict[str, str] = {}
    for sender, reader in ends:
        name, row = f"{sender}->{reader}", f"edge {len(rows) + 1}"
        if name in rows:
            raise InputError(f"{place}, {row}: {name[:80]!r} occurs twice")
        rows[name] = row
    return rows


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
    return from_graph(drawn, str(path), [(edge["source"], edge["target"]) for edge in record[key]])


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
        listed = [(edge.get("source"), edge.get("target")) for edge in fromstring(content).findall(".//{*}edge")]
    except (ParseError, LookupError, TypeError, ValueError, nx.NetworkXException) as error:
        raise InputError(f"{path} is not valid GraphML: {error}") from None
    return from_graph(drawn, str(path), listed)


def _convert(path: Path) -> str:
    return (
        f"python -c \"import json, networkx as nx, pickle; json.dump(nx.node_link_data(pickle.load(open('{path.name}', "
        f"'rb')), edges='edges'), open('{path.stem}.json', 'w'))\""
    )


def terms(anatomy: Anatomy, mark: Mark) -> ComponentGraph:
    return ComponentGraph(anatomy, mark.split_embeddings, mark.direct_edges)


def _codec(name: str, encode: Callable, decode: Callable) -> Codec:
    return Codec(name, terms, encode, decode, positions=True, outside=False, partial=True)


NODE_LINK = _codec("networkx", _encode_json, _decode_json)
GRAPHML = _codec("graphml", _encode_graphml, _decode_graphml)
