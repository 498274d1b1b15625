"""Whether a circuit is the only one: the search is repeated without as many of its edges as the model can do without.

Edges of the circuit are ablated in the full model, one after another, and stay ablated as long as the model is about as
faithful as the circuit. Halves of what is left are tried first, so that a part that nothing depends on takes one trial.
What the method then finds among the other edges is a rival. Which edges go depends on the order in which they are
tried, so there are several: from the highest |score| down, and others drawn at random. An edge without which nothing
works, such as one that every path leads through, is in every rival: an overlap of 0 is not to be expected.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.rivals import Rival, Rivals
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError, NothingToFind
from acdc.progress import Advance, Progress, nobody
from acdc.task.metrics import recovered_fraction
from acdc.verification.intervals import Bootstrap, recovered
from acdc.verification.sampled_units import SampledUnits

GAP = 0.1  # from a faithfulness of 1 that a rival may always have
WORST = 0.5  # gap from which a circuit carries too little for others to be compared with it
LEFT = 0.5  # of that gap: how far leaving out edges may move the model, the rest being for what the search removes
FLOPS = 10e12  # of the trials for one rival
STRONGEST_FIRST = "strongest first"

# (edges that may be kept, boolean [edges]; faithfulness to reach) -> the circuit found among them on the discovery rows
Search = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Measured:
    """What rivals are measured by: the behaviour on the rows of discovery, and on unseen ones where there are any."""

    discovery: Behaviour
    unseen: Behaviour | None
    ends: tuple[float, float]

    @classmethod
    def of(cls, discovery: Behaviour, unseen: Behaviour | None) -> "Measured":
        """Raises NothingToFind where full model and empty circuit are alike."""
        return cls(discovery, unseen, discovery.ends())

    def faithfulness(self, kept: np.ndarray) -> float:
        """Of a subgraph, boolean [edges], on the rows of discovery."""
        share = recovered_fraction(float(self.discovery.measure(~kept[None])[0, 0].mean()), *self.ends)
        assert share is not None  # `Behaviour.ends` refuses what spans nothing
        return share

    def interval(self, kept: np.ndarray, seed: int) -> Interval | None:
        """The same on unseen rows."""
        if self.unseen is None:
            return None
        values, full, empty = self.unseen.measure(~kept[None])[0, 0], self.unseen.full(), self.unseen.empty()
        return Bootstrap(SampledUnits.of(self.unseen.rows), seed).of(recovered, values, full, empty)


def find_rivals(
    circuit: Circuit, measured: Measured, count: int, trials: int, search: Search, progress: Progress
) -> Rivals:
    """So many rivals of a circuit of edges, with at most so many `trials` of subgraphs for each to see what the model
    can do without. Raises InputError for a circuit that is too far from faithful."""
    own = measured.faithfulness(circuit.kept)
    gap = max(GAP, abs(1 - own))
    if gap >= WORST:
        raise InputError(
            f"the circuit's faithfulness is {own:.1%} on the rows of discovery: rivals are compared with circuits "
            f"between {1 - WORST:.0%} and {1 + WORST:.0%}"
        )
    found, tried, whole = [], 0, True
    for name, order in orders(circuit, count):
        left_out = Exclusion(measured, gap, trials)
        with progress(f"leaving out edges, {name}", len(order), "edges") as advance:
            excluded = left_out.exclude(order, circuit.graph.n_edges, advance)
        tried, whole = tried + left_out.trials, whole and left_out.whole
        found.append(_rival(circuit, measured, name, excluded, gap, search))
    return Rivals(
        edges=circuit.edges_effective,
        discovery=own,
        gap=gap,
        rows=0 if measured.unseen is None else len(measured.unseen.rows),
        trials=tried,
        whole=whole,
        each=found,
    )


def orders(circuit: Circuit, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, places in the graph of the circuit's edges): by falling |score|, then as the circuit's seed draws them."""
    parts = sorted(circuit.effective, key=lambda edge: (-abs(edge.score), edge.id))
    places = np.array([circuit.graph.index[edge.id] for edge in parts], dtype=int)
    generator = np.random.default_rng(circuit.seed)
    for number in range(count):
        yield (f"random {number}", generator.permutation(places)) if number else (STRONGEST_FIRST, places)


class Exclusion:
    """Which edges a model can do without together, found by at most so many trials."""

    def __init__(self, measured: Measured, gap: float, most: int):
        self._measured, self._within, self._most = measured, LEFT * gap, most
        self.trials, self.whole = 0, True

    def exclude(self, order: np.ndarray, n_edges: int, advance: Advance = nobody) -> np.ndarray:
        """Boolean [edges]: those of `order` that can go, where earlier ones went first. What would take more trials
        than there are stays, and then this is not the `whole` answer. `advance` is told of edges."""
        excluded, waiting = np.zeros(n_edges, dtype=bool), [order] if len(order) else []
        while waiting and self.trials < self._most:
            some = waiting.pop()
            without = excluded.copy()
            without[some] = True
            self.trials += 1
            if abs(1 - self._measured.faithfulness(~without)) <= self._within:
                excluded = without
            elif len(some) > 1:
                half = len(some) // 2
                waiting += [some[half:], some[:half]]
                continue
            advance(len(some))
        self.whole = not waiting
        return excluded


def _rival(circuit: Circuit, measured: Measured, order: str, excluded: np.ndarray, gap: float, search: Search) -> Rival:
    own = circuit.kept
    try:
        kept = search(~excluded, 1 - gap)
    except NothingToFind:
        kept = np.zeros_like(own)
    shared, either, discovery = int((kept & own).sum()), int((kept | own).sum()), measured.faithfulness(kept)
    return Rival(
        order=order,
        excluded=int(excluded.sum()),
        edges=int(kept.sum()),
        shared=shared,
        jaccard=shared / either if either else 1.0,
        discovery=discovery,
        reaches=abs(1 - discovery) <= gap,
        faithfulness=measured.interval(kept, circuit.seed),
    )
