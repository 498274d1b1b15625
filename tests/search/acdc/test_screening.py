"""Screened ACDC against ACDC that tests every edge, and its own account of what it removed untested."""

from dataclasses import replace

import numpy as np
import pytest
from families import boot, random_rows
from pytest import approx

from acdc.artefacts.scores import GroupRemoval
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.graph import ReaderKind
from acdc.model.load import load_model
from acdc.options import Level, ObjectiveKind
from acdc.progress import silent
from acdc.search.acdc import screening, search
from acdc.search.acdc.first_order import FirstOrder
from acdc.search.acdc.journal import Journal
from acdc.search.acdc.passes import Expected, next_pass
from acdc.search.acdc.receiver_steps import receiver_steps
from acdc.search.acdc.search import acdc, screen_share
from acdc.search.acdc.speculation import make_tester
from acdc.search.discover import discover
from acdc.search.methods import acdc_complete
from acdc.search.options import MANY_CANDIDATES, MANY_SCREEN, AcdcOptions, OrderOptions
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

CASES = [
    ("ioi", "logit_diff", 0.05),
    ("ioi", "kl", 0.05),
    ("greater_than", "kl", 0.01),
    ("induction", "logit_diff", 0.05),
]


@pytest.fixture(autouse=True)
def nothing_sampled(monkeypatch):
    """So few edges that a sample would be all of them."""
    monkeypatch.setattr(screening, "SAMPLE", 0)


@pytest.fixture(scope="module")
def trio32():
    return load_model("trio")


def bound(model, task, metric, ablation="resample", rows=range(8)):
    return Behaviour(model, load_task(task, model), rows, METRICS[metric], ablation)


def passes(left, screened=(), likely=(), ends=(), width=16):
    known = Expected(*(np.isin(np.arange(left), list(some)) for some in (screened, likely, ends)))
    found = next_pass(np.arange(left), known, width)
    return found.tried.tolist(), found.columns, found.kept


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"left": 4}, ([0, 1, 2, 3], (1, 2, 3, 4), ())),
        ({"left": 4, "width": 2}, ([0, 1], (1, 2), ())),
        ({"left": 5, "screened": {0, 1, 2, 3, 4}}, ([0, 1, 2, 3, 4], (5,), ())),
        ({"left": 5, "screened": {0, 1, 3}}, ([0, 1, 2, 3, 4], (2, 3, 4, 5), ())),
        ({"left": 5, "screened": {0, 1, 3, 4}}, ([0, 1, 2, 3, 4], (2, 3, 5), ())),
        ({"left": 5, "screened": {0, 1, 3, 4}, "ends": {0}}, ([0, 1, 2, 3, 4], (1, 2, 3, 5), ())),
        ({"left": 5, "screened": {0, 1, 3, 4}, "likely": {2}}, ([0, 1, 2, 3, 4], (2, 3, 5), (2,))),
        ({"left": 5, "screened": {0, 1, 3}, "width": 3}, ([0, 1, 2], (2, 3), ())),
        ({"left": 3, "screened": {0, 1}, "width": 1}, ([0, 1, 2], (2, 3), ())),  # at least one test
    ],
)
def test_a_pass_measures_before_and_after_each_test(given, expected):
    assert passes(**given) == expected


@pytest.mark.parametrize("nodes", [False, True])
def test_what_is_expected_to_be_kept_changes_no_decision(trio, monkeypatch, nodes):
    """Guesses at random, of which many are wrong."""
    behaviour = bound(trio, "ioi", "logit_diff")
    options = OrderOptions(threshold=0.05, level=Level.nodes if nodes else Level.edges)
    right = acdc(behaviour, options, silent)
    draw = np.random.default_rng(0)

    def guess(self, left, width):
        likely = draw.random(len(left)) < 0.3
        return next_pass(left, replace(Expected.nothing(len(left)), likely=likely), width)

    monkeypatch.setattr(screening.Screen, "next", guess)
    found = acdc(behaviour, options, silent)
    assert found.tried != right.tried
    assert [(test.candidate, test.kept) for test in found.tests] == [
        (test.candidate, test.kept) for test in right.tests
    ]
    assert [test.after for test in found.tests] == approx([test.after for test in right.tests], abs=1e-12)


