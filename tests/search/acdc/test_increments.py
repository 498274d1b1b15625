"""ACDC at the cost of the circuit against ACDC by whole runs, edge for edge, and against the original code's record."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import thorough_but
from families import boot, thorough_if_alike
from noise import noise

from acdc.behaviour.behaviour import Behaviour
from acdc.graph import is_within_head
from acdc.model.load import load_model
from acdc.options import SenderOrder
from acdc.progress import nobody, silent
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.pruning import Pruning
from acdc.search.acdc.receiver_steps import receiver_steps
from acdc.search.acdc.search import acdc
from acdc.search.acdc.tester import WholeRuns
from acdc.search.options import OrderOptions
from acdc.task.metrics import METRICS


@pytest.fixture(autouse=True)
def check_often(monkeypatch):
    """Small models make too few tests for the present circuit to be measured from scratch; here every layer does it."""
    monkeypatch.setattr("acdc.search.acdc.pruning.CHECK_TESTS", 1)


def decide(behaviour: Behaviour, tester, threshold: float, order=SenderOrder.descending):
    everything = np.ones(behaviour.graph.n_edges, dtype=bool)
    pruning = Pruning(behaviour, tester, [threshold], list(receiver_steps(behaviour.graph, order)), everything)
    assert pruning.finish(nobody) == []
    return pruning.results()[threshold]


def compare(behaviour: Behaviour, threshold: float, order=SenderOrder.descending) -> float:
    """Same tests, same order, same outcomes; the share of edges that is kept."""
    fast = decide(behaviour, Increments(behaviour), threshold, order)
    slow = decide(behaviour, WholeRuns(behaviour), threshold, order)
    assert [(t.candidate, t.kept) for t in fast.tests] == [(t.candidate, t.kept) for t in slow.tests]
    scale = max(1.0, *(abs(t.after) for t in slow.tests))
    for mine, theirs in zip(fast.tests, slow.tests, strict=True):
        assert mine.before == pytest.approx(theirs.before, abs=1e-9 * scale)
        assert mine.after == pytest.approx(theirs.after, abs=1e-9 * scale)
    assert (fast.kept == slow.kept).all()
    assert fast.objective == pytest.approx(slow.objective, abs=1e-9 * scale)
    assert fast.drift < 1e-9 * scale
    return float(fast.kept.mean())


SETTINGS = [("kl", "resample", 0.02), ("nll", "mean-positional", 0.05)]


@pytest.mark.parametrize("family", thorough_if_alike())
def test_fast_equals_naive(family):
    model = boot(family, layers=2, seed=0)
    shares = [
        compare(Behaviour(model, noise(), range(4), METRICS[metric], ablation), threshold)
        for metric, ablation, threshold in SETTINGS
    ]
    assert 0 < max(shares) < 1


ALL = [(layers, seed) for layers in (2, 3, 4) for seed in (1, 2, 3)]


@pytest.mark.parametrize(("layers", "seed"), thorough_but((), ALL))
@pytest.mark.parametrize(
    "family", thorough_if_alike(without=["bloom"])
)  # with some seeds nothing matters to a bloom as small as that
def test_fast_equals_naive_everywhere(family, layers, seed):
    ablation = ("resample", "zero", "mean")[seed - 1]
    model = boot(family, layers, seed)
    behaviour = Behaviour(model, noise(seed=seed), range(4), METRICS["kl"], ablation)
    shares = [compare(behaviour, threshold) for threshold in (0.005, 0.1)]
    assert shares[0] > 0  # a larger threshold need not keep fewer: greedy pruning is not monotone


IN_ORDER = [
    (family, order)
    for family in ("gpt2", "llama", "gemma2", "gpt-neox-parallel", "native-attention-only")
    for order in SenderOrder
]


@pytest.mark.parametrize(
    ("family", "order"),
    thorough_but([("gpt2", SenderOrder.descending), ("gemma2", SenderOrder.ascending)], IN_ORDER),
)
def test_fast_equals_naive_with_direct_edges(family, order):
    model = boot(family, layers=2, seed=4)
    cut = []
    for ablation, threshold in (("resample", 0.02), ("mean", 0.1), ("zero", 0.05)):
        behaviour = Behaviour(model, noise(), range(4), METRICS["kl"], ablation, direct_edges=True)
        assert compare(behaviour, threshold, order) > 0
        found = acdc(behaviour, OrderOptions(threshold=threshold, sender_order=order), silent)
        tested = {test.candidate for test in found.tests}
        cut += [name for name in behaviour.graph.ids(~found.kept) if is_within_head(name) and name in tested]
    assert cut


@pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.fits(250)])
def test_fast_equals_naive_for_every_metric(trio, induction, metric):
    threshold = {"kl": 0.5, "logit_diff": 0.5, "nll": 0.3, "prob_diff": 0.05, "accuracy": 0.1}[metric]
    behaviour = Behaviour(trio, induction, range(6), METRICS[metric], split_embeddings=metric == "kl")
    assert 0 < compare(behaviour, threshold) < 1


PADDED = ["gpt2", "llama-longrope", "gemma2", "gemma3-bidirectional", "mistral", "gpt-neox-parallel", "mixtral"]


@torch.no_grad()
@pytest.mark.parametrize("family", PADDED)
def test_padding_changes_no_row(family):
    """Every row's logits are those of the plain model on that row alone."""
    model = boot(family, layers=2, seed=6)
    behaviour = Behaviour(model, noise(rows=6, lengths=(4, 9, 6, 5)), range(6), METRICS["kl"])
    for batch in behaviour.batches:
        for row, logits in zip(batch.answers.rows, batch.answers.full_logits, strict=True):
            expected = model.bridge(torch.tensor([row.clean]))[0, row.answer_position]
            assert (expected - logits).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("family", thorough_but(["llama-longrope", "gemma2"], PADDED))
