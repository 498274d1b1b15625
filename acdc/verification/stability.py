"""Whether the same edges are found on other rows of the same kind (after "Certified Circuits", arXiv 2602.22968).

The discovery is repeated on random subsets of its rows. An edge is stable where more than a half of all subsets would
give it, unstable where less than a half would, each for certain by `CONFIDENCE`; else the result abstains. What
is said of an edge holds however up to `certified` rows are changed: so few are in too few subsets to turn the majority.

How much circuits vary at the full number of rows is said by bootstraps: resamples of all rows, with replacement.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np

from acdc.artefacts.verification.stability import Bootstraps, EdgeStability, Repeat, Repeats, Stability
from acdc.verification.sampled_units import SampledUnits

SHARE = 0.25  # of the rows of a discovery, for each repetition
CONFIDENCE = 0.95
FEWEST = 6  # repetitions that can tell: an edge that is found in all of five may still be missing from a half
FEWEST_ROWS = 8


def measure_stability(
    rows: int, repeats: int, seed: int, circuit: frozenset[str], find: Callable[[Sequence[int]], frozenset[str]]
) -> Stability:
    """`find`: the edges of a discovery on some of so many rows. `circuit`: the edges found on all of them."""
    size, generator = rows_of_a_repeat(rows), np.random.default_rng(seed)
    found = [find(sorted(generator.choice(rows, size, replace=False).tolist())) for _ in range(repeats)]
    counts = {name: sum(name in edges for edges in found) for name in sorted(circuit.union(*found))}
    kinds: dict[str, list[EdgeStability]] = {"core": [], "abstained": [], "unstable": []}
    for name, count in counts.items():
        low, high = binomial_bounds(count, repeats)
        margin = max(low - 0.5, 0.5 - high)
        kind = "core" if low > 0.5 else "unstable" if high < 0.5 else "abstained"
        certified = untouched(rows, size, margin) if margin > 0 else 0
        if kind != "unstable" or name in circuit:
            kinds[kind].append(EdgeStability(id=name, frequency=count / repeats, certified=certified))
    shared = mean_jaccard(found)
    return Stability(
        repeats=repeats,
        rows=rows,
        rows_each=size,
        jaccard=0.0 if shared is None else shared,
        core=kinds["core"],
        abstained=kinds["abstained"],
        unstable=kinds["unstable"],
    )


def measure_bootstraps(
    units: SampledUnits,
    count: int,
    seed: int,
    circuit: frozenset[str],
    find: Callable[[np.ndarray], frozenset[str]],
    averaged: bool,
) -> Bootstraps:
    """`units`: what is resampled, as many as there are each time. `find`: the edges of a discovery on the rows at some
    places, several of them more than once. `circuit`: the edges found on each row once. `averaged`: how `find` does it,
    see `Bootstraps`."""
    generator, rows = np.random.default_rng(seed), [np.flatnonzero(units.of_row == unit) for unit in range(units.count)]
    found = []
    for _ in range(count):
        drawn = np.sort(generator.integers(units.count, size=units.count))
        found.append(find(np.concatenate([rows[unit] for unit in drawn])))
    shares, shared = [jaccard(circuit, edges) for edges in found], mean_jaccard(found)
    return Bootstraps(
        count=count,
        sampling=units.record,
        averaged=averaged,
        jaccard=1.0 if shared is None else shared,
        to_circuit=(min(shares), float(np.mean(shares)), max(shares)),
        edges=float(np.mean([len(edges) for edges in found])),
        frequencies={name: sum(name in edges for edges in found) / count for name in sorted(circuit)},
    )


def rows_of_a_repeat(rows: int) -> int:
    """How many of so many rows each repetition takes."""
    return max(2, round(SHARE * rows))


def compare_repeats(circuit: frozenset[str], found: Mapping[str, frozenset[str]]) -> Repeats:
    """Edges found by several discoveries, by what sets these apart, against each other and against the circuit."""
    each = [Repeat(name=name, edges=len(edges), jaccard=jaccard(circuit, edges)) for name, edges in found.items()]
    return Repeats(jaccard=mean_jaccard(list(found.values())), each=each)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """The share that two sets have in common of what either has; 1 of two empty ones."""
    return len(one & other) / len(one | other) if one | other else 1.0


def mean_jaccard(found: Sequence[frozenset[str]]) -> float | None:
    """That of any two of several sets, on average, of pairs that have any; None where no pair has."""
    pairs = [jaccard(one, other) for one, other in combinations(found, 2) if one | other]
    return float(np.mean(pairs)) if pairs else None


def untouched(rows: int, size: int, margin: float) -> int:
    """How many rows may change while at most a share `margin` of all subsets of a size has one of them in it."""
    changed = 0
    while changed < rows and 1 - comb(rows - changed - 1, size) / comb(rows, size) < margin:
        changed += 1
    return changed


def binomial_bounds(count: int, n: int) -> tuple[float, float]:
    """Bounds of a share that was seen `count` times in n, each wrong with a chance of at most (1 - `CONFIDENCE`) / 2
    (Clopper and Pearson 1934)."""
    error = (1 - CONFIDENCE) / 2
    low = _solve(lambda share: _tail(count, n, share) - error) if count else 0.0
    high = 1 - _solve(lambda share: _tail(n - count, n, share) - error) if count < n else 1.0
    return low, high


def _tail(count: int, n: int, share: float) -> float:
    """Chance of at least so many."""
    return sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count, n + 1))


def _solve(rises: Callable[[float], float]) -> float:
    """Where a rising function of [0, 1] is 0, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rises(middle) > 0 else (middle, high)
    return (low + high) / 2