class Bent:
    """An objective that is a polynomial of how many candidates are removed, and its gradients."""

    full = np.zeros((1, 1))

    def __init__(self, *coefficients):
        self._polynomial = np.polynomial.Polynomial(coefficients)
        self.removed = 0

    def change(self, now, effects):
        return effects[0].sum(axis=-1)

    def rise(self, count):
        return self._polynomial(self.removed + count) - self._polynomial(self.removed)

    def foretell(self, left, count):
        slope = self._polynomial.deriv()(self.removed + count)
        return FirstOrder(np.full((1, len(left), 1), slope), self._polynomial(self.removed).reshape(1, 1), 0)

    def screen(self, candidates):
        screen = screening.Screen(0.3, 1.0, list(map(str, range(candidates))), seed=0)
        screen.open(np.arange(candidates), self.foretell(np.arange(candidates), 0), self)
        return screen


def test_a_change_that_bends_is_followed_to_second_order():
    """Of 40 candidates, the first 30 change the objective by -6, not by 0 as the gradients before them say."""
    bent, left = Bent(0, 0, -1 / 150), np.arange(40)
    screen, change = bent.screen(40), bent.rise(30)
    assert change == approx(-6)
    assert not screen.accept(left[:30], change)
    assert screen.reconsider(left, 30, change, bent.foretell)
    assert screen.record().groups == (GroupRemoval("0", 30, change),)
    bent.removed = 30
    assert screen.expected(left[30:]).screened.all()
    assert not screen.accept(left[30:], bent.rise(10) + 2)
    assert screen.accept(left[30:], 10 * bent.foretell(left[30:], 0).effects[0, 0, 0])


def test_a_candidate_that_would_be_tested_at_the_end_of_a_group_is():
    """Each would raise the objective by half the threshold once the group has left."""
    bent, left = Bent(0, -0.5, 1 / 40), np.arange(20)
    screen = bent.screen(20)
    assert not screen.accept(left, bent.rise(20) - 1.0)
    assert not screen.reconsider(left, 20, bent.rise(20), bent.foretell)
    assert not screen.expected(left).screened.any()


def test_a_group_that_bends_more_than_that_is_divided():
    bent, left = Bent(0, 0, 0, 0, -1e-5), np.arange(20)
    screen, change = bent.screen(20), bent.rise(20)
    assert not screen.accept(left, change)
    assert not screen.reconsider(left, 20, change, bent.foretell)
    known = screen.expected(left)
    assert known.screened.all() and np.flatnonzero(known.ends).tolist() == [4, 9, 14, 19]


@pytest.mark.parametrize("kind", [ReaderKind.LOGITS, ReaderKind.MLP, ReaderKind.K])
def test_estimates_after_removals_are_those_once_they_are_removed(trio, kind):
    behaviour = bound(trio, "ioi", "logit_diff")
    tester = make_tester(behaviour, Level.edges)
    for step in receiver_steps(behaviour.graph):
        tester.open(step.candidates, np.array([], dtype=int))
        if behaviour.graph.readers[behaviour.graph.ends[1][step.candidates[0]]].kind is kind:
            break
        for candidate in step.candidates:
            tester.keep(candidate)
    left = step.candidates
    assert tester.foretell(left).effects == approx(tester.foretell_without(left, 0).effects, abs=1e-9)
    later = tester.foretell_without(left, 3)
    tester.remove(left[:3])
    now = tester.foretell_without(left[3:], 0)
    assert later.effects[:, 3:] == approx(now.effects, abs=1e-9) and later.now == approx(now.now, abs=1e-9)
    assert now.now.mean() == approx(-tester.objective(), abs=1e-9)


