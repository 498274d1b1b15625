"""Screened ACDC: an edge whose test is foretold to come out well below the threshold is removed without a test.

When ACDC reaches the first receiver of a layer and kind, one run of the present circuit, forwards and back, gives
gradients at all of them; they estimate every test there. (Taken for all kinds of a layer at once, they are too old for
the last: circuits differ from exact ACDC's.) Candidates estimated below a share of the threshold are screened. They
leave in ACDC's own order, in groups, and the objective is measured after each group: so every other test starts from
what is really left. A group ends where its estimates add up to that share. It may leave if the objective rises by less
than the threshold, and misses the estimate by less than what would take the strongest of the group to the threshold.
Where it misses by more, the mean of these gradients and of new ones after the group gives better estimates, and what is
left is screened again by both. A group that they do not explain either is divided and measured again, down to single
edges, which are tested so. A seeded sample of the screened candidates is tested as well, to say how often the estimate
was wrong.
"""

from collections.abc import Callable, Sequence

import numpy as np

from acdc.artefacts.scores import GroupRemoval, Screening
from acdc.search.acdc.first_order import FirstOrder
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.passes import Expected, Pass, next_pass

TOLERANCE = 0.85  # of the distance from the strongest estimate in a group to the threshold: how far it may be off
PARTS = 4  # of a group that may not leave
FEW = 8  # a group of so many or fewer is divided without new gradients, which would cost as much
SAMPLE = 400  # are drawn of all candidates; those at receivers that nothing reads need no test anyway
PASSES = 6  # the version of what passes measure, and of the thresholds that a faithfulness tries: see `Journal`


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
        self._screen(self._receiver, candidates)

    def _screen(self, receiver: "_Receiver", left: np.ndarray) -> None:
        """Screen what is left of a receiver's candidates, as their estimates now are."""
        estimates = receiver.estimates(slice(-len(left), None))
        low, drawn = estimates < self.share * self.threshold, self._drawn[left]
        self._sampled[left] = low & drawn
        self._expected.screened[left] = low & ~drawn
        self._expected.ends[left] = receiver.group_ends(low & ~drawn, self.share * self.threshold)
        self._expected.likely[left] = estimates >= self.threshold

    def expected(self, candidates: np.ndarray) -> Expected:
        """What is known of some candidates of the receiver."""
        return self._expected.of(candidates)

    def next(self, left: np.ndarray, width: int) -> Pass:
        """The next pass over what is left of a receiver, with so many measurements at most."""
        return next_pass(left, self.expected(left), width)

    def is_screened(self, candidate: int) -> bool:
        return bool(self._expected.screened[candidate])

    def accept(self, group: np.ndarray, change: float) -> bool:
        """Whether a group of screened candidates may leave that changes the objective so. A single candidate that may
        not has been tested by that."""
        assert self._receiver is not None
        off, left_over = abs(change - self._receiver.change(group)), self.threshold - self._receiver.largest(group)
        if change < self.threshold and off < TOLERANCE * left_over:
            self._groups.append(GroupRemoval(self._names[group[0]], len(group), change))
            self._receiver.remove(group)
            return True
        if len(group) == 1:
            self._expected.screened[group] = False
        return False

    def reconsider(
        self, left: np.ndarray, count: int, change: float, foretell: Callable[[np.ndarray, int], FirstOrder]
    ) -> bool:
        """Whether the first `count` of what is `left` of a receiver, which may not leave by their estimates, may leave
        by better ones: the mean of the gradients before and after them, which follows a change that bends to second
        order. They may not where one of them would be tested by either. If those do not explain the change, they are
        divided for another pass. A small group is divided at once."""
        receiver, group = self._receiver, left[:count]
        assert receiver is not None
        if count > FEW:
            after = receiver.correct(left, count, foretell)
            self._screen(receiver, left)
            if not self._expected.screened[group].all():
                return False
            if self.accept(group, change):
                receiver.now = after
                return True
        self._expected.ends[group[-1 :: count // -PARTS]] = True
        return False

    def tested(self, candidate: int, kept: bool) -> None:
        """Record the result of a test."""
        self._wrong += bool(kept and self._sampled[candidate])
        if self._receiver is not None:
            self._receiver.decide(candidate, kept)

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
        self._before_and_after: tuple[np.ndarray, ...] = (self._effects,)  # of a group that was reconsidered
        self.taken = self.now = foretold.now

    def estimates(self, places: slice | list[int]) -> np.ndarray:
        """[places]: by how much the objective rises without each of some candidates, now or where it is at its best,
        before or after a group leaves, whichever is most: a distance may fall now and rise after other removals."""
        nows = self.now, self._measured.full
        points = [(now, effects[:, places]) for now in nows for effects in self._before_and_after]
        return np.max([self._measured.change(*point) for point in points], axis=0)

    def group_ends(self, screened: np.ndarray, most: float) -> np.ndarray:
        """Boolean [left]: after which of the `screened` among the last candidates a group ends, as it raises the
        objective by more than `most`."""
        removed = np.cumsum(np.where(screened[:, None], self._effects[:, -len(screened) :], 0), axis=1)
        rises, start, found = self._measured.change(self.now, removed), 0.0, np.zeros(len(screened), dtype=bool)
        for place in np.flatnonzero(screened):
            found[place] = rises[place] - start > most
            start = rises[place] if found[place] else start
        return found

    def correct(self, left: np.ndarray, count: int, foretell: Callable[[np.ndarray, int], FirstOrder]) -> np.ndarray:
        """Estimate the first `count` of what is left by the mean of the gradients so far and of those after they have
        left, and the others by the latter: the metrics there are returned."""
        after, start = foretell(left, count), self._effects.shape[1] - len(left)
        before = self._effects.copy()
        before[:, start + count :] = after.effects[:, count:]
        self._before_and_after = (before, np.concatenate([before[:, :start], after.effects], axis=1))
        self._effects = np.mean(self._before_and_after, axis=0)
        return after.now

    def change(self, group: np.ndarray) -> float:
        """By how much the objective rises without all of a group."""
        return float(self._measured.change(self.now, self._together(group)[:, None])[0])

    def largest(self, group: np.ndarray) -> float:
        """The largest rise that is estimated of a candidate of a group, at least 0."""
        return max(0.0, float(self.estimates(self._at(group)).max()))

    def remove(self, group: np.ndarray) -> None:
        self.now = self.now + self._together(group)

    def decide(self, candidate: int, kept: bool) -> None:
        if not kept:
            self.remove(np.array([candidate]))

    def _together(self, group: np.ndarray) -> np.ndarray:
        return self._effects[:, self._at(group)].sum(axis=1)

    def _at(self, group: np.ndarray) -> list[int]:
        return [self._places[candidate] for candidate in group.tolist()]
