"""Whether a circuit has more than it needs, and a circuit without that (levels after arXiv 2602.16823).

A circuit is good enough while its objective (the metric, negated where larger is better) is at most that of the whole
circuit and a tolerance. Quasi-minimal: removing some part breaks it. Locally minimal: removing any single part does.
Subset-minimal: removing any set of parts does; checked by trying all sets where there are few parts.
"""

from collections.abc import Sequence
from itertools import chain, combinations

import numpy as np

from acdc.artefacts.verification.interval import unknown
from acdc.artefacts.verification.minimality import TOLERANCE, Minimality, MinimalityLevel, Part
from acdc.artefacts.verification.removal import Removal
from acdc.behaviour.behaviour import Behaviour
from acdc.graph import ComponentGraph
from acdc.graph.masks import Mask, concatenate
from acdc.graph.units import Units
from acdc.options import Level
from acdc.progress import Advance, nobody
from acdc.task.metrics import NOISE
from acdc.verification import statistics
from acdc.verification.removals import without_each

FEW = 10  # parts of which all sets are tried
DRAWN = 100  # random edges outside a circuit, for comparison
TOGETHER = 256  # removals at positions that are put into one mask


def measure_minimality(
    behaviour: Behaviour,
    own: np.ndarray,
    removals: Sequence[Removal],
    whole: bool,
    seed: int,
    span: float,
    advance: Advance,
) -> Minimality | None:
    """Of a circuit of edges, boolean [edges]; None for an empty one. `removals`: what removing its edges does, of all
    of them if they are `whole`. `span`: |full - empty| of the metric."""
    if not removals:
        return None
    sign, tolerance = behaviour.metric.sign, TOLERANCE * span
    worse = [sign * removal.change for removal in removals]
    outside = _outside(behaviour, own, np.random.default_rng(seed), advance)
    p = statistics.holm(statistics.needed(worse, outside.tolist(), noise=NOISE * span))
    parts = [
        Part(id=removal.id, worse=removal.worse or unknown(change), needed=change > tolerance, p=chance)
        for removal, change, chance in zip(removals, worse, p, strict=True)
    ]
    level, tried = _level(behaviour, own, parts, whole, tolerance)
    quantile = float(np.quantile(outside, statistics.QUANTILE)) if len(outside) else None
    return Minimality(level=level, subsets_tried=tried, tolerance=tolerance, parts=parts, outside=quantile)


def minimise(
    behaviour: Behaviour, own: np.ndarray, span: float, advance: Advance = nobody, level: Level = Level.edges
) -> np.ndarray:
    """A locally minimal circuit inside one, boolean [edges], as good as that and the tolerance; of edges, or of edges
    at positions.

    Edges on no path from the input to the logits are dropped first. Then, in rounds, the effect of removing each edge
    alone is measured, and edges are removed, those with the smallest effect first, as long as what is left is good
    enough. With an edge go those that lose their last path: under other ablations than resample these may matter, and
    then the edge stays. The last round, in which no edge can be removed, is the proof.
    """
    units = behaviour.units(level)

    def good_enough(kept: np.ndarray) -> bool:
        return _objectives(behaviour, units.ablated(kept), nobody).mean() <= limit

    left = units.pruned(own)
    limit = float(_objectives(behaviour, units.ablated(left), nobody).mean()) + TOLERANCE * span
    while True:
        places = np.flatnonzero(left)
        alone = _objectives_without(behaviour, units, left, places, advance)
        before = left
        for place in places[np.argsort(alone, kind="stable")][: int((alone <= limit).sum())]:
            without = units.pruned(left & (np.arange(len(left)) != place))
            if left[place] and good_enough(without):
                left = without
        if (left == before).all():
            return left