@pytest.mark.parametrize(("task", "metric", "threshold"), CASES)
def test_it_keeps_what_testing_every_edge_keeps(trio, task, metric, threshold):
    behaviour = bound(trio, task, metric, rows=range(16))
    every = acdc(behaviour, OrderOptions(threshold=threshold), silent)
    found = acdc(behaviour, OrderOptions(threshold=threshold, screen=MANY_SCREEN), silent)
    assert every.kept.sum() > 10
    assert (found.kept == every.kept).all()
    assert len(found.tests) < len(every.tests) / 2
    assert found.screening.removed + len(found.tests) == len(every.tests)
    careful = acdc(behaviour, OrderOptions(threshold=threshold, screen=0.3), silent)
    assert (careful.kept == every.kept).all() and careful.screening.removed


@pytest.mark.parametrize("seed", [0, 1])
def test_it_keeps_the_same_under_post_norms(seed):
    behaviour = Behaviour(boot("gemma2", 3, seed), random_rows([7, 5, 6]), range(3), METRICS["logit_diff"])
    full, empty = behaviour.ends()
    threshold = abs(full - empty) / 50
    every = acdc(behaviour, OrderOptions(threshold=threshold), silent)
    found = acdc(behaviour, OrderOptions(threshold=threshold, screen=0.3), silent)
    assert every.kept.sum() > 10 and found.screening.removed > 10
    assert (found.kept == every.kept).all()


@pytest.mark.parametrize("screen", [0.1, 0.5])
@pytest.mark.parametrize(("kind", "kl_share"), [("raw", 0), ("match", 0), ("match", 0.5)])
def test_tests_and_groups_account_for_the_whole_change(trio, screen, kind, kl_share):
    behaviour = bound(trio, "ioi", "logit_diff")
    options = OrderOptions(threshold=0.05, screen=screen, objective=ObjectiveKind(kind), kl_share=kl_share)
    found = acdc(behaviour, options, silent)
    start = -behaviour.full().mean() if kind == "raw" else 0.0
    removed = sum(test.after - test.before for test in found.tests if not test.kept)
    grouped = sum(group.change for group in found.screening.groups)
    assert found.screening.groups and found.tests
    assert start + removed + grouped == approx(found.objective, abs=1e-9)
    assert found.drift < 1e-9
    assert all(group.change < 0.05 for group in found.screening.groups)


def test_a_distance_from_the_full_model_by_hand(trio):
    """Of the circuit that it ends with, and of each test, by runs from scratch."""
    behaviour = bound(trio, "ioi", "logit_diff")
    found = acdc(behaviour, OrderOptions(threshold=0.1, objective=ObjectiveKind.match), silent)
    removed = np.zeros((1, behaviour.graph.n_edges), dtype=bool)
    for test in found.tests[:40]:
        removed[0, behaviour.graph.index[test.candidate]] = True
        expected = np.abs(behaviour.measure(removed)[0, 0] - behaviour.full()).mean()
        assert test.after == approx(expected, abs=1e-9)
        removed[0, behaviour.graph.index[test.candidate]] = not test.kept
    circuit = behaviour.measure(~found.kept[None])[0, 0]
    assert found.objective == approx(np.abs(circuit - behaviour.full()).mean(), abs=1e-9)


def test_a_distance_does_not_overshoot(trio):
    behaviour = bound(trio, "ioi", "logit_diff", rows=range(16))
    full, empty = behaviour.ends()
    shares = {}
    for kind in ObjectiveKind:
        found = acdc(behaviour, OrderOptions(threshold=0.02, objective=kind), silent)
        shares[kind] = (behaviour.measure(~found.kept[None])[0, 0].mean() - empty) / (full - empty)
    assert abs(shares[ObjectiveKind.match] - 1) < abs(shares[ObjectiveKind.raw] - 1)


def test_the_sample_says_how_often_the_estimate_was_wrong(trio, monkeypatch):
    monkeypatch.setattr(screening, "SAMPLE", 200)
    behaviour = bound(trio, "greater_than", "kl")
    found = [
        acdc(behaviour, OrderOptions(threshold=0.01, screen=0.3, seed=seed), silent).screening for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]
    assert 0 < found[0].sampled_kept < found[0].sampled < 200  # KL has no slope at the full model: many are misjudged


