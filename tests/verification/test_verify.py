"""Verification against direct loops over single runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import acdc
from acdc.errors import InputError
from acdc.execution.ablated import Ablated
from acdc.execution.executor import RemovedEdges
from acdc.progress import silent
from acdc.runs.minimise import minimal_circuit
from acdc.task.metrics import METRICS
from acdc.task.rows import Task


@pytest.fixture(scope="module")
def induction(induction):
    """Fewer rows than the task has, as each is run by itself here."""
    return replace(induction, rows=induction.rows[:56])


@pytest.fixture(scope="module")
def found(trio, induction):
    return acdc.discover(trio, induction, method="acdc", limit=24, threshold=1.0)


@pytest.fixture(scope="module")
def report(trio, induction, found):
    return acdc.verify(trio, induction, found.circuit)


@torch.no_grad()
def logit_diff(model, rows, removed: np.ndarray) -> float:
    """One row at a time, from the first layer."""
    executor, values = model.executor(), []
    for row in rows:
        last = torch.tensor([row.answer_position])
        ablated = Ablated(executor.run(torch.tensor([row.corrupted]), last).values)
        slots = RemovedEdges(executor.graph, removed[None], ablated, 1)
        logits = executor.run(torch.tensor([row.clean]), last, slots).logits[0]
        values.append((logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean()).item())
    return float(np.mean(values))


def test_measures_are_those_of_single_runs(trio, induction, found, report):
    unseen = induction.rows[24:]
    kept = found.circuit.mask
    measure = report.measures["logit_diff"]
    assert report.rows == len(unseen) == 32
    for value, removed in (
        (measure.full, np.zeros_like(kept)),
        (measure.circuit, ~kept),
        (measure.complement, kept),
        (measure.empty, np.ones_like(kept)),
    ):
        assert value == pytest.approx(logit_diff(trio, unseen, removed), abs=1e-9)
    assert measure.corrupted == pytest.approx(measure.empty), "under resample ablation they are the same run"
    span = measure.full - measure.empty
    assert report.faithfulness == pytest.approx((measure.circuit - measure.empty) / span)
    assert 0.5 < report.faithfulness <= 1.1


def test_every_edge_is_removed_in_turn(trio, induction, found, report):
    unseen, kept = induction.rows[24:], found.circuit.mask
    base, own = logit_diff(trio, unseen, ~kept), report.measures["logit_diff"]
    assert [removal.id for removal in report.removals] == [edge.id for edge in found.circuit.edges]
    for removal in report.removals[::7]:
        without = kept.copy()
        without[found.circuit.graph.index[removal.id]] = False
        assert removal.change == pytest.approx(logit_diff(trio, unseen, ~without) - base, abs=1e-9)
        assert removal.hurts == (removal.change < -1e-3 * (own.full - own.empty))


def test_dropped_edges_are_neither_verified_nor_counted(trio, induction):
    """Under zero ablation an edge whose sender reads nothing carries a constant, which could matter."""
    circuit = acdc.discover(trio, induction, ablation="zero", limit=16).circuit
    assert circuit.edges_effective < len(circuit.edges), "else there is nothing to see here"
    report = acdc.verify(trio, induction, circuit, rows=8)
    alone = acdc.verify(trio, induction, circuit.part(circuit.kept, {}), rows=8)
    assert report.measures == alone.measures and report.removals == alone.removals
    assert report.edges == report.sample.parts == len(report.removals) == circuit.edges_effective
    smaller = minimal_circuit(trio, induction, circuit, silent)
    assert smaller.edges_effective == len(smaller.edges) <= circuit.edges_effective


def test_worse_rows_are_counted_in_the_metrics_own_direction(trio, induction):
    """KL is better when smaller: an edge hurts where KL rises without it."""
    circuit = acdc.discover(trio, induction, metric="kl", threshold=2.0, limit=8).circuit
    report = acdc.verify(trio, induction, circuit)
    values = acdc_behaviour(trio, induction, circuit)
    base = values(circuit.mask)
    for removal in report.removals[::5]:
        without = circuit.mask.copy()
        without[circuit.graph.index[removal.id]] = False
        change = values(without) - base
        assert removal.change == pytest.approx(change.mean(), abs=1e-9)
        assert removal.hurts == (change.mean() > 1e-3 * report.measures["kl"].empty)
        assert removal.rows_worse == pytest.approx((change > 1e-4).mean(), abs=0.02)


def acdc_behaviour(model, task, circuit):
    """Per-row KL of a boolean vector of kept edges, on the circuit's verification rows."""
    from acdc.behaviour.behaviour import Behaviour

    rows = [i for i, row in enumerate(task.rows) if row.id in circuit.task.verification]
    behaviour = Behaviour(model, task, rows, METRICS["kl"], batch_size=7)
    return lambda kept: behaviour.measure(~kept[None])[0, 0]


def test_a_metric_of_the_users_is_asked_for(trio, induction):
    def margin(logits, batch):
        return logits.max(-1).values - logits.mean(-1)

    circuit = acdc.discover(trio, induction, method="eap", metric=margin, edges=20, limit=8).circuit
    assert acdc.verify(trio, induction, circuit, metric=margin).measures["margin"].full > 0
    with pytest.raises(InputError, match="give it as metric="):
        acdc.verify(trio, induction, circuit)
    margin.__name__ = "kl"
    with pytest.raises(InputError, match="cannot be called 'kl'"):
        acdc.discover(trio, induction, method="eap", metric=margin, edges=20, limit=8)


def test_random_circuits_are_no_larger(report, found):
    assert len(report.random.faithfulness) == 20
    assert max(report.random.edges) <= found.circuit.edges_effective
    assert np.median(report.random.edges) > 0.7 * found.circuit.edges_effective, "tiny circuits would be no baseline"
    assert max(report.random.faithfulness) < report.faithfulness


def test_pruning_leaves_the_metric_alone_under_resample(trio, induction, found):
    """ACDC's raw decisions and what is left of them after pruning are the same subgraph in effect."""
    circuit = found.circuit
    pruned = circuit.graph.prune(circuit.mask)
    loose = circuit.mask | circuit.graph.mask(["a0.h2->a3.h1<q>", "input->a2.h3<v>"])
    assert circuit.graph.prune(loose).sum() == pruned.sum()
    rows = induction.rows[24:40]
    values = [logit_diff(trio, rows, ~mask) for mask in (circuit.mask, pruned, loose)]
    assert values == pytest.approx([values[0]] * 3, abs=1e-9)


def test_all_metrics_that_the_rows_allow(trio, report):
    assert set(report.measures) == {
        name for name, metric in METRICS.built_in.items() if metric.fits(trio.anatomy.d_vocab_out)
    }
    assert report.measures["kl"].full == 0
    assert report.measures["accuracy"].full == 1


def test_no_rows_left(trio, induction, found):
    everything = acdc.discover(trio, induction, method="random", edges=10, limit=56).circuit
    report = acdc.verify(trio, induction, everything)
    assert (report.rows, report.measures) == (0, {})
    assert "all 56 rows" in report.reason


def test_another_model_or_task_is_refused(trio, induction, found):
    from acdc.model.load import load_model

    other = Task("induction", induction.rows[:-1], "logit_diff")
    with pytest.raises(InputError, match="other rows"):
        acdc.verify(trio, other, found.circuit)
    with pytest.raises(InputError, match="found in float64"):
        acdc.verify(load_model("trio"), induction, found.circuit)
