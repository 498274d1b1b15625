"""ACDC for a faithfulness: what it reaches, which searches it gives up, and what it polishes."""

import numpy as np
import pytest

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import AcdcWarning
from acdc.options import Level, ObjectiveKind
from acdc.progress import silent
from acdc.runs.discovery import JOURNAL
from acdc.search.acdc import to_faithfulness
from acdc.search.acdc.journal import Journal
from acdc.search.acdc.search import acdc
from acdc.search.options import OrderOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

MATCH = {"objective": ObjectiveKind.match}


def bound(trio, task="induction", metric="logit_diff"):
    return Behaviour(trio, load_task(task, trio), range(8), METRICS[metric])


def search(behaviour, faithfulness=0.95, **options):
    return acdc(behaviour, OrderOptions(faithfulness=faithfulness, **options), silent)


def faithfulness(behaviour, found):
    full, empty = behaviour.ends()
    value = behaviour.measure(~behaviour.graph.prune(found.kept)[None])[0, 0].mean()
    return (value - empty) / (full - empty)


@pytest.fixture
def never_given_up(monkeypatch):
    monkeypatch.setattr(to_faithfulness._Trials, "_is_hopeless", lambda *_: False)


@pytest.fixture
def never_near(monkeypatch):
    monkeypatch.setattr(to_faithfulness, "NEAR", 0.0)
    monkeypatch.setattr(to_faithfulness, "LEAST_NEAR", 0.0)


@pytest.mark.parametrize("task, metric", [("induction", "logit_diff"), ("ioi", "logit_diff"), ("greater_than", "kl")])
def test_a_faithfulness_is_reached(trio, task, metric):
    behaviour = bound(trio, task, metric)
    found = search(behaviour, **MATCH)
    assert 0.95 <= faithfulness(behaviour, found) <= 1.05
    assert found.kept.sum() < 0.5 * len(found.kept)


def test_the_threshold_is_the_largest_of_the_halved_ones_that_reaches_it(trio, never_near, never_given_up):
    behaviour = bound(trio)
    full, empty = behaviour.ends()
    found = search(behaviour, **MATCH)
    halved = [abs(full - empty) * to_faithfulness.LARGEST_SHARE / 2**k for k in range(to_faithfulness.HALVINGS + 1)]
    assert found.threshold in halved and found.polish is None
    for threshold in halved[: halved.index(found.threshold) + 1]:
        tried = acdc(behaviour, OrderOptions(threshold=threshold, **MATCH), silent)
        reached = 0.95 <= faithfulness(behaviour, tried) <= 1.05
        assert reached == (threshold == found.threshold)


def test_what_is_given_up_would_have_failed(trio, monkeypatch):
    """The same circuit as of searches that all run to their end, for less work."""
    behaviour = bound(trio, "ioi")
    found, flops = search(behaviour, **MATCH), behaviour.work.flops
    monkeypatch.setattr(to_faithfulness._Trials, "_is_hopeless", lambda *_: False)
    behaviour = bound(trio, "ioi")
    assert (search(behaviour, **MATCH).kept == found.kept).all()
    assert flops < 0.95 * behaviour.work.flops


def test_a_circuit_that_is_near_is_polished(trio):
    """Which reaches the target under a threshold where ACDC alone does not. What it says of the circuit is true."""
    behaviour = bound(trio)
    found = search(behaviour, **MATCH)
    assert found.polish is not None and found.polish.added
    without = np.array([found.kept & (np.arange(len(found.kept)) != edge) for edge in np.flatnonzero(found.kept)])
    values = behaviour.measure(~np.concatenate([found.kept[None], without]))[0]
    distances = np.abs(values - behaviour.full()).mean(axis=1)
    assert found.polish.needed == (distances[1:] - distances[0] >= found.polish.threshold).sum() > 0
    alone = acdc(behaviour, OrderOptions(threshold=found.threshold, **MATCH), silent)
    assert not 0.95 <= faithfulness(behaviour, alone) <= 1.05


def test_what_cannot_be_polished_has_a_smaller_threshold(trio):
    behaviour = bound(trio)
    found = search(behaviour, level=Level.nodes, **MATCH)
    assert found.polish is None and 0.95 <= faithfulness(behaviour, found) <= 1.05


def test_where_no_circuit_is_faithful_the_closest_is_given(trio, monkeypatch):
    monkeypatch.setattr(to_faithfulness, "HALVINGS", 0)
    with pytest.warns(AcdcWarning, match="no threshold down to"):
        found = search(bound(trio, "ioi"), faithfulness=1.0)
    assert found.kept.any()


def test_one_that_was_cut_off_goes_on(trio, tmp_path):
    path = tmp_path / JOURNAL

    def run():
        with Journal(path, {}) as journal:
            return acdc(bound(trio), OrderOptions(faithfulness=0.95, journal=journal, **MATCH), silent)

    first = run()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    again = run()
    assert again.tests == first.tests and (again.kept == first.kept).all() and again.polish == first.polish
    assert path.read_bytes() == whole