def test_fast_equals_naive_over_several_batches(family):
    """Rows of unlike length in padded batches, answers inside the prompt, within-head edges and both embeddings at
    once."""
    model = boot(family, layers=2, seed=6)
    options = {"direct_edges": True, "split_embeddings": model.anatomy.learned_positions, "batch_size": 2}
    for ablation, threshold in (("resample", 0.005), ("mean-positional", 0.005)):
        rows = noise(rows=5, lengths=(4, 9, 6, 5))
        behaviour = Behaviour(model, rows, range(5), METRICS["kl"], ablation, **options)
        assert len(behaviour.batches) > 2
        assert 0 < compare(behaviour, threshold) < 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_lower_precision_stays_near(trio, induction, dtype):
    """The same objective for the same circuit, up to the rounding of that precision."""
    model = load_model("trio", dtype=dtype)
    behaviour = Behaviour(model, induction, range(8), METRICS["logit_diff"])
    found = acdc(behaviour, OrderOptions(threshold=0.5), silent)
    exact = Behaviour(trio, induction, range(8), METRICS["logit_diff"])
    measured = -exact.measure(~found.kept[None])[0, 0].mean()
    assert found.objective == pytest.approx(measured, abs={"bfloat16": 0.5, "float32": 1e-4}[dtype])
    assert found.drift < {"bfloat16": 0.2, "float32": 1e-4}[dtype]


def test_a_metric_of_the_users_sees_the_whole_vocabulary(trio, induction):
    def first(logits, rows):
        return logits[:, 0] - logits.mean(-1)

    metric = replace(METRICS["logit_diff"], name="first", function=first, answers_alone=False)
    assert 0 < compare(Behaviour(trio, induction, range(4), metric), 0.02) < 1


def test_work_follows_the_circuit(trio, induction, monkeypatch):
    """With few edges kept, far fewer components are computed than by whole runs."""
    monkeypatch.setattr("acdc.search.acdc.pruning.CHECK_TESTS", 1000)
    # Else more candidates are tried at once than will count, as starting an operation takes longer here than its work.
    monkeypatch.setattr("acdc.search.acdc.slot_cost.CALL_FLOPS", {"cpu": 0.0})
    work = {}
    for tester in (Increments, WholeRuns):
        behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
        found = decide(behaviour, tester(behaviour), 2.0)
        work[tester] = behaviour.work
    assert 0 < found.kept.sum() < 40
    assert 5 * work[Increments].evaluations < work[WholeRuns].evaluations
    assert 5 * work[Increments].flops < work[WholeRuns].flops


