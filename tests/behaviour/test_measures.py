"""Metrics and ablations against loops written out one row and one component at a time."""

import math

import numpy as np
import pytest
import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import AcdcWarning, InputError
from acdc.task.load import load_task
from acdc.task.metrics import METRICS, Metric, RowBatch, as_metric
from acdc.task.rows import Row, Task

ROWS = (
    Row("a", (1, 2), (3, 4), (0,), (1, 2), 1),
    Row("b", (1, 2), (3, 4), (3, 4), (0,), 1),
)


def by_hand(name: str, logits: list[float], full: list[float], row: Row) -> float:
    def probs(values):
        total = sum(map(math.exp, values))
        return [math.exp(v) / total for v in values]

    p, q = probs(logits), probs(full)
    match name:
        case "kl":
            return sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        case "logit_diff":
            right, wrong = ([logits[i] for i in ids] for ids in (row.correct, row.incorrect))
            return sum(right) / len(right) - sum(wrong) / len(wrong)
        case "nll":
            return -math.log(sum(p[i] for i in row.correct))
        case "prob_diff":
            return sum(p[i] for i in row.correct) - sum(p[i] for i in row.incorrect)
        case "accuracy":
            return float(logits.index(max(logits)) in row.correct)
        case "squared_error":
            return (logits[0] - full[0]) ** 2
        case "value":
            return logits[0]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("seed", range(5))