def test_a_screened_run_that_was_cut_off_goes_on(trio32, tmp_path):
    """With every command line's own way: journal, circuit and record of the screening."""
    settings = DiscoverySettings(method=METHODS["acdc"], metric="kl", threshold=0.01, limit=6, options={"screen": 0.3})
    task, path = load_task("ioi", trio32), tmp_path / "trials.jsonl"

    def run():
        with Journal(path, {}) as journal:
            found = discover(trio32, task, settings, journal=journal)
        return found.circuit.model_dump_json(), found.decisions, found.screening

    first = run()
    whole = path.read_bytes()
    for share in (0.2, 0.7, 1.0):
        path.write_bytes(whole[: int(share * len(whole))])
        assert run() == first
        assert path.read_bytes() == whole


@pytest.mark.parametrize("level", [Level.nodes])
def test_it_is_refused_over_nodes(trio, level):
    with pytest.raises(InputError, match="--screen 0"):
        acdc(bound(trio, "ioi", "logit_diff"), OrderOptions(threshold=0.1, screen=0.3, level=level), silent)


def test_within_head_edges_are_tested_one_by_one(trio):
    behaviour = Behaviour(trio, load_task("ioi", trio), range(8), METRICS["logit_diff"], direct_edges=True)
    every = acdc(behaviour, OrderOptions(threshold=0.1), silent)
    found = acdc(behaviour, OrderOptions(threshold=0.1, screen=0.3), silent)
    assert (found.kept == every.kept).all() and found.screening.groups
    inside = {behaviour.graph.names[i] for i in range(len(behaviour.graph.edges), behaviour.graph.n_edges)}
    assert inside & {test.candidate for test in found.tests}


def test_a_metric_without_a_gradient_is_refused(trio):
    with pytest.raises(InputError, match="accuracy"):
        acdc(bound(trio, "ioi", "accuracy"), OrderOptions(threshold=0.1, screen=0.3), silent)


def test_many_candidates_are_screened_by_default(trio, monkeypatch):
    """Where that works, and unless every test is asked for."""

    def share(metric="logit_diff", **given):
        options = AcdcOptions(threshold=0.1, **given)
        return screen_share(bound(trio, "ioi", metric), options, MANY_CANDIDATES + 1)

    assert share() == share(level=Level.positions) == MANY_SCREEN and share(screen=0.1) == 0.1
    assert share(screen=0.0) == share(level=Level.nodes) == share(level=Level.neurons) == share("accuracy") == 0
    behaviour, options = bound(trio, "ioi", "logit_diff"), OrderOptions(threshold=0.1)
    assert screen_share(behaviour, options, MANY_CANDIDATES) == 0
    assert acdc(behaviour, options, silent).screening is None
    monkeypatch.setattr(search, "MANY_CANDIDATES", 400)
    found = acdc(behaviour, options, silent)
    assert found.screening.share == MANY_SCREEN and found.screening.groups
    asked = acdc(behaviour, OrderOptions(threshold=0.1, screen=MANY_SCREEN), silent)
    assert found.tests == asked.tests and (found.kept == asked.kept).all()


def test_all_rounds_of_the_complete_search_are_screened_alike(trio, monkeypatch):
    """Later rounds have fewer candidates than the first, which alone is above the limit; the record is of all."""
    behaviour = bound(trio, "ioi", "logit_diff")
    monkeypatch.setattr(search, "MANY_CANDIDATES", behaviour.graph.n_edges - 1)
    rounds, decide = [], search.decide
    monkeypatch.setattr(acdc_complete, "decide", lambda *given: rounds.append(decide(*given)) or rounds[-1])
    found = acdc_complete.acdc_complete(behaviour, OrderOptions(threshold=1.0), silent)
    shares = [one[0].screening.share for one in rounds]
    assert len(shares) > 1 and set(shares) == {MANY_SCREEN}
    assert found.screening.removed == sum(one[0].screening.removed for one in rounds) > rounds[0][0].screening.removed
