"""Whether a circuit has more than it needs, and a circuit without that (levels after arXiv 2602.16823).

A circuit is good enough while its objective (the metric, negated where larger is better) is at most that of the whole
circuit and a tolerance. Quasi-minimal: removing some part breaks it. Locally minimal: removing any single part does.
Subset-minimal: removing any set of parts does; checked by trying all sets where there are few parts.
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import chain, combinations

import numpy as np
from pydantic import BaseModel, ConfigDict

from acdc.progress import Advance, nobody
from acdc.task.behaviour import Behaviour
from acdc.verification import statistics
from acdc.verification.intervals import Bootstrap, Interval, mean

TOLERANCE = 0.001  # share of the metric's range
FEW = 10  # parts of which all sets are tried
DRAWN = 100  # random edges outside a circuit, for comparison
CHUNK = 64


class Level(StrEnum):
    """How minimal a circuit is, from the weakest claim to the strongest."""

    none = "none"
    quasi = "quasi-minimal"
    local = "locally minimal"
    subset = "subset-minimal"


class Part(BaseModel):
    """An edge of the circuit: by how much the objective gets worse without it, in the metric's unit, positive where it
    is needed; `p`: corrected chance of as much if it did no more than most random edges beside the circuit."""

    model_config = ConfigDict(frozen=True)

    id: str
    worse: Interval
    needed: bool
    p: float


class Minimality(BaseModel):
    """`level`: what has been shown for the mean over rows; `tolerance` in the metric's unit; `outside`: the 90 %
    quantile of what removing random other edges does that were added to the circuit."""

    model_config = ConfigDict(frozen=True)

    level: Level
    subsets_tried: int
    tolerance: float
    parts: list[Part]
    outside: float | None

    @property
    def needed(self) -> int:
        return sum(part.needed for part in self.parts)


def measure_minimality(
    behaviour: Behaviour, own: np.ndarray, seed: int, span: float, bootstrap: Bootstrap, advance: Advance
) -> Minimality | None:
    """Of a circuit of edges, boolean [edges]; None for an empty one. `span`: |full - empty| of the metric."""
    places, tolerance = np.flatnonzero(own), TOLERANCE * span
    if not len(places):
        return None
    base = _objectives(behaviour, ~own[None], nobody)[0]
    worse = _objectives(behaviour, _without(own, places), advance) - base
    outside = _outside(behaviour, own, base, np.random.default_rng(seed), advance)
    p = statistics.holm(statistics.needed(worse.mean(axis=1).tolist(), outside.tolist()))
    parts = [
        Part(
            id=behaviour.graph.names[place],
            worse=bootstrap.of(mean, change),
            needed=bool(change.mean() > tolerance),
            p=chance,
        )
        for place, change, chance in zip(places.tolist(), worse, p, strict=True)
    ]
    level, tried = _level(behaviour, own, parts, float(base.mean()) + tolerance)
    quantile = float(np.quantile(outside, statistics.QUANTILE)) if len(outside) else None
    return Minimality(level=level, subsets_tried=tried, tolerance=tolerance, parts=parts, outside=quantile)


def minimise(behaviour: Behaviour, own: np.ndarray, span: float, advance: Advance = nobody) -> np.ndarray:
    """A locally minimal circuit inside one, boolean [edges], as good as that and the tolerance.

    In rounds: what each part does alone is measured, then those that do least go first, each while the rest is good
    enough without it, dangling parts with it. The last round, in which none can go, is the proof.
    """
    graph = behaviour.graph

    def good_enough(kept: np.ndarray) -> bool:
        return _objectives(behaviour, ~kept[None], nobody).mean() <= limit

    limit = float(_objectives(behaviour, ~own[None], nobody).mean()) + TOLERANCE * span
    left = next(kept for kept in (graph.prune(own), own) if kept is own or good_enough(kept))
    while True:
        places = np.flatnonzero(left)
        alone = _objectives(behaviour, _without(left, places), advance).mean(axis=1)
        before = left
        for place in places[np.argsort(alone, kind="stable")][: int((alone <= limit).sum())]:
            without = left & (np.arange(len(left)) != place)
            # what dangles goes too, where that does no harm: only under resample ablation it never does
            smaller = (kept for kept in (graph.prune(without), without) if left[place] and good_enough(kept))
            left = next(smaller, left)
        if (left == before).all():
            return left


def _level(behaviour: Behaviour, own: np.ndarray, parts: Sequence[Part], limit: float) -> tuple[Level, int]:
    """(what holds, how many sets of parts have been tried for it)."""
    if not all(part.needed for part in parts):
        return (Level.quasi if any(part.needed for part in parts) else Level.none), 0
    if len(parts) > FEW:
        return Level.local, 0
    places = np.flatnonzero(own).tolist()
    sets = list(chain.from_iterable(combinations(places, size) for size in range(2, len(places) + 1)))
    removed = np.stack([~own | np.isin(np.arange(len(own)), some) for some in sets]) if sets else ~own[None]
    breaks = (_objectives(behaviour, removed, nobody).mean(axis=1) > limit).all() if sets else True
    return (Level.subset if breaks else Level.local), len(sets)


def _without(own: np.ndarray, places: np.ndarray) -> np.ndarray:
    """All that is not in a circuit, and one of its parts each: boolean [parts, edges]."""
    removed = np.repeat(~own[None], len(places), axis=0)
    removed[np.arange(len(places)), places] = True
    return removed


def _outside(
    behaviour: Behaviour, own: np.ndarray, base: np.ndarray, generator: np.random.Generator, advance: Advance
) -> np.ndarray:
    """What removing a random edge does from the circuit with a random path through that edge added, [drawn]."""
    writers, _ = behaviour.graph.ends
    others = np.flatnonzero(~own[: len(writers)])
    drawn = generator.choice(others, min(DRAWN, len(others)), replace=False)
    inflated = np.stack([own | _path(behaviour, place, generator) for place in drawn]) if len(drawn) else own[:0]
    if not len(drawn):
        return np.empty(0)
    with_path = _objectives(behaviour, ~inflated, advance)
    cut = ~inflated
    cut[np.arange(len(drawn)), drawn] = True
    return (_objectives(behaviour, cut, advance) - with_path).mean(axis=1)


def _path(behaviour: Behaviour, place: int, generator: np.random.Generator) -> np.ndarray:
    """A random path from the embeddings to the logits through an edge, boolean [edges]."""
    graph = behaviour.graph
    writers, readers = graph.ends
    path = np.zeros(graph.n_edges, dtype=bool)
    owners = [[graph.writer_index[owner] for owner in graph.owners(reader)] for reader in graph.readers]
    path[place] = True
    writer = int(writers[place])
    while writer >= len(graph.embeddings):  # backwards, into any slot of the component
        into = np.flatnonzero([writer in owners[reader] for reader in readers])
        chosen = int(generator.choice(into))
        path[chosen], writer = True, int(writers[chosen])
    reader = int(readers[place])
    while owners[reader]:
        out = np.flatnonzero(writers == generator.choice(owners[reader]))
        chosen = int(generator.choice(out))
        path[chosen], reader = True, int(readers[chosen])
    entered = set(readers[path[: len(writers)]].tolist())
    path[len(writers) :] = [graph.reader_index[wire.reader] in entered for wire in graph.wires]
    return path


def _objectives(behaviour: Behaviour, removed: np.ndarray, advance: Advance) -> np.ndarray:
    """What is minimised [candidates, rows], for `removed` boolean [candidates, edges]."""
    if not len(removed):
        return np.empty((0, len(behaviour.rows)))
    chunks = (removed[start : start + CHUNK] for start in range(0, len(removed), CHUNK))
    return behaviour.metric.sign * np.concatenate([behaviour.measure(chunk, advance=advance)[0] for chunk in chunks])
