"""A verification stage by stage, within a budget: what is measured, what goes on, and what a sample says."""

import numpy as np
import pytest

import acdc
from acdc.artefacts.verification.report import unverified
from acdc.errors import InputError
from acdc.options import Extent, Scope
from acdc.verification import budget, verify
from acdc.verification.budget import FEWEST_RANDOM, FEWEST_ROWS, STRONGEST
from acdc.verification.intervals import wilson
from acdc.verification.verify import plan_of, verify_in_stages


@pytest.fixture(scope="module")
def circuit(trio, induction):
    return acdc.discover(trio, induction, method="eap", limit=24, edges=60).circuit


@pytest.fixture
def small_budget(monkeypatch, trio, induction, circuit):
    """One in which the circuit does not fit."""
    whole = plan_of(trio, induction, circuit, Extent.standard)
    monkeypatch.setattr(budget, "STANDARD_FLOPS", whole.flops / 12)
    monkeypatch.setattr(budget, "SEARCH_PASSES", 0)
    return whole


def stages(trio, induction, circuit, **options):
    return list(verify_in_stages(trio, induction, circuit, **options))


def test_each_stage_adds_to_the_one_before(trio, induction, circuit):
    metrics, random, whole = stages(trio, induction, circuit)
    assert metrics.measures and metrics.random is None and not metrics.removals and not metrics.complete
    assert random.random and random.measures == metrics.measures and not random.complete
    assert len(whole.removals) == len(circuit.edges) > 50 and whole.random == random.random
    assert whole.complete and whole.full_verification is None
    assert whole.sample.is_whole and whole.sample.needed.value == whole.needed / len(circuit.edges)
    (quick,) = stages(trio, induction, circuit, extent=Extent.quick)
    assert quick.complete and quick.measures == metrics.measures and quick.random is None


@pytest.mark.parametrize("extent", [Extent.standard, pytest.param(Extent.full, marks=pytest.mark.thorough)])
def test_one_that_was_cut_off_goes_on_and_ends_the_same(trio, induction, circuit, extent, monkeypatch):
    found = stages(trio, induction, circuit, extent=extent, most_rows=12)
    for before in found:
        again = stages(trio, induction, circuit, extent=extent, most_rows=12, before=before)
        assert again[-1].model_dump_json() == found[-1].model_dump_json()
        assert len(again) <= len(found)
    asked = []
    real = verify.measure_circuit
    monkeypatch.setattr(verify, "measure_circuit", lambda *them: asked.append(1) or real(*them))
    next(verify_in_stages(trio, induction, circuit, extent=extent, most_rows=12, before=found[0]))
    assert not asked, "what has been measured is measured again"


def test_a_verification_is_raised_from_where_it_stands(trio, induction, circuit, monkeypatch):
    quick = acdc.verify(trio, induction, circuit, extent="quick")
    monkeypatch.setattr(verify, "measure_circuit", None)
    *_, raised = stages(trio, induction, circuit, before=quick)
    monkeypatch.undo()
    assert raised.model_dump_json() == acdc.verify(trio, induction, circuit).model_dump_json()
    assert quick.covers(Scope(Extent.quick)) and not quick.covers(Scope(Extent.standard))
    assert raised.covers(Scope(Extent.quick)) and not raised.covers(Scope(Extent.full))
    assert raised.covers(Scope(Extent.standard, 1000)) and raised.covers(Scope(Extent.standard, 10))


