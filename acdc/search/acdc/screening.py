"""Screened ACDC: an edge whose test is foretold to come out far below the threshold is removed without a test.

When ACDC reaches a receiver, a gradient in the present circuit estimates every test there. Candidates estimated below a
share of the threshold are screened. They leave in ACDC's own order, in groups: the objective is measured after each
group, so that every other test starts from what is really left. A group that raises the objective by the threshold or
more is halved and measured again, down to single edges, which are tested. A seeded sample of the screened candidates is
tested as well, to say how often the estimate was wrong.
"""

from collections.abc import Sequence

import numpy as np

from acdc.artefacts.scores import GroupRemoval, Screening
from acdc.search.acdc.passes import Pass, next_pass

SAMPLE = 800  # are drawn of all candidates; those at receivers that nothing reads need no test anyway


class Screen:
    tolerance = 0.3
    """Which candidates of a run for one threshold are screened. A `share` of 0 screens none."""

    def __init__(self, share: float, threshold: float, names: Sequence[str], seed: int):
        self.share, self.threshold, self._names = share, threshold, names
        self._drawn = np.random.default_rng(seed).random(len(names)) < SAMPLE / max(len(names), 1)
        # Boolean [candidates]: need no test; likely kept; tested although screened; a group is split after it.
        self._screened, self._likely, self._sampled, self._split = np.zeros((4, len(names)), dtype=bool)
        self._estimates = np.zeros(len(names))
        self._groups: list[GroupRemoval] = []
        self._wrong = 0

    def foretell(self, candidates: np.ndarray, estimates: np.ndarray) -> None:
        """Screen candidates by estimates of how much the objective rises without each."""
        low = estimates < self.share * self.threshold
        self._sampled[candidates] = low & self._drawn[candidates]
        self._screened[candidates] = low & ~self._drawn[candidates]
        self._likely[candidates] = estimates >= self.threshold
        self._estimates[candidates] = estimates

    def next(self, left: np.ndarray, width: int) -> Pass:
        """The next pass over what is left of a receiver, with so many measurements at most."""
        return next_pass(left, self._screened[left], self._likely[left], self._split[left], width)

    def is_screened(self, candidate: int) -> bool:
        return bool(self._screened[candidate])

    def accept(self, group: np.ndarray, change: float) -> bool:
        """Whether a group of screened candidates may go that changes the objective so; else it is split for another
        pass."""
        off = abs(change - self._estimates[group].sum())
        if change < self.threshold and off < self.tolerance * self.threshold:
            self._groups.append(GroupRemoval(self._names[group[0]], len(group), change))
            return True
        if len(group) == 1:
            self._screened[group] = False
        else:
            self._split[group[len(group) // 2 - 1]] = True
            self._split[group[-1]] = True
        return False

    def kept(self, candidate: int) -> None:
        """Record that a test kept a candidate."""
        self._wrong += bool(self._sampled[candidate])

    def record(self) -> Screening | None:
        """What was screened and how well; None where nothing was to be."""
        if not self.share:
            return None
        return Screening(self.share, tuple(self._groups), int(self._sampled.sum()), self._wrong)
