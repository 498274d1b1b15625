"""The second pass over a circuit at positions: a certificate that whole runs agree with."""

import numpy as np
import pytest
from conftest import thorough_but
from families import boot
from noise import noise

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.options import Level, ObjectiveKind
from acdc.progress import silent
from acdc.search.acdc import missing, polish
from acdc.search.acdc.circuits import PositionalCircuits
from acdc.search.acdc.search import acdc
from acdc.search.options import OrderOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS
from acdc.task.objective import Objective, Wanted

AT = Level.positions


def toggled(kept, changes):
    found = np.repeat(kept[None], len(changes), axis=0)
    for mask, edges in zip(found, changes, strict=True):
        mask[list(edges)] ^= True
    return found


def objectives(behaviour, wanted, circuits):
    """Of circuits, boolean [circuits, edges], by runs of the whole model."""
    objective = Objective(behaviour.metric, wanted)
    units, metrics = behaviour.units(AT), objective.metrics
    values = [behaviour.measure(units.ablated(kept), metrics) for kept in circuits]
    return objective.of(np.concatenate(values, axis=1), behaviour.plain(metrics))


@pytest.mark.parametrize(
    ("family", "kind", "share"),
    thorough_but(
        [("gpt2", "match", 0.01)], [("gpt2", "match", 0.01), ("llama", "raw", 0.02), ("native", "match", 0.02)]
    ),
)
def test_no_single_removal_and_no_addition_improves_the_result(family, kind, share, monkeypatch):
    monkeypatch.setattr(missing, "BEST", 10_000)
    behaviour = Behaviour(boot(family, 1, seed=1), noise(3, lengths=(4,)), range(3), METRICS["logit_diff"])
    threshold, wanted = share * abs(np.subtract(*behaviour.ends())), Wanted(ObjectiveKind(kind))
    options = OrderOptions(threshold=threshold, level=AT, objective=kind)
    units, before = behaviour.units(AT), acdc(behaviour, options, silent)
    found = acdc(behaviour, options.model_copy(update={"polish": True}), silent)
    (now,) = objectives(behaviour, wanted, found.kept[None])
    inside = np.flatnonzero(found.kept)
    between = np.flatnonzero(missing.Ends(PositionalCircuits(behaviour), found.kept).between)
    rises = objectives(behaviour, wanted, toggled(found.kept, inside[:, None])) - now
    falls = now - objectives(behaviour, wanted, toggled(found.kept, between[:, None]))
    assert rises.min() >= threshold and falls.max() < threshold
    assert (found.kept == units.pruned(found.kept)).all() and found.objective == pytest.approx(now, abs=1e-9)
    sign = Objective(behaviour.metric, wanted).sign
    assert found.values[inside] == pytest.approx(sign * rises, abs=1e-9)
    record = found.polish
    assert record.rounds < polish.ROUNDS and record.steps and record.added + record.removed > 0
    assert record.needed == len(inside) and record.helping == 0 and record.best == record.possible == len(between)
    start = objectives(behaviour, wanted, units.pruned(before.kept)[None])[0]
    assert start + sum(step.change for step in record.steps) == pytest.approx(now, abs=1e-9)
    assert {name for step in record.steps for name in step.edges} <= set(units.names())


def test_a_wrong_edge_goes_and_a_right_one_comes_back():
    """Of a circuit that cannot be improved, with one edge taken away and another added."""
    behaviour = Behaviour(boot("llama", 1, seed=1), noise(3, lengths=(4,)), range(3), METRICS["kl"])
    threshold = 0.02 * abs(np.subtract(*behaviour.ends()))
    options = OrderOptions(threshold=threshold, level=AT, polish=True)
    right, units = acdc(behaviour, options, silent), behaviour.units(AT)
    draw, repaired = np.random.default_rng(0), 0
    for edge in np.argsort(-np.abs(right.values))[:4]:
        wrong = right.kept & (np.arange(len(right.kept)) != edge)
        between = missing.Ends(PositionalCircuits(behaviour), units.pruned(wrong)).between & ~right.kept
        wrong[draw.choice(np.flatnonzero(between))] = True
        start = objectives(behaviour, Wanted(), units.pruned(wrong)[None])[0]
        given = type(right)((), wrong, right.values, threshold, start, 0.0, 0)
        found = polish.polish(behaviour, Wanted(), given, 0, silent, AT)
        cost = found.objective + threshold * found.kept.sum()
        assert cost < start + threshold * units.pruned(wrong).sum()
        repaired += bool(found.kept[edge])
    assert repaired


def test_the_best_by_estimate_are_those_that_help_most(trio):
    behaviour = Behaviour(trio, load_task("ioi", trio), range(4), METRICS["logit_diff"])
    kept = behaviour.units(AT).pruned(acdc(behaviour, OrderOptions(threshold=0.5, level=AT), silent).kept)
    measured, circuits = polish.MeasuredObjective(behaviour, Wanted()), PositionalCircuits(behaviour)
    found = missing.find_candidates(circuits, measured, kept, np.random.default_rng(0))
    edges = np.concatenate([found.best, found.drawn])
    now = objectives(behaviour, Wanted(), kept[None])
    changes = np.concatenate([*circuits.variants(kept, edges[:, None], measured.objective.metrics)], axis=1)
    changes = measured.of(changes) - now
    assert set(np.argsort(changes)[:3]) <= set(range(20)) and changes.min() < -0.05


def test_it_is_refused_over_nodes(trio):
    behaviour = Behaviour(trio, load_task("ioi", trio), range(4), METRICS["logit_diff"])
    with pytest.raises(InputError, match="not available over nodes: leave it out, or use --level edges or"):
        acdc(behaviour, OrderOptions(threshold=0.5, level=Level.nodes, polish=True), silent)
