"""Scores of all units of a level: by name as long as these are few, else as one array.

A name takes some hundred bytes and its line in JSON forty, a score eight: of the 16.7 million edges of a 70B model that
is 3 GB of names and 700 MB of JSON, or an array of 134 MB.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from heapq import nsmallest
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from acdc.graph.units import Units

MOST_NAMED = 1_000_000  # units whose scores are held and written by name


class NamedScores(Mapping[str, float]):
    """Scores by the units' ids, held as an array: float64 [candidates], in the order of the graph."""

    def __init__(self, values: np.ndarray, units: "Units"):
        assert values.shape == (units.count,), f"{values.shape} scores of {units.count} {units.plural}"
        self.values_in_order, self._units = values, units

    def __getitem__(self, name: str) -> float:
        return float(self.values_in_order[self._places[name]])

    def __iter__(self) -> Iterator[str]:
        return self._units.names()

    def __len__(self) -> int:
        return len(self.values_in_order)

    def name(self, place: int) -> str:
        """The id at a place of the array."""
        return self._units.name(place)

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return self._units.places()


def named(scores: np.ndarray, units: "Units") -> Mapping[str, float]:
    """Scores [units.shape] by id, in the order of the graph: as a dictionary, or where they are many as an array."""
    return units.by_name(scores) if units.count <= MOST_NAMED else NamedScores(units.candidates(scores), units)


def strongest(scores: Mapping[str, float], count: int) -> list[tuple[str, float]]:
    """The units of the largest |score| with their scores; among equals those whose id, or in an array whose place, is
    first."""
    if not isinstance(scores, NamedScores):
        return nsmallest(count, scores.items(), key=lambda item: (-abs(item[1]), item[0]))
    sizes = np.abs(scores.values_in_order)
    count = min(count, len(sizes))
    least = np.partition(sizes, len(sizes) - count)[len(sizes) - count] if count else np.inf
    among = np.flatnonzero(sizes >= least)
    first = among[np.argsort(-sizes[among], kind="stable")[:count]]
    return [(scores.name(place), float(scores.values_in_order[place])) for place in first.tolist()]
