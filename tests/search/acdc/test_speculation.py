"""ACDC by several processes makes the decisions of one, number for number."""

import dataclasses

import numpy as np
import pytest

from acdc.behaviour.workers import ALONE, WorkerLost
from acdc.options import Level
from acdc.progress import silent
from acdc.search.acdc import speculation
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.search import acdc
from acdc.search.acdc.speculation import Speculation
from acdc.search.acdc.widths import WIDEST
from acdc.search.discover import bind
from acdc.search.methods.exact import exact
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings

ROWS = tuple(range(8))


class Answered:
    def __init__(self, answer):
        self._answer = answer

    def ready(self, seconds=0.0):
        return True

    def get(self):
        return self._answer()


class Beside:
    """Workers in this process: every member has a behaviour of its own; some are lost, or begin anew, at their n-th
    question."""

    may_come = True

    def __init__(self, make, size, lost=None, anew=None):
        self.size, self._make, self._lost, self._anew = size, make, lost or {}, anew or {}
        self._behaviours = [make() for _ in range(size)]
        self.asked = [0] * size

    def ask(self, member, work, *arguments):
        self.asked[member] += 1
        if self.asked[member] == self._anew.get(member):
            self._behaviours[member] = self._make()
        gone = self.asked[member] >= self._lost.get(member, 10**9)

        def answer():
            if gone:
                raise WorkerLost
            return work(self._behaviours[member], *arguments)

        return Answered(answer)


def bound(model, task, settings, workers=ALONE):
    return bind(model, task, settings, ROWS, workers)


def same(found, other):
    for field in dataclasses.fields(found):
        ours, theirs = getattr(found, field.name), getattr(other, field.name)
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs, field.name


@pytest.fixture(autouse=True)
def narrow_trials(monkeypatch):
    """So that a receiver takes several."""
    monkeypatch.setitem(WIDEST, "cpu", 3)


SETTINGS = {
    "edges": DiscoverySettings(metric="kl", threshold=0.02),
    "wires": DiscoverySettings(metric="logit_diff", threshold=0.05, direct_edges=True),
    "nodes": DiscoverySettings(metric="kl", threshold=0.02, level=Level.nodes),
    "zero": DiscoverySettings(metric="kl", threshold=0.02, ablation="zero"),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("size", [1, 3])
def test_a_crew_makes_the_decisions_of_one(trio, induction, settings, size):
    alone = acdc(bound(trio, induction, settings), settings.search_options, silent)
    workers = Beside(lambda: bound(trio, induction, settings), size)
    together = acdc(bound(trio, induction, settings, workers), settings.search_options, silent)
    same(together, alone)
    assert sum(workers.asked) > 0


@pytest.mark.parametrize("fault", [{"lost": {0: 5, 1: 9}}, {"anew": {0: 4, 1: 2}}], ids=["lost", "started anew"])
def test_members_that_go_change_nothing(trio, induction, fault):
    settings = SETTINGS["edges"]
    alone = acdc(bound(trio, induction, settings), settings.search_options, silent)
    workers = Beside(lambda: bound(trio, induction, settings), 2, **fault)
    same(acdc(bound(trio, induction, settings, workers), settings.search_options, silent), alone)
    (first, nth), *_ = next(iter(fault.values())).items()
    assert workers.asked[first] >= nth  # it came to that


def test_a_crew_measures_what_one_does(trio, induction):
    settings = DiscoverySettings(method=METHODS["exact"], metric="logit_diff")
    alone = exact(bound(trio, induction, settings), settings.search_options, silent)
    workers = Beside(lambda: bound(trio, induction, settings), 2)
    together = exact(bound(trio, induction, settings, workers), settings.search_options, silent)
    assert together.values.tobytes() == alone.values.tobytes()
    assert min(workers.asked) > 2


def test_members_that_come_later_take_part(trio, induction):
    """They follow all commands that they have missed."""
    settings = SETTINGS["edges"]
    alone = acdc(bound(trio, induction, settings), settings.search_options, silent)
    workers = Beside(lambda: bound(trio, induction, settings), 2)
    workers.size = 0
    behaviour = bound(trio, induction, settings, workers)
    measure = Speculation.measure

    def and_one_comes(self, *arguments):
        passes.append(1)
        workers.size = min(2, len(passes) // 4)
        return measure(self, *arguments)

    passes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Speculation, "measure", and_one_comes)
        together = acdc(behaviour, settings.search_options, silent)
    same(together, alone)
    assert min(workers.asked) > 0


def test_a_member_that_is_far_slower_is_asked_no_more(trio, induction, monkeypatch):
    monkeypatch.setattr(speculation, "LEAST_WAIT", -1.0)
    settings = SETTINGS["edges"]
    alone = acdc(bound(trio, induction, settings), settings.search_options, silent)
    monkeypatch.setattr(Answered, "ready", lambda self, seconds=0.0: False)
    workers = Beside(lambda: bound(trio, induction, settings), 2)
    same(acdc(bound(trio, induction, settings, workers), settings.search_options, silent), alone)
    assert max(workers.asked) <= 2


def test_a_member_is_lost_with_all_that_it_was_asked(trio, induction):
    settings = SETTINGS["edges"]
    speculative = Speculation(bound(trio, induction, settings, Beside(lambda: None, 1, lost={0: 1})), Level.edges)
    first, second, nothing = np.array([0]), np.array([1]), np.array([], dtype=int)
    one, other = Pass(first, (1,)), Pass(second, (1,))
    speculative.ask([(one, nothing)])
    speculative.ask([(other, first)])
    assert speculative.answer(one) is None and speculative.answer(other) is None
    assert speculative.workers == 0