def _level(
    behaviour: Behaviour, own: np.ndarray, parts: Sequence[Part], whole: bool, tolerance: float
) -> tuple[MinimalityLevel, int]:
    """(what holds, how many sets of parts have been tried for it)."""
    if not whole or not all(part.needed for part in parts):
        return (MinimalityLevel.quasi if any(part.needed for part in parts) else MinimalityLevel.none), 0
    if len(parts) > FEW:
        return MinimalityLevel.local, 0
    limit = _objectives(behaviour, ~own[None], nobody).mean() + tolerance
    places = np.flatnonzero(own).tolist()
    sets = list(chain.from_iterable(combinations(places, size) for size in range(2, len(places) + 1)))
    removed = np.stack([~own | np.isin(np.arange(len(own)), some) for some in sets]) if sets else ~own[None]
    breaks = (_objectives(behaviour, removed, nobody).mean(axis=1) > limit).all() if sets else True
    return (MinimalityLevel.subset if breaks else MinimalityLevel.local), len(sets)


def _outside(behaviour: Behaviour, own: np.ndarray, generator: np.random.Generator, advance: Advance) -> np.ndarray:
    """What removing a random edge does from the circuit with a random path through that edge added, [drawn]."""
    routes = _Routes(behaviour.graph)
    others = np.flatnonzero(~own[: len(routes.writers)])
    drawn = generator.choice(others, min(DRAWN, len(others)), replace=False)
    if not len(drawn):
        return np.empty(0)
    inflated = np.stack([own | routes.through(place, generator) for place in drawn])
    with_path = _objectives(behaviour, ~inflated, advance)
    cut = ~inflated
    cut[np.arange(len(drawn)), drawn] = True
    return (_objectives(behaviour, cut, advance) - with_path).mean(axis=1)


class _Routes:
    """Where edges of a graph come from and lead to, to draw paths at random."""

    def __init__(self, graph: ComponentGraph):
        self._graph = graph
        self.writers, self._readers = graph.ends
        self._owners = [[graph.writer_index[owner] for owner in graph.owners(reader)] for reader in graph.readers]
        owned = np.zeros((len(graph.writers), len(graph.readers)), dtype=bool)
        for reader, owners in enumerate(self._owners):
            owned[owners, reader] = True
        self._into = [np.flatnonzero(slots[self._readers]) for slots in owned]
        self._out = [np.flatnonzero(self.writers == writer) for writer in range(len(graph.writers))]

    def through(self, place: int, generator: np.random.Generator) -> np.ndarray:
        """A path from the embeddings to the logits through an edge, with the within-head edges of all slots on it,
        [edges]."""
        graph, path = self._graph, np.zeros(self._graph.n_edges, dtype=bool)
        path[place] = True
        writer, reader = int(self.writers[place]), int(self._readers[place])
        while writer >= len(graph.embeddings):  # backwards, into any slot of the component
            chosen = int(generator.choice(self._into[writer]))
            path[chosen], writer = True, int(self.writers[chosen])
        while self._owners[reader]:
            chosen = int(generator.choice(self._out[generator.choice(self._owners[reader])]))
            path[chosen], reader = True, int(self._readers[chosen])
        entered = set(self._readers[path[: len(self.writers)]].tolist())
        path[len(self.writers) :] = [graph.reader_index[inner.reader] in entered for inner in graph.within_heads]
        return path


def _objectives(behaviour: Behaviour, removed: Mask | np.ndarray, advance: Advance) -> np.ndarray:
    """What is minimised [candidates, rows], for `removed` as `Behaviour.measure` takes it."""
    return behaviour.metric.sign * behaviour.measure(removed, advance=advance)[0]


def _objectives_without(
    behaviour: Behaviour, units: Units, own: np.ndarray, places: np.ndarray, advance: Advance
) -> np.ndarray:
    """Mean objective of a circuit without each of some of its edges [places]."""
    if not units.are_edges:
        parts = [places[at : at + TOGETHER] for at in range(0, len(places), TOGETHER)]
        found = [_objectives(behaviour, _without(units, own, some), advance).mean(axis=1) for some in parts]
        return np.concatenate(found) if found else np.empty(0)
    found = [values.mean(axis=1) for _, values in without_each(behaviour, own, places, advance)]
    return behaviour.metric.sign * np.concatenate(found) if found else np.empty(0)


def _without(units: Units, own: np.ndarray, places: np.ndarray) -> Mask:
    """A circuit without each of some of its edges."""
    return concatenate([units.ablated(own & (np.arange(len(own)) != place)) for place in places])
