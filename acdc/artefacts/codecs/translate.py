"""Between a model's graph and that of a file: shared key and value heads, split embeddings, within-head edges.

An edge of one graph may stand for several of the other. What is one here and several there is repeated, and the file
says so (`Mark.repeated`): then all must agree on the way back. In files of other tools they need not: ablating the
shared slot ablates all that read it, so their scores are added up, which is what a first-order estimate does, and the
edge is in the circuit if any of them is. Both are said.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from acdc.artefacts.codecs.foreign import HELD, Codec, ForeignGraph
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph, Edge, Reader, Writer
from acdc.graph.masks import EdgeMask
from acdc.graph.units import kind_of
from acdc.options import Level


def per_head(anatomy: Anatomy) -> ComponentGraph:
    """The graph of tools that give each query head a k and a v slot of its own, and have one embedding."""
    return ComponentGraph(replace(anatomy, n_kv_heads=anatomy.n_heads))


def to_file(codec: Codec, found: ForeignGraph, graph: ComponentGraph) -> ForeignGraph:
    """What is of `graph`, in the terms of a format. Raises InputError for what the format cannot say."""
    kind = kind_of(found.mark.level)
    if kind.level is Level.positions and codec.positions:
        return _at_spans(codec, found)
    if kind.form is not EdgeMask and (not codec.partial or kind.have_spans):
        others = "as csv, networkx or graphml" if kind.have_spans else "a networkx graph"
        raise InputError(
            f"format {codec.name} cannot hold a circuit of {kind.level}, which keeps parts of what edges carry: export "
            f"it as a picture or {others}"
        )
    target = codec.terms(graph.anatomy, found.mark)
    lost = _lost_by_writing(codec, found, graph, target)
    if target.names != graph.names:
        translation = _Translation(found, graph, target)
        found = replace(found, scores=translation.scores(), edges=translation.edges())
        found = replace(found, mark=found.mark.model_copy(update={"repeated": translation.repeats}))
        if translation.partial:
            lost.append(
                f"that of {translation.partial} edges of the file only a part of what they stand for is in the circuit"
            )
    kept = {"split_embeddings": target.split_embeddings, "direct_edges": target.direct_edges}
    level = kind.level if codec.nodes else Level.edges
    return replace(found, mark=found.mark.losing(*lost).model_copy(update=kept | {"level": level}))


def _at_spans(codec: Codec, found: ForeignGraph) -> ForeignGraph:
    """Of edges at spans there is one graph in all files, that of the model."""
    every, own = found.position_scores, found.positions
    if codec.outside or every is None or own is None:
        return found
    return found.losing(f"scores of the {len(every) - len(own)} positional edges outside the circuit")


def _lost_by_writing(codec: Codec, found: ForeignGraph, graph: ComponentGraph, target: ComponentGraph) -> list[str]:
    lost = []
    if graph.split_embeddings and not target.split_embeddings:
        lost.append("token and position embedding are one there: the scores of their edges were added up")
    if graph.direct_edges and not target.direct_edges:
        removed = sum(inner.id not in (found.edges or {}) for inner in graph.within_heads)
        lost.append(
            f"within-head edges are no edges there: that the circuit lacks {removed} of {len(graph.within_heads)}"
        )
    if not codec.scores:
        lost.append("scores of edges")
    elif not codec.outside and found.edges is not None and found.scores is not None:
        lost.append(f"scores of the {len(found.scores) - len(found.edges)} edges outside the circuit")
    elif not codec.outside and found.nodes is not None and found.node_scores is not None:
        lost.append(f"scores of the {len(found.node_scores) - len(found.nodes)} nodes outside the circuit")
    kind = kind_of(found.mark.level)
    if kind.parts is not kind.level:
        lost.append(f"which {kind.level} of its {kind.parts} are in the circuit")
    elif not kind.keep_whole_edges:
        lost.append(f"which {kind.plural} of its edges are in the circuit")
    elif not kind.are_edges and not (codec.nodes and kind.level in HELD):
        lost.append(f"that it is a circuit of {kind.level}, and their scores")
    return lost


def from_file(codec: Codec, found: ForeignGraph, graph: ComponentGraph, place: str) -> ForeignGraph:
    """What a file holds, as edges of a model's `graph`. Raises InputError naming the first edge that does not fit.
    Those at spans are checked elsewhere, as these depend on a task."""
    if found.mark.level is Level.positions:
        return found
    source = codec.terms(graph.anatomy, found.mark)
    _check_fit(found, source, place)
    if source.names == graph.names:
        return found
    translation = _Translation(found, source, graph, place)
    scores, edges = translation.scores(), translation.edges()
    return replace(found, scores=scores, edges=edges).losing(*translation.told())


def _check_fit(found: ForeignGraph, source: ComponentGraph, place: str) -> None:
    nodes = {writer.id for writer in source.writers} | {"logits"}
    for name in (*(found.node_scores or ()), *(found.nodes or ())):
        if name not in nodes:
            raise InputError(f"{place}: node {name!r} does not exist in this model")
    for name in (*(found.scores or ()), *(found.edges or ())):
        if name not in source.index:
            raise InputError(f"{found.row(place, name)}: edge {name[:80]!r} does not exist in this model")
    if found.scores is not None and len(found.scores) < source.n_edges:
        missing = next(name for name in source.names if name not in found.scores)
        raise InputError(
            f"{place}: has {len(found.scores)} of {source.n_edges} edges; the first missing is {missing!r}"
        )


@dataclass
class _Translation:
    """Of what is of `source`, to `target`; counts what had to be put together."""

    found: ForeignGraph
    source: ComponentGraph
    target: ComponentGraph
    place: str = ""

    def __post_init__(self) -> None:
        self.members = dict(_members(self.source, self.target))
        uses = [member for members in self.members.values() for member in members]
        self.repeats = len(uses) > len(set(uses))
        self.added = self.partial = 0

    def scores(self) -> dict[str, float] | None:
        if self.found.scores is None:
            return None
        return {name: self._together(members, self.found.scores) for name, members in self.members.items()}

    def edges(self) -> dict[str, float | None] | None:
        if self.found.edges is None:
            return None
        edges = {}
        for name, members in self.members.items():
            kept = [member for member in members if member in self.found.edges]
            if not kept:
                continue
            if len(kept) < len(members):
                self.partial += 1
                if self.found.mark.repeated:
                    raise InputError(
                        f"{self.place}: {members[0]!r} and {members[-1]!r} are one edge, but not both kept"
                    )
            scored = self.found.edges[kept[0]] is not None
            edges[name] = self._together(kept, self.found.edges) if scored else None
        return edges

    def _together(self, members: list[str], scores: Mapping) -> float:
        values = [scores[member] for member in members]
        if len(values) == 1:
            return values[0]
        if self.found.mark.repeated:
            if len(set(values)) > 1:
                raise InputError(f"{self.place}: {members[0]!r} and {members[-1]!r} are one edge, but differ in score")
            return values[0]
        self.added += 1
        return math.fsum(values)

    def told(self) -> Iterator[str]:
        """What was put together, in sentences."""
        if self.added and self.found.scores is not None:
            yield "edges of the file that are one in this model: their scores were added up"
        if self.partial:
            yield (
                f"{self.partial} edges of this model are several in the file, of which only some are in its circuit: "
                "they are in this one"
            )
        if self.repeats:
            yield "token and position embedding are one in the file: the edges of both have its scores"


def _members(source: ComponentGraph, target: ComponentGraph) -> Iterator[tuple[str, list[str]]]:
    """(id, ids of the edges of `source` that it stands for) of every edge of `target`."""
    for edge in target.edges:
        writers, readers = _writers(edge.writer, source), _readers(edge.reader, source, target)
        yield edge.id, [Edge(writer, reader).id for writer in writers for reader in readers]
    if target.direct_edges and source.direct_edges:
        yield from ((inner.id, [inner.id]) for inner in target.within_heads)


def _writers(writer: Writer, source: ComponentGraph) -> tuple[Writer, ...]:
    if writer in source.writer_index:
        return (writer,)
    return source.embeddings


def _readers(reader: Reader, source: ComponentGraph, target: ComponentGraph) -> tuple[Reader, ...]:
    if reader in source.reader_index:
        return (reader,)
    if reader.shared:
        return tuple(Reader(reader.kind, owner.layer, owner.head) for owner in target.owners(reader))
    shared = Reader(reader.kind, reader.layer, reader.head // source.anatomy.group_size, shared=True)
    return (shared,)
