"""Screened ACDC over positions against ACDC that tests every edge, and its estimates where they have to be exact."""

import numpy as np
import pytest
from conftest import thorough_but
from families import boot
from noise import noise
from pytest import approx

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.graph import ReaderKind
from acdc.model.load import load_model
from acdc.options import Level, ObjectiveKind
from acdc.progress import silent
from acdc.search.acdc import screening
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.positional_increments import PositionalIncrements
from acdc.search.acdc.receiver_steps import positional_steps
from acdc.search.acdc.search import acdc
from acdc.search.options import OrderOptions
from acdc.search.registry import METHODS
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

AT = Level.positions


@pytest.fixture(autouse=True)
def nothing_sampled(monkeypatch):
    """So few edges that a sample would be a large part of them."""
    monkeypatch.setattr(screening, "SAMPLE", 0)


def bound(model, task, metric, rows=range(6)):
    return Behaviour(model, load_task(task, model), rows, METRICS[metric])


def options(threshold, screen=0.0, **others):
    return OrderOptions(level=AT, threshold=threshold, screen=screen, **others)


@pytest.mark.parametrize(
    ("task", "metric", "threshold"),
    thorough_but(
        [("ioi", "logit_diff", 0.1)],
        [("ioi", "logit_diff", 0.1), ("ioi", "kl", 0.05), ("greater_than", "kl", 0.01), ("induction", "kl", 0.05)],
    ),
)
def test_it_keeps_what_testing_every_edge_keeps(trio, task, metric, threshold):
    behaviour = bound(trio, task, metric)
    every, found = (acdc(behaviour, options(threshold, screen), silent) for screen in (0.0, 0.3))
    assert every.kept.sum() > 10
    assert (found.kept == every.kept).all()
    assert len(found.tests) < len(every.tests) / 2
    assert found.screening.removed + len(found.tests) == len(every.tests)
    assert found.drift < 1e-9


@pytest.mark.thorough
def test_stories_at_single_positions(shared):
    """A trained model in which two heads share keys and values; no row names spans."""
    model = load_model(str(shared / "models/stories260k"), dtype="float64")
    behaviour = Behaviour(model, noise(3, lengths=(5,)), range(3), METRICS["logit_diff"])
    threshold = 0.02 * abs(np.subtract(*behaviour.ends()))
    every, found = (acdc(behaviour, options(threshold, screen), silent) for screen in (0.0, 0.3))
    assert (found.kept == every.kept).all() and found.screening.removed > len(found.tests) and every.kept.sum() > 10


@pytest.mark.parametrize(("kind", "kl_share"), [("raw", 0), ("match", 0.5)])
def test_tests_and_groups_account_for_the_whole_change(trio, kind, kl_share):
    behaviour = bound(trio, "ioi", "logit_diff")
    given = options(0.2, 0.3, objective=ObjectiveKind(kind), kl_share=kl_share)
    found = acdc(behaviour, given, silent)
    start = -behaviour.full().mean() if kind == "raw" else 0.0
    removed = sum(test.after - test.before for test in found.tests if not test.kept)
    grouped = sum(group.change for group in found.screening.groups)
    assert found.screening.groups and found.tests
    assert start + removed + grouped == approx(found.objective, abs=1e-9)
    if kind == "raw":
        circuit = behaviour.measure(behaviour.units(AT).ablated(found.kept))[0, 0]
        assert found.objective == approx(-circuit.mean(), abs=1e-9)


def opened(behaviour, kind):
    """A tester that has come to the first slot of a kind that anything reads, and its candidates; of what came before,
    every third edge was kept."""
    tester = PositionalIncrements(behaviour)
    for step in positional_steps(tester.graph):
        live = not step.users or any(tester.is_read(writer) for writer, _ in step.users)
        nothing = step.candidates[:0]
        tester.open(*((step.candidates, nothing) if live else (nothing, step.candidates)))
        slot = tester.states[0].kind(tester._ends(step.candidates)[0][0])
        if live and slot is kind:
            return tester, step.candidates
        for candidate in step.candidates if live else ():
            if candidate % 3:
                tester.remove(np.array([candidate]))
            else:
                tester.keep(candidate)
    raise AssertionError


@pytest.mark.parametrize("kind", [ReaderKind.LOGITS, ReaderKind.V])
def test_estimates_are_exact_where_a_model_is_linear(kind):
    """What a value adds to the logits of an attention-only model of one layer without norms, in batches whose rows are
    of several lengths."""
    model = boot("native-attention-only-no-norm", layers=1, seed=4)
    behaviour = Behaviour(model, noise(4, lengths=(6,)), range(4), METRICS["logit_diff"], batch_size=3)
    tester, candidates = opened(behaviour, kind)
    foretold, before = tester.foretell(candidates), tester.objective()
    assert -foretold.now[0].mean() == approx(before, abs=1e-10)
    single = np.array([tester.measure(Pass(np.array([candidate]), (1,)))[0] for candidate in candidates])
    assert -foretold.effects[0].mean(axis=1) == approx(single - before, abs=1e-10)
    assert np.abs(single - before).max() > 1e-4


@pytest.mark.parametrize("kind", [ReaderKind.LOGITS, ReaderKind.K])
def test_estimates_after_removals_are_those_once_they_are_removed(trio, kind):
    tester, left = opened(bound(trio, "ioi", "logit_diff"), kind)
    assert tester.foretell(left).effects == approx(tester.foretell_without(left, 0).effects, abs=1e-9)
    later = tester.foretell_without(left, 5)
    tester.remove(left[:5])
    now = tester.foretell_without(left[5:], 0)
    assert later.effects[:, 5:] == approx(now.effects, abs=1e-9) and later.now == approx(now.now, abs=1e-9)
    assert now.now.mean() == approx(-tester.objective(), abs=1e-9)


def test_at_the_logits_they_are_those_of_eap(trio):
    behaviour = bound(trio, "ioi", "logit_diff")
    tester, candidates = opened(behaviour, ReaderKind.LOGITS)
    eap = METHODS["eap"].run(behaviour, METHODS["eap"].options(level=AT), silent).values
    assert tester.foretell(candidates).effects[0].mean(axis=1) == approx(eap[candidates], abs=1e-9)


def test_it_is_refused_under_post_norms():
    behaviour = Behaviour(boot("gemma2", 1, seed=1), noise(2, lengths=(4,)), range(2), METRICS["logit_diff"])
    with pytest.raises(InputError, match="at positions .* in models with post-norms.*--screen 0"):
        acdc(behaviour, options(0.1, 0.3), silent)