ORIGINAL_RUNS = [("normal_threshold_0.008", SenderOrder.descending), ("reverse_threshold_0.05", SenderOrder.ascending)]


@pytest.mark.parametrize(("case", "order"), ORIGINAL_RUNS)
def test_decisions_of_the_original_implementation(shared, original, case, order):
    expected = json.loads((shared / f"cases/original/acdc_{case}.json").read_text())
    model, task = original
    behaviour = Behaviour(model, task, range(16), METRICS["kl"], direct_edges=True)
    assert behaviour.graph.n_edges == expected["n_edges_counted"] == 105
    found = acdc(behaviour, OrderOptions(threshold=expected["threshold"], sender_order=order), silent)
    for test, step in zip(found.tests, expected["steps"], strict=True):
        assert test.candidate == f"{ours(step['sender'])}->{ours(step['receiver'])}"
        assert test.kept == step["kept"]
        assert test.before == pytest.approx(step["metric_before"], abs=1e-5)
        assert test.after == pytest.approx(step["metric_after"], abs=1e-5)
    assert found.kept.sum() == expected["n_kept_counted"]
    assert found.objective == pytest.approx(expected["final_metric_f64"], abs=1e-6)


@pytest.mark.parametrize(("case", "order"), ORIGINAL_RUNS)
def test_a_screened_search_keeps_what_the_original_implementation_keeps(shared, original, monkeypatch, case, order):
    monkeypatch.setattr("acdc.search.acdc.screening.SAMPLE", 0)  # else it would be all of so few edges
    expected = json.loads((shared / f"cases/original/acdc_{case}.json").read_text())
    behaviour = Behaviour(*original, range(16), METRICS["kl"], direct_edges=True)
    found = acdc(behaviour, OrderOptions(threshold=expected["threshold"], sender_order=order, screen=0.5), silent)
    assert len(found.tests) < len(expected["steps"])
    kept = {f"{ours(step['sender'])}->{ours(step['receiver'])}" for step in expected["steps"] if step["kept"]}
    assert {test.candidate for test in found.tests if test.kept} == kept


def ours(hook: str) -> str:
    """The id of what a hook of the original stands for."""
    layer, head = (re.search(pattern, hook) for pattern in (r"blocks\.(\d+)", r", (\d+)\]"))
    if "resid" in hook:
        return "logits" if "post" in hook else "input"
    slot = re.search(r"hook_([qkv])_input", hook)
    return f"a{layer[1]}.h{head[1]}" + (f"<{slot[1]}>" if slot else "")


def test_original_decisions_through_the_command_line(acdc, shared, tmp_path):
    folder = shared / "cases/original"
    options = ("--direct-edges", "--metric", "kl", "--limit", "16", "--dtype", "float64", "--threshold", "0.008")
    done = acdc(
        "discover", "--model", folder / "model", "--task", folder / "task.jsonl", *options, "--out", "r", "--json"
    )
    assert done.code == 0 and done.json["edges_total"] == 105 and done.json["edges"] == 52
    expected = json.loads((folder / "acdc_normal_threshold_0.008.json").read_text())["steps"]
    assert len(json.loads((tmp_path / "r/circuit.json").read_text())["edges"]) == 55, "three are on no path"
    tests = [json.loads(line) for line in (tmp_path / "r/decisions.jsonl").read_text().splitlines()]
    for test, step in zip(tests, expected, strict=True):
        assert test["edge"] == f"{ours(step['sender'])}->{ours(step['receiver'])}"
        assert (test["kept"], test["after"]) == (step["kept"], pytest.approx(step["metric_after"], abs=1e-5))
