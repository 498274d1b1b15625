"""Greedy pruning: what ACDC does at each receiver, over edges or nodes, for one threshold or for several at once."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from acdc.artefacts.scores import Decision, Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.graph.masks import Mask
from acdc.progress import Advance
from acdc.search.acdc.journal import Journal
from acdc.search.acdc.pace import Pace
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.receiver_steps import ReceiverStep
from acdc.search.acdc.screening import Screen
from acdc.search.acdc.speculation import Speculation
from acdc.search.acdc.tester import PASSES, PassCost, Tester, measure_in_memory

CHECK_TESTS = 1000  # after so many tests, the present circuit is measured from scratch before the next layer

# By how much the objective has risen, and what is not in the present circuit: whether to give up.
Hopeless = Callable[[float, Mask], bool]


class Pruning:
    """One run: its tester, the objective of the present circuit, the decisions so far, and what is left to visit.

    Several candidates are tried in one pass, each together with all before it removed: the results count up to the
    first that is kept, and the rest is tried again. So the decisions are those of one test at a time. With several
    thresholds the run goes on as one while their decisions agree, and forks where they part.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        tester: Tester,
        thresholds: Sequence[float],
        plan: Sequence[ReceiverStep],
        proposed: np.ndarray,
        screen: Screen | None = None,
        journal: Journal | None = None,
        hopeless: Hopeless | None = None,
    ):
        """`proposed`: boolean [candidates] of those to decide about; the others are removed without a test. `screen`:
        which of them a run for one threshold removes in groups. `journal`: where a run for one threshold records its
        passes, and reads those of an earlier attempt. `hopeless`: asked before each layer whether to give up."""
        self.behaviour, self.tester, self.thresholds = behaviour, tester, tuple(sorted(thresholds))
        self.sign = tester.measured.objective.sign
        self.changes = np.zeros(len(tester.names))
        self.tests: list[Decision] = []
        self.current = self._full = tester.objective()
        self.drift, self.tried, self._checked = 0.0, 0, 0
        self._hopeless, self._given_up = hopeless, False
        self._proposed, self._journal = proposed, journal
        self._screen = Screen(0.0, self.thresholds[0], tester.names, seed=0) if screen is None else screen
        self._plan, self._next, self._left = plan, 0, np.array([], dtype=int)
        self._pace, self._layer, self._kept = Pace(), behaviour.graph.anatomy.n_layers, 0

    def finish(self, advance: Advance) -> list["Pruning"]:
        """Decide all that is left; the runs that forked off and are to be finished too."""
        forks: list[Pruning] = []
        while len(self._left) or self._next < len(self._plan):
            if not len(self._left):
                step = self._plan[self._next]
                if step.layer < self._layer and self._gives_up():
                    break
                self._left = self._open(step, advance)
                self._next += 1
            while len(self._left):
                self._test(forks, advance)
        return forks

    def _gives_up(self) -> bool:
        rise = self.current - self._full
        self._given_up = self._hopeless is not None and self._hopeless(rise, self.tester.ablated)
        return self._given_up

    def _open(self, step: ReceiverStep, advance: Advance) -> np.ndarray:
        """The candidates of a receiver that are to be tested: none where nothing reads what it belongs to."""
        if step.layer < self._layer and len(self.tests) - self._checked >= CHECK_TESTS:
            self._check_drift()
        self._layer = step.layer
        live = self._is_live(step)
        tested = self._proposed[step.candidates] & live
        self.tester.open(step.candidates[tested], step.candidates[~tested])
        # Under post-norms an unread head has a part in its layer's scale. In half precision what a slot reads of the
        # residual stream and what it reads as a sum over its senders differ enough to be mistaken for an effect.
        untested_matter = not tested.all() and (live or self.behaviour.graph.anatomy.post_norms)
        if untested_matter or (tested.any() and self.behaviour.model.dtype.itemsize < 4):
            self.current = self.tester.objective()
        advance(int((~tested).sum()) * len(self.thresholds), self._note())
        left = step.candidates[tested]
        if self._screen.share and len(left):
            self._screen.open(left, self.tester.foretell(left), self.tester.measured)
        return left

    def _is_live(self, step: ReceiverStep) -> bool:
        """Whether anything reads what a receiver belongs to."""
        removed = self.tester.removed
        return not step.users or any(
            self.tester.is_read(writer) and (inner is None or not removed[inner]) for writer, inner in step.users
        )

    def _check_drift(self) -> None:
        """See how far rounding has taken the passes from what the present circuit measures in a run from scratch."""
        self._checked = len(self.tests)
        self.drift = max(self.drift, abs(self._measured() - self.current))

    def _measured(self) -> float:
        return float(self.tester.measured.of_subgraphs(self.tester.ablated)[0])

    def _test(self, forks: list["Pruning"], advance: Advance) -> None:
        """Try what is left of a receiver, as much as fits one pass."""
        wanted = self._screen.next(self._left, self._width(self._pace, self.tester.cost(self._left)))
        self.tried += len(wanted.columns)
        recorded = None if self._journal is None else self._journal.recorded()
        if recorded is not None and len(recorded) > len(wanted.columns):
            # There was more memory then. One more: what was recorded may end between the two columns of a test.
            wanted = self._screen.next(self._left, len(recorded) + 1)
        objectives = self._objectives(wanted) if recorded is None else np.array(recorded)
        decided, used, surprised = self._accept(wanted.first(len(objectives)), objectives, forks, advance)
        if self._journal is not None and recorded is None:
            self._journal.add(objectives[:used].tolist())
        self._pace = self._pace.after(used, surprised)
        self._left = self._left[decided:]
        advance(decided * len(self.thresholds), self._note())

    def _width(self, pace: Pace, cost: PassCost) -> int:
        """How many measurements a pass has: no more than memory has sufficed for."""
        return self.behaviour.retreat.most(PASSES, pace.width(cost))

    def _objectives(self, wanted: Pass) -> np.ndarray:
        """What a pass gives, made now or ahead of its time."""
        if not isinstance(self.tester, Speculation):
            return measure_in_memory(self.behaviour, self.tester, wanted)
        answer = self.tester.answer(wanted)
        if answer is not None:
            return answer
        self.tester.ask(self._following(wanted, self.tester.workers))
        return measure_in_memory(self.behaviour, self.tester, wanted)

    def _following(self, wanted: Pass, most: int) -> list[tuple[Pass, np.ndarray]]:
        """The passes that come after this one if nothing is kept, each with the candidates before it; none after one
        in which something is expected to be."""
        pace, place = self._pace, 0
        found: list[tuple[Pass, np.ndarray]] = []
        while len(found) < most and not wanted.kept:
            place, pace = place + len(wanted.tried), pace.after(len(wanted.columns), kept=0)
            left = self._left[place:]
            if not len(left) or not (cost := self.tester.cost(left)).speculative:
                break
            wanted = self._screen.next(left, self._width(pace, cost))
            found.append((wanted, self._left[:place]))
        return found

    def _accept(
        self, wanted: Pass, objectives: np.ndarray, forks: list["Pruning"], advance: Advance
    ) -> tuple[int, int, bool]:
        """Take the results up to and including the first candidate whose decision was not expected, or before a group
        that may not go: how many candidates are decided then, how many results counted, and whether it came so."""
        tried, removed, decided = wanted.tried, 0, 0
        for used, (end, after) in enumerate(zip(wanted.columns, objectives.tolist(), strict=True), start=1):
            place, candidate = end - 1, int(tried[end - 1])
            if self._screen.is_screened(candidate):
                if self._screen.accept(tried[decided:end], after - self.current):
                    self.current, decided = after, end
                    continue
                if end - decided > 1:
                    self._remove(tried[removed:decided])
                    if not self._reconsider(decided, end, after):
                        return decided, used, True
                    self.current = after
                    self._remove(tried[decided:end])
                    return end, used, False
            removing = tuple(t for t in self.thresholds if after - self.current < t)
            if removing and removing != self.thresholds:
                self._remove(tried[removed:place])
                removed = place
                forks.append(self._fork(candidate, after, self._left[end:]))
                advance(end * len(forks[-1].thresholds))
                self.thresholds = removing
            decided = end
            if not removing:
                self._remove(tried[removed:place])
                self._keep(candidate, after)
                removed = end
            else:
                self.tests.append(Decision(self.tester.names[candidate], self.current, after, kept=False))
                self._screen.tested(candidate, kept=False)
                self.current = after
            if (not removing) != (place in wanted.kept):
                self._remove(tried[removed:end])
                return end, used, True
        self._remove(tried[removed:])
        return len(tried), len(objectives), False

    def _reconsider(self, decided: int, end: int, after: float) -> bool:
        """Whether a screened group among what is left may leave although it misses its estimate."""
        left = self._left[decided:]
        return self._screen.reconsider(left, end - decided, after - self.current, self.tester.foretell_without)

    def _remove(self, candidates: np.ndarray) -> None:
        if len(candidates):
            self.tester.remove(candidates)

    def _keep(self, candidate: int, after: float) -> None:
        self.tests.append(Decision(self.tester.names[candidate], self.current, after, kept=True))
        self.changes[candidate] = self.sign * (after - self.current)
        self._screen.tested(candidate, kept=True)
        self.tester.keep(candidate)
        self._kept += 1

    def _fork(self, candidate: int, after: float, left: np.ndarray) -> "Pruning":
        """The run of the thresholds that keep this candidate."""
        other = copy.copy(self)
        other.thresholds = tuple(t for t in self.thresholds if not after - self.current < t)
        other.tester, other.tests, other.changes = self.tester.fork(), list(self.tests), self.changes.copy()
        other._left = left
        other._keep(candidate, after)
        return other

    def _note(self) -> str:
        return f"{self._kept} kept, {self.tester.measured.objective.shown(self.current)}"

    def results(self) -> dict[float, Decisions]:
        """The decisions under each of its thresholds, the objective of the circuit measured by a run from scratch. None
        where it has given up."""
        if self._given_up:
            return {}
        measured = self._measured()
        drift = max(self.drift, abs(measured - self.current))
        found = Decisions(
            tuple(self.tests),
            self.tester.edges(),
            self.changes,
            self.thresholds[0],
            measured,
            drift,
            self.tried,
            screening=self._screen.record(),
            minimised=self.tester.measured.objective.name,
        )
        return {threshold: replace(found, threshold=threshold) for threshold in self.thresholds}
