"""What a plan says of choosing and of verification bounds what they then compute."""

import pytest

import acdc
from acdc.behaviour.behaviour import Behaviour
from acdc.options import Extent
from acdc.planning.follow_up import choosing_runs, verification_flops
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.verification import budget
from acdc.verification.budget import Costs
from acdc.verification.verify import plan_of, verify_in_stages

DISCOVERY = 24


@pytest.fixture(scope="module")
def circuits(trio, induction):
    """Of one edge, of some and of nearly all."""
    return [
        acdc.discover(trio, induction, method="eap", limit=DISCOVERY, edges=edges).circuit for edges in (3, 60, 470)
    ]


def planned(model, task, circuit, extent: Extent, rows: int | None) -> float:
    unseen = [row for row in task.rows if row.id in set(circuit.task.verification)]
    costs, parts = Costs.of(model, circuit.graph, unseen), circuit.graph.n_edges
    return verification_flops(costs, parts, DISCOVERY, len(unseen), extent, rows)


@pytest.mark.parametrize("share", [1.0, 0.05, 0.002])
@pytest.mark.parametrize("rows", [None, 20])
def test_no_circuit_takes_more(trio, induction, circuits, share, rows, monkeypatch):
    """Whatever fits the budget; of the largest circuit the bound is not far away."""
    monkeypatch.setattr(budget, "STANDARD_FLOPS", share * budget.STANDARD_FLOPS)
    monkeypatch.setattr("acdc.planning.follow_up.STANDARD_FLOPS", budget.STANDARD_FLOPS)
    for extent in (Extent.quick, Extent.standard):
        most = planned(trio, induction, circuits[0], extent, rows)
        found = [plan_of(trio, induction, circuit, extent, rows).flops for circuit in circuits]
        assert max(found) <= most < 6 * max(found)
    assert planned(trio, induction, circuits[0], Extent.none, rows) == 0


@pytest.mark.thorough
def test_a_full_verification_takes_no_more(trio, induction, circuits):
    """Counted as it is made: products of components, those of the sums over senders left out."""
    before = trio.components.work.snapshot()
    list(verify_in_stages(trio, induction, circuits[1], extent=Extent.full, most_rows=12))
    done = (trio.components.work - before).flops
    assert 0 < done < planned(trio, induction, circuits[1], Extent.full, 12) < 30 * done


def test_runs_to_choose_a_circuit(trio, induction, monkeypatch):
    """Whatever size is found in the end."""
    settings = DiscoverySettings(method=METHODS["eap"], limit=DISCOVERY)
    most, asked = choosing_runs(settings, 479), []
    real = Behaviour.measure

    def measure(behaviour, removed, *them, **more):
        asked.append(len(removed))
        return real(behaviour, removed, *them, **more)

    monkeypatch.setattr(Behaviour, "measure", measure)
    for faithfulness in (0.02, 0.5, 0.9, 0.999):
        asked.clear()
        acdc.discover(trio, induction, method="eap", limit=DISCOVERY, faithfulness=faithfulness)
        assert 1 < sum(asked) <= most
    assert choosing_runs(DiscoverySettings(method=METHODS["eap"], edges=9), 479) == 0
    assert choosing_runs(DiscoverySettings(method=METHODS["acdc"]), 479) == 0
