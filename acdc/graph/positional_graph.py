"""The candidate edges of a transformer at each span of its prompts, laid out in one boolean vector.

A sender writes at a span, and a query, an MLP or the logits read there: `a3.h2@S2->m4@S2`. A head's keys and values are
read across spans: `a1.h0@S1->a2.h3<k>@S2` is what a1.h0 writes at S1, as the keys at S1 that the queries of a2.h3 at S2
see; other queries of the head see those keys with or without it. So an edge of the component graph is the sum of its
positional edges, and every component at every span is a node of an acyclic graph (Haklay et al. 2025, "Position-aware
automatic circuit discovery"; there the edge is cut in two at the key or value).

The edges of a group of slots form a [readers, pairs, senders] block of the vector, `pairs` being (source, span).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import SupportsIndex, overload

import numpy as np

from acdc.errors import InputError
from acdc.graph.component_graph import ComponentGraph, ReaderGroup
from acdc.graph.ids import ReaderKind
from acdc.graph.task_spans import TaskSpans

MOST_EDGES = 4_000_000  # of a graph; each takes about a hundred bytes in scores and files
_ID = re.compile(r"([^@]+)@([^@]+)->([^@]+)@([^@]+)")


def parts_of(name: str) -> tuple[str, str, str] | None:
    """(id of the edge that one at spans is a part of, where its sender writes, where it is read); None for another
    id."""
    found = _ID.fullmatch(name)
    if found is None:
        return None
    writer, source, reader, span = found.groups()
    return f"{writer}->{reader}", source, span


@dataclass(frozen=True)
class PositionalGroup:
    """A group of slots at all spans: its edges are `start : stop`, a [readers, pairs, senders] block."""

    group: ReaderGroup
    pairs: tuple[tuple[int, int], ...]
    start: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.group.readers), len(self.pairs), self.group.senders

    @property
    def stop(self) -> int:
        return self.start + len(self.group.readers) * len(self.pairs) * self.group.senders

    @property
    def crosses(self) -> bool:
        """Whether its slots are read across spans."""
        return self.group.kind in (ReaderKind.K, ReaderKind.V)

    @cached_property
    def place(self) -> dict[tuple[int, int], int]:
        """Where each (source, span) is among the pairs."""
        return {pair: place for place, pair in enumerate(self.pairs)}


class PositionalGraph:
    """All candidate edges of a component graph at the spans of a task."""

    def __init__(self, graph: ComponentGraph, spans: TaskSpans):
        """Raises InputError for a graph of too many edges."""
        self.graph, self.spans = graph, spans
        groups, start = [], 0
        for group in graph.groups:
            groups.append(PositionalGroup(group, self._pairs(group.kind), start))
            start = groups[-1].stop
        self.groups, self.n_edges = tuple(groups), start
        if self.n_edges > MOST_EDGES:
            raise InputError(
                f"{self.n_edges:,} edges between components at {len(spans)} "
                f"{'spans' if spans.named else 'positions'} are more than {MOST_EDGES:,}: give rows fewer spans, or "
                "use --level edges"
            )

    def __reduce__(self) -> tuple[type["PositionalGraph"], tuple[ComponentGraph, TaskSpans]]:
        """Workers are sent what it is made of."""
        return PositionalGraph, (self.graph, self.spans)

    def _pairs(self, kind: ReaderKind) -> tuple[tuple[int, int], ...]:
        if kind is ReaderKind.LOGITS:
            return tuple((span, span) for span in self.spans.answers)
        return self.spans.crossing if kind in (ReaderKind.K, ReaderKind.V) else self.spans.own

    @cached_property
    def group_at(self) -> dict[tuple[int, ReaderKind], PositionalGroup]:
        """The groups by layer and kind, as those of the component graph."""
        return {(found.group.layer, found.group.kind): found for found in self.groups}

    def block(self, values: np.ndarray, group: ReaderGroup) -> np.ndarray:
        """The part of vectors [..., edges] that belongs to a group: [..., readers, pairs, senders]."""
        found = self.group_at[group.layer, group.kind]
        return values[..., found.start : found.stop].reshape(*values.shape[:-1], *found.shape)

    def _spread(self, of_block: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate([part.reshape(-1) for part in of_block]).astype(np.int32)

    @cached_property
    def plain(self) -> np.ndarray:
        """Which edge of the component graph each is a part of, int32 [edges]."""
        return self._spread(
            np.broadcast_to(
                found.group.start + np.arange(found.shape[0] * found.shape[2]).reshape(found.shape[0], 1, -1),
                found.shape,
            )
            for found in self.groups
        )

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every edge its sender, as writer * spans + span, and the slot that reads it, as reader * spans + span:
        int32 [edges] each. A slot at a span is what the component that it belongs to has there."""
        count, senders, slots, first = len(self.spans), [], [], 0
        for found in self.groups:
            sources, at = np.array(found.pairs, dtype=np.int32).reshape(-1, 2).T
            writers = np.arange(found.group.senders)
            senders.append(np.broadcast_to(writers * count + sources[:, None], found.shape))
            readers = first + np.arange(found.shape[0])
            slots.append(np.broadcast_to((readers[:, None] * count + at)[..., None], found.shape))
            first += found.shape[0]
        return self._spread(senders), self._spread(slots)

    @cached_property
    def owned(self) -> np.ndarray:
        """Boolean [readers * spans, writers * spans]: to which components there a slot at a span belongs."""
        return np.kron(self.graph.owned, np.eye(len(self.spans), dtype=bool))

    @property
    def names(self) -> "PositionalNames":
        """Id of every edge, in the order of the vector; made when asked for."""
        return PositionalNames(self)

    def name(self, place: int) -> str:
        """Id of one edge."""
        found = next(found for found in self.groups if place < found.stop)
        reader, pair, writer = np.unravel_index(place - found.start, found.shape)
        source, span = found.pairs[pair]
        names = self.spans.names
        return f"{self.graph.writers[writer].id}@{names[source]}->{found.group.readers[reader].id}@{names[span]}"

    def position(self, name: str) -> int:
        """Place of an edge by its id. Raises InputError for what is none in this graph."""
        parts, at = parts_of(name), self._span_index
        shown = f"{name[:100]!r} is no edge of this model at the spans of its task"
        if parts is None:
            raise InputError(f"{shown}: expected writer@span->slot@span, such as 'a1.h5@0->a2.h0<k>@3'")
        edge, *spans = parts
        if (plain := self.graph.index.get(edge, self.graph.n_edges)) >= self.groups[-1].group.stop:
            raise InputError(f"{shown}: the model has no edge {edge[:80]!r}")
        if unknown := [span for span in spans if span not in at]:
            raise InputError(f"{shown}: {self._told(unknown[0])}")
        found = next(found for found in self.groups if plain < found.group.stop)
        pair = found.place.get((at[spans[0]], at[spans[1]]))
        if pair is None:
            seen = "attention sees none there" if found.crosses else "it stays inside one span"
            if found.group.kind is ReaderKind.LOGITS:
                seen = "no answer is read there"
            raise InputError(f"{shown}: an edge into {found.group.kind.value} slots, but {seen}")
        row, sender = divmod(plain - found.group.start, found.group.senders)
        return found.start + (row * len(found.pairs) + pair) * found.group.senders + sender

    def _told(self, unknown: str) -> str:
        names = self.spans.names
        if not self.spans.named:
            return f"prompts have the positions {names[0]} to {names[-1]}, not {unknown[:40]!r}"
        return f"{unknown[:40]!r} is none of its spans, which are {', '.join(names[:20])}"

    @cached_property
    def _span_index(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.spans.names)}

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        """Boolean vector [edges] of a set of ids. Raises InputError for an id that this graph lacks."""
        vector = np.zeros(self.n_edges, dtype=bool)
        vector[[self.position(name) for name in ids]] = True
        return vector

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Sums over the positional edges [edges] of each edge of the component graph, which has no others."""
        return np.bincount(self.plain, weights=values, minlength=self.graph.n_edges)

    def edges(self, kept: np.ndarray) -> np.ndarray:
        """The edges of the component graph of which something is kept, boolean."""
        found = np.zeros(self.graph.n_edges, dtype=bool)
        found[self.plain[kept]] = True
        return found

    def spread(self, edges: np.ndarray) -> np.ndarray:
        """All positional edges of edges of the component graph, boolean [..., edges] of both."""
        return edges[..., self.plain]

    def prune(self, kept: np.ndarray) -> np.ndarray:
        """Drop what is on no path from the input to the logits, by the rule of `ComponentGraph.prune`, where a node is
        a component at a span."""
        senders, slots = self.ends
        owned, count = self.graph.owned, len(self.spans)
        to_logits = ~np.any(owned, axis=1)
        alive = kept.copy()
        while True:
            has_edge = np.zeros((len(owned), count), dtype=bool)
            has_edge.reshape(-1)[slots[alive]] = True
            has_input = owned.T @ has_edge
            has_input[: len(self.graph.embeddings)] = True
            has_output = np.zeros((owned.shape[1], count), dtype=bool)
            has_output.reshape(-1)[senders[alive]] = True
            useful = to_logits[:, None] | (owned @ has_output)
            left = alive & has_input.reshape(-1)[senders] & useful.reshape(-1)[slots]
            if (left == alive).all():
                return left
            alive = left


class PositionalNames(Sequence[str]):
    """Ids of the edges of a graph, which would take much memory together."""

    def __init__(self, graph: PositionalGraph):
        self._graph = graph

    def __len__(self) -> int:
        return self._graph.n_edges

    @overload
    def __getitem__(self, place: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: SupportsIndex | slice) -> str | tuple[str, ...]:
        found = range(len(self))[place]
        return tuple(map(self._graph.name, found)) if isinstance(found, range) else self._graph.name(found)

    def __iter__(self) -> Iterator[str]:
        graph, names = self._graph.graph, self._graph.spans.names
        writers = [writer.id for writer in graph.writers]
        for found in self._graph.groups:
            for reader in found.group.readers:
                for source, span in found.pairs:
                    left, right = f"@{names[source]}->", f"{reader.id}@{names[span]}"
                    yield from (f"{writer}{left}{right}" for writer in writers[: found.group.senders])
