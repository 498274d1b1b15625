"""Random circuits to compare a circuit with: of its size, and of its size with every component as busy as in it."""

from collections.abc import Iterator

import numpy as np

from acdc.graph import ComponentGraph
from acdc.graph.units import EdgeUnits
from acdc.search.choosing import Ranking

SWAPS = 10  # tried for each edge


def of_size(graph: ComponentGraph, edges: int, generator: np.random.Generator) -> np.ndarray:
    """A random ranking cut where pruning leaves at most so many edges, boolean [edges]."""
    return Ranking(EdgeUnits(graph), generator.random(graph.n_edges)).by_edges(max(1, edges)).edges


def of_degrees(
    graph: ComponentGraph, own: np.ndarray, count: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """So many circuits with the same number of edges out of every writer and into every slot, boolean [edges]. Wires
    stay.

    Each is made by swaps that go either way with the same chance, from one circuit in their midst that is itself made
    from `own` by as many swaps. So they and `own` are exchangeable, and the rank of `own` among them gives an exact
    p-value, however few swaps there are (Besag & Clifford 1989, Biometrika 76).
    """
    writers, readers = graph.ends
    place = {(int(w), int(r)): i for i, (w, r) in enumerate(zip(writers, readers, strict=True))}
    midst = _swapped(place, graph, own, generator)
    return (_swapped(place, graph, midst, generator) for _ in range(count))


def _swapped(
    place: dict[tuple[int, int], int], graph: ComponentGraph, own: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Pairs of edges u->v, x->y become u->y, x->v where there are such edges, many times over."""
    writers, readers = (ends.tolist() for ends in graph.ends)
    left = np.flatnonzero(own[: len(writers)]).tolist()
    mixed = own.tolist()
    pairs = generator.integers(max(1, len(left)), size=(SWAPS * len(left), 2)).tolist()
    for first, second in pairs:
        if first == second:
            continue
        (u, v), (x, y) = ((writers[left[i]], readers[left[i]]) for i in (first, second))
        one, other = place.get((u, y)), place.get((x, v))
        if one is None or other is None or mixed[one] or mixed[other]:
            continue
        mixed[left[first]] = mixed[left[second]] = False
        mixed[one] = mixed[other] = True
        left[first], left[second] = one, other
    return np.array(mixed)
