"""The edges of a graph as names and as objects, made when they are asked for.

The graph of a 70B model has 16.7 million edges; as strings, objects and a dictionary they take 6 GB. So an edge is held
as nothing but its position in the graph's vector, from which its writer and its reader follow, and the other way round.
"""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Generic, SupportsIndex, TypeVar, overload

from acdc.graph.ids import Edge, Reader, WithinHeadEdge, Writer

T = TypeVar("T")


@dataclass(frozen=True)
class EdgeLayout:
    """Where the edges are in the vector: of each reader in turn, those from its first `senders` writers; then
    within-head edges."""

    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]
    senders: tuple[int, ...]  # by reader
    within_heads: tuple[WithinHeadEdge, ...]

    @cached_property
    def starts(self) -> list[int]:
        """Position of the first edge into each reader, and after the last reader the number of edges."""
        return list(accumulate(self.senders, initial=0))

    @property
    def n_edges(self) -> int:
        """Without within-head edges."""
        return self.starts[-1]

    def edge(self, position: int) -> Edge:
        reader = bisect_right(self.starts, position) - 1
        return Edge(self.writers[position - self.starts[reader]], self.readers[reader])

    def position(self, name: str) -> int | None:
        """Position of an edge or a within-head edge by its id; None for any other string."""
        left, _, right = name.partition("->")
        writer, reader = self._writer_index.get(left), self._reader_index.get(right)
        if writer is None or reader is None:
            return self._wire_index.get(name)
        return self.starts[reader] + writer if writer < self.senders[reader] else None

    @cached_property
    def _writer_index(self) -> dict[str, int]:
        return {writer.id: i for i, writer in enumerate(self.writers)}

    @cached_property
    def _reader_index(self) -> dict[str, int]:
        return {reader.id: i for i, reader in enumerate(self.readers)}

    @cached_property
    def _wire_index(self) -> dict[str, int]:
        return {inner.id: i for i, inner in enumerate(self.within_heads, start=self.n_edges)}


class _ByPosition(Sequence[T], Generic[T]):
    """A sequence whose items are made from their position; a slice is a tuple of them."""

    def __init__(self, layout: EdgeLayout):
        self._layout = layout

    @abstractmethod
    def _at(self, position: int) -> T:
        """The item at a position that exists."""

    @overload
    def __getitem__(self, place: SupportsIndex) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[T, ...]: ...

    def __getitem__(self, place: SupportsIndex | slice) -> T | tuple[T, ...]:
        found = range(len(self))[place]  # takes numpy's integers too, and raises IndexError as a tuple does
        return tuple(map(self._at, found)) if isinstance(found, range) else self._at(found)

    def __eq__(self, other: object) -> bool:
        return self._layout == other._layout if isinstance(other, type(self)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self):,} of {type(self).__name__}>"


class Edges(_ByPosition[Edge]):
    """Every edge between a writer and a reader, in the order of the vector."""

    def __len__(self) -> int:
        return self._layout.n_edges

    def _at(self, position: int) -> Edge:
        return self._layout.edge(position)

    def __iter__(self) -> Iterator[Edge]:
        layout = self._layout
        for reader, senders in zip(layout.readers, layout.senders, strict=True):
            yield from (Edge(writer, reader) for writer in layout.writers[:senders])


class EdgeNames(_ByPosition[str]):
    """Id of every entry of the vector: of the edges, then of the within-head edges."""

    def __len__(self) -> int:
        return self._layout.n_edges + len(self._layout.within_heads)

    def _at(self, position: int) -> str:
        inside = self._layout.n_edges
        return (self._layout.edge(position) if position < inside else self._layout.within_heads[position - inside]).id

    def __iter__(self) -> Iterator[str]:
        layout = self._layout
        writers = [writer.id for writer in layout.writers]
        for reader, senders in zip(layout.readers, layout.senders, strict=True):
            end = f"->{reader.id}"
            yield from (writer + end for writer in writers[:senders])
        yield from (inner.id for inner in layout.within_heads)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._layout.position(name) is not None


class EdgeIndex(Mapping[str, int]):
    """Position in the vector by id, read from the id itself."""

    def __init__(self, layout: EdgeLayout):
        self._layout = layout

    def __getitem__(self, name: str) -> int:
        position = self._layout.position(name)
        if position is None:
            raise KeyError(name)
        return position

    def __iter__(self) -> Iterator[str]:
        return iter(EdgeNames(self._layout))

    def __len__(self) -> int:
        return len(EdgeNames(self._layout))
