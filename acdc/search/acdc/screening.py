"""Screened ACDC: an edge whose test is foretold to come out far below the threshold is removed without a test.

When ACDC reaches the first receiver of a layer and kind, one run of the present circuit, forwards and back, gives
gradients at all of them; they estimate every test there. Candidates estimated below a share of the threshold are
screened. They leave in ACDC's own order, in groups, and the objective is measured after each group: so every other
test starts from what is really left. A group ends where its estimates add up to that share. It may leave if the
objective rises by less than the threshold and by about what was estimated. Otherwise it is divided and measured again,
down to single edges, which are tested so. A seeded sample of the screened candidates is tested as well, to say how
often the estimate was wrong.
"""

from collections.abc import Sequence

import numpy as np

from acdc.artefacts.scores import GroupRemoval, Screening
from acdc.search.acdc.first_order import FirstOrder
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.passes import Expected, Pass, next_pass

TOLERANCE = 0.6  # of the threshold, by which a group may miss its estimate
PARTS = 4  # of a group that may not leave
SAMPLE = 400  # are drawn of all candidates; those at receivers that nothing reads need no test anyway
PASSES = 2  # the version of what a pass measures: a journal of another version tells nothing about these


class Screen:
    """Which candidates of a run for one threshold are screened. A `share` of 0 screens none."""

    def __init__(self, share: float, threshold: float, names: Sequence[str], seed: int):
        self.share, self.threshold, self._names = share, threshold, names
        self._drawn = np.random.default_rng(seed).random(len(names)) < SAMPLE / max(len(names), 1)
        self._expected, self._sampled = Expected.nothing(len(names)), np.zeros(len(names), dtype=bool)
        self._groups: list[GroupRemoval] = []
        self._wrong = 0
        self._receiver: _Receiver | None = None

    def open(self, candidates: np.ndarray, foretold: FirstOrder | None, measured: MeasuredObjective) -> None:
        """Go on to a receiver, and screen its candidates; none where nothing is foretold."""
        last, self._receiver = self._receiver, None
        if foretold is None:
            return
        self._receiver = _Receiver(candidates, foretold, measured)
        if last is not None and last.taken is foretold.now:
            self._receiver.now = last.now
        estimates = self._receiver.estimates()
        low = estimates < self.share * self.threshold
        self._sampled[candidates] = low & self._drawn[candidates]
        screened = low & ~self._drawn[candidates]
        self._expected.screened[candidates] = screened
        self._expected.ends[candidates] = self._receiver.group_ends(screened, self.share * self.threshold)
        self._expected.likely[candidates] = estimates >= self.threshold

    def expected(self, candidates: np.ndarray) -> Expected:
        """What is known of some candidates of the receiver."""
        return self._expected.of(candidates)

    def next(self, left: np.ndarray, width: int) -> Pass:
        """The next pass over what is left of a receiver, with so many measurements at most."""
        return next_pass(left, self.expected(left), width)

    def is_screened(self, candidate: int) -> bool:
        return bool(self._expected.screened[candidate])

    def accept(self, group: np.ndarray, change: float) -> bool:
        """Whether a group of screened candidates may leave that changes the objective so; else it is divided for
        another pass, and a single candidate has been tested by that."""
        assert self._receiver is not None
        off = abs(change - self._receiver.change(group))
        if change < self.threshold and off < TOLERANCE * self.threshold:
            self._groups.append(GroupRemoval(self._names[group[0]], len(group), change))
            self._receiver.remove(group)
            return True
        if len(group) == 1:
            self._expected.screened[group] = False
        else:
            self._expected.ends[group[-1 :: len(group) // -PARTS]] = True
        return False

    def tested(self, candidate: int, kept: bool) -> None:
        """Record the result of a test."""
        self._wrong += bool(kept and self._sampled[candidate])
        if not kept and self._receiver is not None:
            self._receiver.remove(np.array([candidate]))

    def record(self) -> Screening | None:
        """What was screened and how well; None where nothing was to be."""
        if not self.share:
            return None
        return Screening(self.share, tuple(self._groups), int(self._sampled.sum()), self._wrong)


class _Receiver:
    """The estimates of a receiver's candidates, and the objective's metrics as they foretell them after removals,
    `now`, and as they were when the gradients were `taken`, which may have been at an earlier receiver."""

    def __init__(self, candidates: np.ndarray, foretold: FirstOrder, measured: MeasuredObjective):
        self._places = {candidate: place for place, candidate in enumerate(candidates.tolist())}
        self._effects, self._measured = foretold.effects, measured
        self.taken = self.now = foretold.now

    def estimates(self) -> np.ndarray:
        """[candidates]: by how much the objective rises without each, now or where it is at its best, whichever is
        more: a distance may fall now and rise after other removals."""
        return np.maximum(*(self._measured.change(now, self._effects) for now in (self.now, self._measured.full)))

    def group_ends(self, screened: np.ndarray, most: float) -> np.ndarray:
        """Boolean [candidates]: after which of the `screened` a group ends, as it raises the objective by more than
        `most`."""
        removed = np.cumsum(np.where(screened[:, None], self._effects, 0), axis=1)
        rises, start, found = self._measured.change(self.now, removed), 0.0, np.zeros(len(screened), dtype=bool)
        for place in np.flatnonzero(screened):
            found[place] = rises[place] - start > most
            start = rises[place] if found[place] else start
        return found

    def change(self, group: np.ndarray) -> float:
        """By how much the objective rises without all of a group."""
        return float(self._measured.change(self.now, self._together(group)[:, None])[0])

    def remove(self, group: np.ndarray) -> None:
        self.now = self.now + self._together(group)

    def _together(self, group: np.ndarray) -> np.ndarray:
        return self._effects[:, [self._places[candidate] for candidate in group.tolist()]].sum(axis=1)
