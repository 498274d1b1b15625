"""The smallest faithful circuit of ACDC: the largest threshold whose circuit neither falls short nor overshoots.

A threshold bounds what each removal may change, not what all of them change together. So thresholds are tried from a
large one downwards, each half of the one before, until the circuit's faithfulness on the discovery rows lies between
the target and 2 - target; then between the last two. Large thresholds leave small circuits, on which tests are cheap:
most of the time goes into the last ones.
"""

import warnings
from collections.abc import Callable
from itertools import count

import numpy as np

from acdc.artefacts.scores import Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import AcdcWarning
from acdc.graph.units import Units
from acdc.task.metrics import recovered_fraction

LARGEST_SHARE = 0.08  # of the range that the metric spans: the first threshold
HALVINGS, REFINEMENTS = 9, 2  # thresholds at most, down to 0.03 % of the range; and between the last two
MOST = HALVINGS + REFINEMENTS  # searches


def to_faithfulness(
    behaviour: Behaviour, target: float, decide: Callable[[float, str], Decisions], units: Units
) -> Decisions:
    """`decide` gives what ACDC decides under a threshold: which of `units` are kept, and shows its progress under a
    name that says how many searches there may be. Where no circuit reaches the target, that which comes closest is
    given, with a warning."""
    full, empty = behaviour.ends()
    searches = count(1)

    def attempt(threshold: float) -> _Tried:
        return _Tried(behaviour, units, decide(threshold, f"acdc {next(searches)} of {MOST}"), full, empty)

    threshold = LARGEST_SHARE * abs(full - empty)
    tried = [attempt(threshold)]
    while not tried[-1].reaches(target) and len(tried) < HALVINGS:
        threshold /= 2
        tried.append(attempt(threshold))
    if not tried[-1].reaches(target):
        closest = min(tried, key=lambda one: abs(one.faithfulness - 1))
        warnings.warn(
            f"no threshold down to {threshold:.2g} gives a circuit with a faithfulness between {target:.0%} and "
            f"{2 - target:.0%}: this one has {closest.faithfulness:.0%}",
            AcdcWarning,
            stacklevel=2,
        )
        return closest.found
    if len(tried) > 1:
        tried += _between(attempt, target, 2 * threshold, threshold)
    return min((one for one in tried if one.reaches(target)), key=lambda one: one.edges).found


def _between(attempt: Callable[[float], "_Tried"], target: float, above: float, reached: float) -> list["_Tried"]:
    """What larger thresholds give, halfway between one that does not reach the target and one that does."""
    found: list[_Tried] = []
    for _ in range(REFINEMENTS):
        threshold = float(np.sqrt(above * reached))
        found.append(attempt(threshold))
        above, reached = (above, threshold) if found[-1].reaches(target) else (threshold, reached)
    return found


class _Tried:
    """What one threshold gave."""

    def __init__(self, behaviour: Behaviour, units: Units, found: Decisions, full: float, empty: float):
        circuit = units.pruned(found.kept)
        value = float(behaviour.measure(units.ablated(circuit))[0, 0].mean())
        share = recovered_fraction(value, full, empty)
        assert share is not None  # `Behaviour.ends` refuses what spans nothing
        self.found, self.faithfulness, self.edges = found, share, int(circuit.sum())

    def reaches(self, target: float) -> bool:
        return target <= self.faithfulness <= 2 - target