def test_metrics_by_hand(name, seed):
    generator = torch.Generator().manual_seed(seed)
    outputs = 1 if METRICS[name].of_numbers else 6
    logits, full = (torch.randn(2, outputs, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    got = METRICS[name].function(logits, RowBatch(ROWS, full))
    expected = [by_hand(name, *pair, row) for *pair, row in zip(logits.tolist(), full.tolist(), ROWS, strict=True)]
    assert got.tolist() == pytest.approx(expected, abs=1e-12)


def test_callables_are_metrics(trio, induction):
    def margin(logits, batch):
        return logits.max(-1).values - logits.mean(-1)

    behaviour = Behaviour(trio, induction, range(8), as_metric(margin))
    assert behaviour.metric.name == "margin" and behaviour.metric.larger_is_better
    assert (behaviour.full() > 0).all()


def test_a_metric_that_is_not_finite_is_refused(trio, induction):
    broken = Metric("broken", lambda logits, batch: logits[:, 0] * torch.nan, larger_is_better=True)
    with pytest.raises(InputError, match="not finite on row"):
        Behaviour(trio, induction, range(8), broken).full()


def test_a_metric_without_its_answers_is_refused(trio, induction):
    from dataclasses import replace

    rows = (replace(induction.rows[0], incorrect=()),)
    with pytest.raises(InputError, match="needs incorrect answers"):
        Behaviour(trio, Task("t", rows, "kl"), [0], METRICS["logit_diff"])


@pytest.fixture(scope="module")
def mixed(trio):
    """Rows of two lengths."""
    return load_task("induction", trio)


@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-positional"])
def test_ablated_values_against_a_loop(trio, mixed, ablation):
    behaviour = Behaviour(trio, mixed, range(4), METRICS["kl"], ablation)
    executor = trio.executor()
    values = [
        executor.run(torch.tensor([row.clean]), torch.tensor([row.answer_position])).values[:, 0] for row in mixed.rows
    ]
    for batch in behaviour.batches:
        length = batch.tokens.shape[1]
        got = behaviour.ablated(batch).values.expand(-1, len(batch.index), length, -1)
        for position in range(length):
            if ablation == "zero":
                expected = torch.zeros_like(values[0][:, 0])
            elif ablation == "mean":
                expected = torch.cat(values, dim=1).mean(1)
            else:
                expected = torch.stack([v[:, position] for v in values if v.shape[1] > position]).mean(0)
            for row in range(len(batch.index)):
                assert (got[:, row, position] - expected).abs().max() < 1e-12


def test_rows_of_different_length_do_not_mix(trio, mixed):
    """A row's value is the same whether it is measured alone or among rows of other lengths."""
    removed = np.random.default_rng(0).random((3, trio.graph.n_edges)) < 0.3
    together = Behaviour(trio, mixed, range(6), METRICS["logit_diff"]).measure(removed)[0]
    for row in range(6):
        alone = Behaviour(trio, mixed, [row], METRICS["logit_diff"]).measure(removed)[0]
        assert np.abs(alone[:, 0] - together[:, row]).max() < 1e-10


def test_batch_size_changes_nothing_but_rounding(trio, mixed):
    removed = np.random.default_rng(0).random((7, trio.graph.n_edges)) < 0.3
    values = [Behaviour(trio, mixed, range(12), METRICS["kl"], batch_size=b).measure(removed) for b in (1, 5, 32)]
    assert np.abs(values[0] - values[1]).max() < 1e-10
    assert np.abs(values[0] - values[2]).max() < 1e-10


def test_full_and_empty_are_the_plain_runs(trio, mixed):
    behaviour = Behaviour(trio, mixed, range(8), METRICS["logit_diff"])
    nothing = np.zeros((1, trio.graph.n_edges), dtype=bool)
    corrupted = behaviour.plain([behaviour.metric], corrupted=True)[0]
    assert np.abs(behaviour.full() - behaviour.measure(nothing)[0, 0]).max() < 1e-10
    assert np.abs(behaviour.empty() - corrupted).max() < 1e-10
    for batch in behaviour.batches:
        for row, logits in zip(batch.answers.rows, batch.answers.full_logits, strict=True):
            assert (trio.bridge(torch.tensor([row.clean]))[0, -1] - logits).abs().max() < 1e-9


def test_runs_are_kept_up_to_a_limit_and_computed_again_beyond(trio, induction, monkeypatch):
    """The same values to the last bit, whatever is kept; what is released comes again."""
    from acdc.behaviour import batches, behaviour

    def bound():
        return Behaviour(trio, induction, range(12), METRICS["logit_diff"], batch_size=3)

    removed = np.random.default_rng(0).random((5, trio.graph.n_edges)) < 0.4
    kept = bound()
    expected = kept.measure(removed)
    assert kept.batches[0].clean is kept.batches[0].clean and kept.prompts[2] is kept.prompts[2]
    before = kept.work.evaluations
    kept.measure(removed)
    once = kept.work.evaluations - before
    monkeypatch.setattr(batches, "KEPT_BYTES", 0)
    nothing = bound()
    assert len(nothing.batches) == len(nothing.prompts) == 4
    first = nothing.batches[0].clean
    assert nothing.batches[0].clean is first, "the last one stays"
    assert nothing.batches[1].clean is not first and nothing.batches[0].clean is not first
    assert (nothing.measure(removed) == expected).all()
    before = nothing.work.evaluations
    nothing.measure(removed)
    assert nothing.work.evaluations - before > once
    kept.release()
    assert (kept.measure(removed) == expected).all()

    monkeypatch.setitem(behaviour.BATCH_BYTES, "cpu", 1)
    assert [len(batch.index) for batch in bound().batches] == [1] * 12


def test_a_search_that_reads_all_runs_again_keeps_more_of_them(trio, induction, monkeypatch):
    """As many as a share of the free memory holds, which the workers of a machine divide; with less, it says so."""
    from acdc.behaviour import batches, behaviour

    monkeypatch.setattr(batches, "KEPT_BYTES", 0)
    monkeypatch.setattr(behaviour, "free_memory", lambda device: 2**40)

    def rereading():
        bound = Behaviour(trio, induction, range(12), METRICS["logit_diff"], batch_size=3)
        bound.keep_runs()
        return bound

    bound = rereading()
    first = bound.batches[0].clean
    assert bound.batches[1].clean is not first and bound.batches[0].clean is first
    assert batches.budget_on("cpu", 800, rereads=True) == 200 and batches.budget_on("cpu", 800) == 0
    monkeypatch.setattr(batches, "_workers", 4)
    assert batches.budget_on("cpu", 800, rereads=True) == 50 and batches.budget_on("cuda", 800, rereads=True) == 400
    monkeypatch.setattr(behaviour, "free_memory", lambda device: 1000)
    with pytest.warns(AcdcWarning, match=r"on 12 rows takes .* each test computes it again"):
        rereading()


def test_a_behaviour_is_gone_when_nobody_uses_it(trio, induction):
    import gc
    import weakref

    behaviour = Behaviour(trio, induction, range(4), METRICS["logit_diff"])
    behaviour.empty()
    gone = weakref.ref(behaviour)
    gc.disable()
    try:
        del behaviour
        assert gone() is None
    finally:
        gc.enable()
