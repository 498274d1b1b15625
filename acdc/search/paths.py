"""Order edges by whole paths from the input to the logits, so that every edge of a circuit has an effect.

The next path is the one whose new edges gain most on average; edges that the circuit already has cost nothing. To first
order, the gain of a circuit is the sum over its effective edges, so under a limit on their number the mean gain of what
is added counts. An edge whose writer reads nothing yet, or whose slot nothing reads, is paid for together with those
that connect it.

A path's new edges fall into stretches. Each begins at a component that the input reaches and ends at a slot that
reaches the logits, and no path gains more on average than the best of its stretches. Stretches of one edge wait in a
queue. Longer ones lead through components that do not reach the logits yet; the best of them is found by Dinkelbach's
method (1967): the longest path when each edge costs the best mean so far, until no path is better.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from acdc.errors import InputError
from acdc.graph import ComponentGraph


def by_paths(graph: ComponentGraph, gains: np.ndarray, tiers: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(places of edges in the order in which they are added, the mean gain of the new edges that each came with).

    `gains` [edges]; `tiers`: boolean [edges] each, of edges that are taken before those of the next tier. Raises
    InputError for a graph with removable within-head edges.
    """
    if graph.direct_edges:
        raise InputError("--choose paths works only without --direct-edges: a path has no place for within-head edges")
    growing = _Growing(graph, gains)
    for tier in tiers:
        growing.extend(tier)
    return np.array(growing.order, dtype=int), np.array(growing.worth)


@dataclass(frozen=True)
class _Stretch:
    """New edges from a component that the input reaches to a slot that reaches the logits, and their mean gain."""

    gain: float
    edges: list[int]


class _Growing:
    """A circuit that grows by whole paths.

    `_fed`: the components that the input reaches; `_read`: those that reach the logits, and all embeddings.
    """

    def __init__(self, graph: ComponentGraph, gains: np.ndarray):
        self.order: list[int] = []
        self.worth: list[float] = []
        self._gains, self._layout = gains, _Layout.of(graph)
        self._taken = np.zeros(graph.n_edges, dtype=bool)
        self._fed = np.arange(len(graph.writers)) < len(graph.embeddings)
        self._read = self._fed.copy()
        self._slot_read = np.array([not owners for owners in self._layout.owners])

    def extend(self, allowed: np.ndarray) -> None:
        """Add every path that consists of the circuit's edges and of those that are allowed."""
        self._open = np.where(allowed & ~self._taken, self._gains, -np.inf)
        self._hops, self._hop_edges = self._layout.hops(self._open)
        self._queue: list[tuple[float, int]] = []
        for slot in np.flatnonzero(self._slot_read).tolist():
            self._wait(self._layout.into(slot))
        longer = self._longer()
        while True:
            while self._queue and self._taken[self._queue[0][1]]:
                heapq.heappop(self._queue)
            if longer and (not self._queue or longer.gain > -self._queue[0][0]):
                found = longer
            elif self._queue:
                loss, edge = heapq.heappop(self._queue)
                found = _Stretch(-loss, [edge])
            else:
                return
            if self._add(found):
                longer = self._longer()

    def _add(self, stretch: _Stretch) -> bool:
        """Whether that changed which longer stretches there are."""
        for edge in stretch.edges:
            self._taken[edge], self._open[edge] = True, -np.inf
            self.order.append(edge)
            self.worth.append(stretch.gain)
        changed = [self._connect(edge) for edge in stretch.edges]
        return any(changed)

    def _connect(self, edge: int) -> bool:
        """Note what a new edge connects; whether that changed which longer stretches there are."""
        layout, writer, slot = self._layout, int(self._layout.writers[edge]), int(self._layout.slots[edge])
        waiting = [owner for owner in layout.owners[slot] if not self._read[owner]]
        for owner in waiting:
            self._hops[writer, owner], self._hop_edges[writer, owner] = layout.hop(self._open, writer, owner)
            if not self._fed[owner]:
                self._fed[owner] = True
                self._wait(layout.out_of(owner, self._slot_read))
        newly_read = not self._read[writer]
        self._read[writer] = True
        for own in layout.owned[writer] if newly_read else ():
            if not self._slot_read[own]:
                self._slot_read[own] = True
                self._wait(layout.into(own))
        return newly_read or bool(waiting)

    def _wait(self, edges: np.ndarray) -> None:
        """Queue some edges into slots that reach the logits, where they are open and the input reaches the writer."""
        for edge in edges[(self._open[edges] > -np.inf) & self._fed[self._layout.writers[edges]]].tolist():
            heapq.heappush(self._queue, (-float(self._open[edge]), edge))

    def _longer(self) -> _Stretch | None:
        """The best stretch through components that do not reach the logits."""
        last, last_edges = self._last_hops()
        firsts = np.where(self._fed[:, None], self._hops, -np.inf).max(axis=0)
        pairs = np.where(self._read, -np.inf, (firsts + last) / 2)  # through one component: where to begin
        open_gains = self._open[self._open > -np.inf]
        if not len(open_gains):
            return None
        mean, best = (float(pairs.max()) if pairs.max() > -np.inf else float(open_gains.min())), None
        while True:
            edges = self._longest(mean, last, last_edges)
            if not edges:
                return best
            found = float(np.mean(self._gains[edges]))
            if best and found <= mean:
                return best
            mean, best = found, _Stretch(found, edges)

    def _last_hops(self) -> tuple[np.ndarray, np.ndarray]:
        """The best open edge of each component that does not reach the logits into a slot that does: (its gain, its
        place)."""
        logits = self._layout.into(len(self._slot_read) - 1)
        gains = np.column_stack([np.where(self._read, self._hops, -np.inf), self._open[logits]])
        edges = np.column_stack([self._hop_edges, logits])
        best = gains.argmax(axis=1)[:, None]
        return np.take_along_axis(gains, best, 1)[:, 0], np.take_along_axis(edges, best, 1)[:, 0]

    def _longest(self, cost: float, last: np.ndarray, last_edges: np.ndarray) -> list[int]:
        """The edges of the stretch with the largest sum of gains where each edge has a cost; none where no component
        is left to lead through."""
        sums = np.where(self._fed, 0.0, -np.inf)
        before = np.full(len(sums), -1)
        for block in self._layout.blocks:
            through = block[~self._read[block]]
            reached = sums[: block[0], None] + self._hops[: block[0], through] - cost
            best = reached.argmax(axis=0)
            values = reached[best, np.arange(len(through))]
            better = values > sums[through]
            sums[through[better]], before[through[better]] = values[better], best[better]
        ends = np.where(self._read, -np.inf, sums + last)
        at = int(ends.argmax())
        if ends[at] == -np.inf:
            return []
        edges = [int(last_edges[at])]
        while before[at] >= 0:
            edges.append(int(self._hop_edges[before[at], at]))
            at = int(before[at])
        return edges[::-1]