def test_what_does_not_fit_is_sampled_within_the_budget(trio, induction, circuit, small_budget):
    plan = plan_of(trio, induction, circuit, Extent.standard)
    assert plan.flops < small_budget.flops / 4
    assert STRONGEST < len(plan.removed) < len(circuit.edges) and plan.removal_rows == FEWEST_ROWS
    assert plan.random >= FEWEST_RANDOM and plan.random_rows >= FEWEST_ROWS
    report = acdc.verify(trio, induction, circuit)
    assert (report.rows, report.unseen) == (plan.rows, 104)
    limited = acdc.verify(trio, induction, circuit, rows=100)
    assert limited.rows < 100, "the budget took fewer rows than were allowed"
    assert limited.covers(Scope(Extent.standard, 100)) and not limited.covers(Scope(Extent.standard, 101))
    assert report.random.rows == plan.random_rows and len(report.random.edges) == plan.random
    strongest = sorted(circuit.edges, key=lambda edge: -abs(edge.score))[:STRONGEST]
    removed = {removal.id for removal in report.removals}
    assert {edge.id for edge in strongest} <= removed
    assert report.sample.measured == len(removed) == len(plan.removed) < report.sample.parts == len(circuit.edges)
    assert report.model_dump_json() == acdc.verify(trio, induction, circuit).model_dump_json()


def test_a_sample_estimates_what_removing_all_says(trio, induction, circuit, small_budget, monkeypatch):
    """Over many seeds the interval of a sample holds the share among all edges nearly always."""
    monkeypatch.setattr(budget, "STANDARD_FLOPS", 1e15)
    whole = acdc.verify(trio, induction, circuit, rows=FEWEST_ROWS)
    hurts = {removal.id: removal.hurts for removal in whole.removals}
    assert 0.2 < whole.needed / len(hurts) < 0.98
    monkeypatch.undo()
    from acdc.verification.measures import sample_of

    held, by_id = [], {removal.id: removal for removal in whole.removals}
    for seed in range(200):
        order = budget.sample_order(circuit.model_copy(update={"seed": seed}))
        names = [circuit.edges[place].id for place in order]
        sample = sample_of(len(circuit.parts), [by_id[name] for name in names[:25]], names[:STRONGEST], FEWEST_ROWS)
        held.append(sample.needed.low <= sum(hurts.values()) / len(hurts) <= sample.needed.high)
    assert np.mean(held) > 0.93


def test_rows_are_limited_in_every_stage(trio, induction, circuit):
    report = acdc.verify(trio, induction, circuit, rows=10)
    assert report.rows == report.random.rows == report.sample.rows == 10
    assert report.covers(Scope(Extent.standard, 10)) and report.covers(Scope(Extent.quick, 4))
    assert not report.covers(Scope(Extent.quick, 11)) and not report.covers(Scope(Extent.standard))
    with pytest.raises(InputError, match="extent 'some' is not one of"):
        acdc.verify(trio, induction, circuit, extent="some")
    with pytest.raises(InputError, match="measures nothing"):
        acdc.verify(trio, induction, circuit, extent="none")
    for rows in (0, -1, float("nan")):
        with pytest.raises(InputError, match=f"^rows {rows} must be at least 1$"):
            acdc.verify(trio, induction, circuit, rows=rows)


@pytest.mark.parametrize("level", ["nodes", "coordinates"])
def test_circuits_of_components_are_sampled_too(trio, induction, level, monkeypatch):
    options = {"method": "eap", "level": level, "limit": 24, "threshold": 0.02}
    circuit = acdc.discover(trio, induction, **options).circuit
    parts = len(circuit.parts)
    whole = acdc.verify(trio, induction, circuit)
    assert len(whole.removals) == parts > STRONGEST
    monkeypatch.setattr(budget, "STANDARD_FLOPS", plan_of(trio, induction, circuit, Extent.standard).flops / 20)
    monkeypatch.setattr(budget, "SEARCH_PASSES", 0)
    few = acdc.verify(trio, induction, circuit)
    assert STRONGEST <= few.sample.measured < parts and few.sample.rows == FEWEST_ROWS


def test_wilsons_interval_is_that_of_the_literature():
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29."""
    published = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
    for hits, trials, low, high in published:
        found = wilson(hits, trials)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_a_circuit_that_nobody_verified():
    report = unverified("kl", "zero", 3, 100)
    assert report.covers(Scope(Extent.none)) and not report.covers(Scope(Extent.quick))
    assert report.faithfulness is None and "acdc verify" in report.reason
