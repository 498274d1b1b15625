"""The candidate edges of a transformer, laid out so that a set of edges is one boolean vector.

Writers stand in topological order. Readers come in groups that share their senders (all q slots of a layer, its k
slots, its v slots, its MLP, the logits), and the senders of a group are always a prefix of the writers. So the edges
of a group, reader by reader, form a [readers, senders] block of the vector, starting at `group.start`. With direct
edges, the within-head edges of all attention slots follow: a [layers, 3, heads] block for q, k and v.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from acdc.errors import InputError
from acdc.graph.anatomy import Anatomy
from acdc.graph.edge_names import EdgeIndex, EdgeLayout, EdgeNames, Edges
from acdc.graph.ids import Coordinate, Edge, Reader, ReaderKind, WithinHeadEdge, Writer, WriterKind, is_within_head

if TYPE_CHECKING:
    import networkx as nx

ATTENTION_SLOTS = (ReaderKind.Q, ReaderKind.K, ReaderKind.V)


@dataclass(frozen=True)
class ReaderGroup:
    """Readers with the same senders: their edges are `start : stop`, a [len(readers), senders] block."""

    kind: ReaderKind
    layer: int
    readers: tuple[Reader, ...]
    senders: int
    start: int

    @property
    def stop(self) -> int:
        return self.start + len(self.readers) * self.senders


class ComponentGraph:
    """All candidate edges between the components of one transformer."""

    def __init__(self, anatomy: Anatomy, split_embeddings: bool = False, direct_edges: bool = False):
        """`split_embeddings` makes token and position embedding two writers; it needs learned positions.

        `direct_edges` makes the within-head edges from attention slots to their heads removable edges, as the original
        ACDC did."""
        if split_embeddings and not anatomy.learned_positions:
            raise InputError(
                "--split-embeddings needs learned position embeddings; this model adds no position vector to its input"
            )
        self.anatomy = anatomy
        self.split_embeddings = split_embeddings
        self.direct_edges = direct_edges
        self.embeddings = (
            (Writer(WriterKind.TOKENS), Writer(WriterKind.POSITIONS))
            if split_embeddings
            else (Writer(WriterKind.INPUT),)
        )
        self.writers: tuple[Writer, ...] = tuple(self._list_writers())
        self.groups: tuple[ReaderGroup, ...] = tuple(self._list_groups())

    def _list_writers(self) -> Iterable[Writer]:
        yield from self.embeddings
        for layer in range(self.anatomy.n_layers):
            yield from (Writer(WriterKind.HEAD, layer, head) for head in range(self.anatomy.n_heads))
            if not self.anatomy.attn_only:
                yield Writer(WriterKind.MLP, layer)

    def _list_groups(self) -> Iterable[ReaderGroup]:
        shape, start = self.anatomy, 0

        def group(kind: ReaderKind, layer: int, readers: Iterable[Reader], senders: int) -> ReaderGroup:
            nonlocal start
            made = ReaderGroup(kind, layer, tuple(readers), senders, start)
            start = made.stop
            return made

        for layer in range(shape.n_layers):
            before = len(self.embeddings) + layer * (shape.n_heads + (not shape.attn_only))
            for kind in ATTENTION_SLOTS:
                shared = shape.grouped and kind is not ReaderKind.Q
                heads = shape.n_kv_heads if shared else shape.n_heads
                yield group(kind, layer, (Reader(kind, layer, h, shared) for h in range(heads)), before)
            if not shape.attn_only:
                own_heads = 0 if shape.parallel else shape.n_heads
                yield group(ReaderKind.MLP, layer, [Reader(ReaderKind.MLP, layer)], before + own_heads)
        yield group(ReaderKind.LOGITS, shape.n_layers, [Reader(ReaderKind.LOGITS)], len(self.writers))

    @cached_property
    def group_at(self) -> dict[tuple[int, ReaderKind], ReaderGroup]:
        """The groups by layer and kind; the logits come after the last layer."""
        return {(group.layer, group.kind): group for group in self.groups}

    @cached_property
    def _layout(self) -> EdgeLayout:
        senders = tuple(group.senders for group in self.groups for _ in group.readers)
        return EdgeLayout(self.writers, self.readers, senders, self.within_heads)

    @property
    def edges(self) -> Edges:
        """Every edge between a writer and a slot, in the order of the vector; made when asked for."""
        return Edges(self._layout)

    @cached_property
    def within_heads(self) -> tuple[WithinHeadEdge, ...]:
        """Every removable within-head edge, in the order of the vector; none without direct edges."""
        if not self.direct_edges:
            return ()
        return tuple(
            WithinHeadEdge(
                group.readers[head * len(group.readers) // self.anatomy.n_heads], Writer(WriterKind.HEAD, layer, head)
            )
            for layer in range(self.anatomy.n_layers)
            for group in self.groups
            if group.layer == layer and group.kind in ATTENTION_SLOTS
            for head in range(self.anatomy.n_heads)
        )

    def within_head_start(self, layer: int, kind: ReaderKind) -> int:
        """Where in the vector a layer's within-head edges of one kind begin, head by head."""
        return self.groups[-1].stop + (3 * layer + ATTENTION_SLOTS.index(kind)) * self.anatomy.n_heads

    @cached_property
    def n_edges(self) -> int:
        """Length of the vector: all candidate edges, within-head edges included under direct edges."""
        return self.groups[-1].stop + len(self.within_heads)

    @property
    def names(self) -> EdgeNames:
        """Id of every entry of the vector; made when asked for."""
        return EdgeNames(self._layout)

    @property
    def index(self) -> EdgeIndex:
        """Position of each edge id in the vector; read from the id."""
        return EdgeIndex(self._layout)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """Every slot, in the order of the vector."""
        return tuple(reader for group in self.groups for reader in group.readers)

    @cached_property
    def reader_index(self) -> dict[Reader, int]:
        return {reader: i for i, reader in enumerate(self.readers)}

    @cached_property
    def writer_index(self) -> dict[Writer, int]:
        return {writer: i for i, writer in enumerate(self.writers)}

    def owners(self, reader: Reader) -> tuple[Writer, ...]:
        """The components that a slot belongs to: none for logits, every head of its group for a KV slot."""
        if reader.kind is ReaderKind.LOGITS:
            return ()
        if reader.kind is ReaderKind.MLP:
            return (Writer(WriterKind.MLP, reader.layer),)
        size = self.anatomy.group_size if reader.shared else 1
        heads = range(reader.head * size, (reader.head + 1) * size)
        return tuple(Writer(WriterKind.HEAD, reader.layer, head) for head in heads)

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        """Boolean vector [n_edges] of a set of edge ids. Raises InputError for an id that this graph lacks."""
        vector = np.zeros(self.n_edges, dtype=bool)
        for name in ids:
            position = self.index.get(name)
            if position is None:
                if not is_within_head(name):
                    Edge.parse(name)
                raise InputError(f"edge {name!r} does not exist in this model's graph of {self.n_edges} edges")
            vector[position] = True
        return vector

    def ids(self, mask: np.ndarray) -> list[str]:
        """Edge ids of a boolean vector [n_edges], in the order of the vector."""
        names = self.names
        return [names[i] for i in np.flatnonzero(mask)]

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of the writer and of the reader of every edge that is no within-head edge, int32 [edges] each."""
        layout = self._layout
        senders = np.array(layout.senders)
        writers = np.empty(layout.n_edges, dtype=np.int32)
        for start, stop in pairwise(layout.starts):
            writers[start:stop] = np.arange(stop - start)
        return writers, np.repeat(np.arange(len(senders), dtype=np.int32), senders)

    @cached_property
    def owned(self) -> np.ndarray:
        """Boolean [readers, writers]: which components a slot belongs to."""
        owned = np.zeros((len(self.readers), len(self.writers)), dtype=bool)
        for row, reader in enumerate(self.readers):
            owned[row, [self.writer_index[owner] for owner in self.owners(reader)]] = True
        return owned

    @cached_property
    def _ownership(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Index of the reader and of the writer of every pair in `owned`, and which pairs the within-head edges are."""
        readers, writers = np.nonzero(self.owned)
        ends, count = self._wire_ends, len(self.writers)
        return readers, writers, np.searchsorted(readers * count + writers, ends[0] * count + ends[1])

    @cached_property
    def _wire_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of the reader and of the writer of every within-head edge."""
        ends = [(self.reader_index[inner.reader], self.writer_index[inner.owner]) for inner in self.within_heads]
        return np.array([r for r, _ in ends], dtype=int), np.array([w for _, w in ends], dtype=int)

    def prune(self, kept: np.ndarray) -> np.ndarray:
        """Drop dangling parts of a boolean vector [n_edges] to a fixpoint.

        A component keeps its outgoing edges only while an edge reaches one of its slots (embeddings are exempt), and a
        slot its incoming edges only while a component that owns it has an outgoing edge (logits are exempt); a
        within-head edge goes with either of its ends. Under resample ablation what is left measures the same, except
        with post-norms, where an unread head still has a part in its layer's scale."""
        writers, readers = self.ends
        wire_readers, wire_writers = self._wire_ends
        to_logits = ~np.any(self.owned, axis=1)
        alive, within_heads = np.flatnonzero(kept[: len(writers)]), kept[len(writers) :].copy()
        owned_readers, owned_writers, wires = self._ownership
        owned = np.ones(len(owned_readers), dtype=bool)
        while True:  # over the edges that are left, as a graph may have millions more
            owned[wires] = within_heads
            senders, slots = writers[alive], readers[alive]
            has_edge = np.zeros(len(to_logits), dtype=bool)
            has_edge[slots] = True
            has_input = np.zeros(len(self.writers), dtype=bool)
            has_input[owned_writers[owned & has_edge[owned_readers]]] = True
            has_input[: len(self.embeddings)] = True
            has_output = np.zeros(len(self.writers), dtype=bool)
            has_output[senders] = True
            useful = to_logits.copy()
            useful[owned_readers[owned & has_output[owned_writers]]] = True
            left = alive[has_input[senders] & useful[slots]]
            left_wires = within_heads & has_edge[wire_readers] & has_output[wire_writers]
            if len(left) == len(alive) and (left_wires == within_heads).all():
                pruned = np.zeros(len(kept), dtype=bool)
                pruned[left], pruned[len(writers) :] = True, left_wires
                return pruned
            alive, within_heads = left, left_wires

    def between(self, kept: np.ndarray) -> np.ndarray:
        """The edges among components, and from them into the logits: boolean [writers] -> [n_edges].

        A slot that several heads share is among them while one of its heads is.
        """
        writers, readers = self.ends
        used = ~np.any(self.owned, axis=1) | np.any(self.owned & kept, axis=1)
        return np.concatenate([kept[writers] & used[readers], np.ones(len(self.within_heads), dtype=bool)])

    def coordinates(self, ids: Iterable[str]) -> np.ndarray:
        """Boolean [writers, d] of a set of coordinate ids, and all of what the embeddings write. Raises InputError for
        an id that this graph lacks."""
        kept = np.zeros((len(self.writers), self.anatomy.d_model), dtype=bool)
        kept[: len(self.embeddings)] = True
        for name in ids:
            coordinate = Coordinate.parse(name)
            if coordinate.writer not in self.writer_index or coordinate.index >= self.anatomy.d_model:
                raise InputError(f"coordinate {name!r} does not exist in this model")
            kept[self.writer_index[coordinate.writer], coordinate.index] = True
        return kept

    def to_networkx(self) -> "nx.DiGraph":
        """Components and slots as nodes; candidate edges writer -> slot, and `wiring` edges slot -> component."""
        import networkx as nx  # here, as it is slow to import and of no use to those who read artefacts

        graph = nx.DiGraph()
        for writer in self.writers:
            graph.add_node(writer.id, kind=writer.kind.value, layer=writer.layer, head=writer.head)
        for group in self.groups:
            for reader in group.readers:
                if reader.kind is not ReaderKind.MLP:  # an MLP is its own slot
                    graph.add_node(reader.id, kind=reader.kind.value, layer=reader.layer, head=reader.head)
                for owner in self.owners(reader):
                    if owner.id != reader.id:
                        graph.add_edge(reader.id, owner.id, wiring=True)
        graph.add_edges_from((edge.writer.id, edge.reader.id, {"wiring": False}) for edge in self.edges)
        return graph