@dataclass(frozen=True)
class _Layout:
    """Which edges lead where.

    `writers` and `slots` of every edge; `owners`: the components of each slot, none for the logits, which come last;
    `owned`: the slots of each component; `blocks`: components in order, together those that read the same ones.
    """

    writers: np.ndarray
    slots: np.ndarray
    owners: list[list[int]]
    owned: list[list[int]]
    starts: np.ndarray
    senders: np.ndarray
    blocks: list[np.ndarray]

    @classmethod
    def of(cls, graph: ComponentGraph) -> "_Layout":
        writers, slots = graph.ends
        senders = np.bincount(slots)
        owners = [[graph.writer_index[owner] for owner in graph.owners(reader)] for reader in graph.readers]
        owned: list[list[int]] = [[] for _ in graph.writers]
        for slot, own in enumerate(owners):
            for owner in own:
                owned[owner].append(slot)
        reads = [int(senders[own[0]]) if own else 0 for own in owned]
        together = groupby(range(len(graph.embeddings), len(reads)), key=reads.__getitem__)
        blocks = [np.array(list(block)) for _, block in together]
        return cls(writers, slots, owners, owned, np.cumsum(senders) - senders, senders, blocks)

    def into(self, slot: int) -> np.ndarray:
        return np.arange(self.starts[slot], self.starts[slot] + self.senders[slot])

    def out_of(self, writer: int, slots: np.ndarray) -> np.ndarray:
        """The edges from a component into some slots, boolean [slots]."""
        return self.starts[slots & (self.senders > writer)] + writer

    def hop(self, gains: np.ndarray, writer: int, owner: int) -> tuple[float, int]:
        """The best edge from one component into another: (its gain, its place)."""
        edges = [int(self.starts[slot]) + writer for slot in self.owned[owner]]
        best = max(edges, key=gains.__getitem__)
        return float(gains[best]), best

    def hops(self, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for all pairs, [writers, writers] each; gains of -inf where there is no edge."""
        best = np.full((len(self.owned), len(self.owned)), -np.inf)
        edges = np.full(best.shape, -1)
        for slot, owners in enumerate(self.owners):
            into = self.into(slot)
            for owner in owners:
                better = gains[into] > best[: len(into), owner]
                best[: len(into), owner][better], edges[: len(into), owner][better] = gains[into][better], into[better]
        return best, edges
