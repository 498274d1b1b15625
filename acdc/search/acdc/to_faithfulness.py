"""A small faithful circuit of ACDC: thresholds from a large one downwards, until a circuit neither falls short of
a faithfulness nor overshoots it.

A threshold bounds what each removal may change, not what all of them change together. So it is halved until the
circuit's faithfulness on the discovery rows lies between the target and 2 - target. A search is given up as soon as its
present circuit, which still has all undecided edges, falls far short. A circuit that nearly reaches the target is
polished under its own threshold, then under smaller ones, see `acdc.search.acdc.polish`: that finds what it lacks at a
fraction of the cost of another search. Large thresholds leave small circuits, on which tests are cheap: most of the
time goes into the last search.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from acdc.artefacts.scores import Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import AcdcWarning
from acdc.graph.masks import Mask
from acdc.graph.units import Units
from acdc.search.acdc.pruning import Hopeless
from acdc.task.metrics import recovered_fraction

LARGEST_SHARE = 0.08  # of the range that the metric spans: the first threshold
HALVINGS = 8  # of it at most, down to 0.03 % of the range
MOST = HALVINGS + 1  # searches
NEAR, LEAST_NEAR = 3.0, 0.1  # a circuit is near if it is so many times, or so much, further from 1 than the target


class Search(Protocol):
    """ACDC at one level, under any threshold."""

    def decide(self, threshold: float, name: str, hopeless: Hopeless | None) -> Decisions | None:
        """What it decides, None where it was given up. Shows its progress under a name."""

    def polish(self, found: Decisions, enough: Callable[[float], bool]) -> Decisions:
        """The circuit polished until its mean metric is enough, or as it is where that is not available."""


def to_faithfulness(behaviour: Behaviour, target: float, share: float, search: Search, units: Units) -> Decisions:
    """The first circuit that is faithful. Where none is, the one that comes closest, with a warning. `share`: what the
    metric counts in the objective. `units`: those of which decisions say what is kept."""
    trials = _Trials(behaviour, target, share, search, units)
    for halvings in range(HALVINGS + 1):
        last = trials.run(halvings)
        if last and last.reached:
            return last.found
    return trials.closest()


@dataclass(frozen=True)
class _Tried:
    """What one threshold gave, and whether its faithfulness is as wanted."""

    found: Decisions
    faithfulness: float
    reached: bool


class _Trials:
    """The searches done so far: None for what was given up."""

    def __init__(self, behaviour: Behaviour, target: float, share: float, search: Search, units: Units):
        self._behaviour, self._target, self._search, self._units = behaviour, target, search, units
        self._full, self._empty = behaviour.ends()
        self._far = max(NEAR * (1 - target), LEAST_NEAR)
        self._rise = self._far * share * abs(self._full - self._empty)
        self._done: list[_Tried | None] = []

    def run(self, halvings: int) -> _Tried | None:
        """Search under a threshold that was halved so often; polish what is near. The last is not given up."""
        hopeless = None if halvings == HALVINGS else self._is_hopeless
        name = f"acdc {len(self._done) + 1} of up to {MOST}"
        found, tried = self._search.decide(self._threshold(halvings), name, hopeless), None
        if found is not None:
            tried = self._tried(found)
            if not tried.reached and abs(tried.faithfulness - 1) <= self._far:
                tried = self._tried(self._search.polish(found, self._is_enough))
        self._done.append(tried)
        return tried

    def closest(self) -> Decisions:
        """Of those that do not reach the target, with a warning."""
        found = min((one for one in self._done if one is not None), key=lambda one: abs(one.faithfulness - 1))
        warnings.warn(
            f"no threshold down to {self._threshold(len(self._done) - 1):.2g} gives a circuit with a faithfulness "
            f"between {self._target:.0%} and {2 - self._target:.0%}: this one has {found.faithfulness:.0%}",
            AcdcWarning,
            stacklevel=2,
        )
        return found.found

    def _threshold(self, halvings: int) -> float:
        return LARGEST_SHARE * abs(self._full - self._empty) / 2**halvings

    def _is_hopeless(self, rise: float, ablated: Mask) -> bool:
        """Whether the present circuit falls far short. The objective rises by at least its share of what the metric
        loses: so most often there is nothing to measure."""
        return rise > self._rise and self._faithfulness(ablated) < 1 - self._far

    def _tried(self, found: Decisions) -> _Tried:
        faithfulness = self._faithfulness(self._units.ablated(self._units.pruned(found.kept)))
        return _Tried(found, faithfulness, self._reaches(faithfulness))

    def _reaches(self, faithfulness: float) -> bool:
        return self._target <= faithfulness <= 2 - self._target

    def _is_enough(self, metric: float) -> bool:
        return self._reaches(self._share(metric))

    def _faithfulness(self, ablated: Mask) -> float:
        return self._share(float(self._behaviour.measure(ablated)[0, 0].mean()))

    def _share(self, metric: float) -> float:
        found = recovered_fraction(metric, self._full, self._empty)
        assert found is not None  # `Behaviour.ends` refuses what spans nothing
        return found
