"""Rows with several answers: each counts as it would in a row of its own, and a row is the mean of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_force import BruteForce, float64_throughout, names_of
from conftest import thorough_but
from families import HUGGING_FACE, boot, prepare
from noise import apart, several

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.variants import Variants, measure_variants
from acdc.graph.masks import PositionalMask
from acdc.model.replay import ReplayComponents
from acdc.options import Level
from acdc.progress import silent
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.positional_increments import PositionalIncrements
from acdc.search.acdc.pruning import Pruning
from acdc.search.acdc.receiver_steps import positional_steps, receiver_steps
from acdc.search.acdc.tester import PositionalRuns, WholeRuns
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS, Metric
from acdc.task.rows import Answers, Row, Task
from acdc.task.spans import Spans

SHAPES = {"lengths": (6, 7, 5), "counts": (3, 2)}


def bound(model, task, metric="kl", ablation="resample", **options):
    metric = metric if isinstance(metric, Metric) else METRICS[metric]
    return Behaviour(model, task, range(len(task.rows)), metric, ablation, **options)


def over_rows(task: Task, values: np.ndarray) -> np.ndarray:
    """Values [..., answers] of a task whose answers are apart: means over those of each row, [..., rows]."""
    ends = np.cumsum([len(row.answers) for row in task.rows])[:-1]
    return np.stack([part.mean(-1) for part in np.split(values, ends, axis=-1)], axis=-1)


def random_subgraphs(behaviour: Behaviour, count=6) -> np.ndarray:
    return np.random.default_rng(0).random((count, behaviour.graph.n_edges)) < 0.4


FITTING = [metric for metric in METRICS.values() if metric.fits(2)]


@pytest.mark.parametrize("ablation", ["resample", "zero"])
@pytest.mark.parametrize("family", thorough_but(["gpt2", "gemma2"], [*HUGGING_FACE, "native-bidirectional"]))
def test_a_row_is_the_mean_of_its_answers(family, ablation):
    seed = 2 if family == "gpt-neox-sequential" else 1  # with which every metric tells subgraphs apart
    task, model = several(16, **SHAPES), boot(family, 2, seed=seed)
    whole, single = (bound(model, one, ablation=ablation) for one in (task, apart(task)))
    removed = random_subgraphs(whole)
    for graph_like in (removed, ~removed):
        found, expected = whole.measure(graph_like, FITTING), single.measure(graph_like, FITTING)
        assert np.abs(found - over_rows(task, expected)).max() < 1e-10
    assert np.abs(whole.plain(FITTING) - over_rows(task, single.plain(FITTING))).max() < 1e-12
    assert whole.empty() == pytest.approx(over_rows(task, single.empty()), abs=1e-10)
    assert np.ptp(found, axis=(1, 2)).min() > 1e-3, "every metric tells subgraphs apart"


@pytest.mark.parametrize("ablation", ["mean", "mean-positional"])
def test_means_are_over_prompts_not_answers(ablation):
    """Where all rows have as many answers, the prompts of both tasks have the same means."""
    task, model = several(4), boot("gpt2", 2, seed=1)
    whole, single = (bound(model, one, ablation=ablation) for one in (task, apart(task)))
    removed = random_subgraphs(whole)
    expected = over_rows(task, single.measure(removed)[0])
    assert np.abs(whole.measure(removed)[0] - expected).max() < 1e-10


@pytest.mark.thorough
def test_optimal_constants_take_all_answers():
    whole = bound(boot("gpt2", 1, seed=1), several(3), ablation="optimal")
    found = whole.measure(random_subgraphs(whole))
    assert found.shape == (1, 6, 3) and np.isfinite(found).all() and np.ptp(found) > 0


def test_metrics_of_users_see_rows_of_one_answer():
    def margin(logits, batch):
        assert len(logits) == len(batch.rows) and not any(row.later for row in batch.rows)
        return torch.stack([one[row.correct[0]] - one.amax() for one, row in zip(logits, batch.rows, strict=True)])

    task, model = several(4, **SHAPES), boot("llama", 2, seed=1)
    own = Metric("margin", margin, larger_is_better=True)
    whole, single = (bound(model, one, own) for one in (task, apart(task)))
    assert whole.full() == pytest.approx(over_rows(task, single.full()), abs=1e-12)


def test_batches_hold_rows_of_as_many_answers_and_can_be_halved():
    behaviour = bound(boot("gpt2", 1, seed=1), several(9, **SHAPES))
    assert len(behaviour.batches) > 1
    for batch in behaviour.batches:
        assert {len(row.answers) for row in batch.rows} == {batch.answers.each}
        if len(batch.index) > 1:
            for half in batch.halves():
                assert half.positions.shape == (len(half.index), batch.answers.each)
                assert torch.equal(half.clean.logits, half.answers.full_logits)
                assert [row.id for row in half.answers.rows[:: half.answers.each]] == [row.id for row in half.rows]


# with spans, prompts of unequal length; the positions of the corrupted prompt are written down by hand
UNEQUAL = (
    Row("longer", (1, 2, 3, 4, 5, 6), (1, 7, 8, 9), (3,), (4,), 0, None,
        Spans.of({"a": (1, 4), "end": (5, 6)}), Spans.of({"a": (1, 2), "end": (3, 4)}),
        (Answers(3, (5,), (9,)), Answers(5, (6,), (7, 8)))),
    Row("shorter", (1, 2, 3, 4), (1, 7, 8, 9, 5, 6), (5,), (6,), 1, None,
        Spans.of({"a": (1, 2), "end": (3, 4)}), Spans.of({"a": (1, 4), "end": (5, 6)}),
        (Answers(2, (1,), (2,)), Answers(3, (3,), (4,)))),
)  # fmt: skip
STANDS_FOR = ([[0], [1], [1], [1], [2], [3]], [[0], [3], [4], [5]])
CORRUPTED_POSITIONS = ((0, 1, 3), (3, 4, 5))


def difference(logits: torch.Tensor, answers: Answers) -> float:
    return float(logits[list(answers.correct)].mean() - logits[list(answers.incorrect)].mean())


@torch.no_grad()
@pytest.mark.parametrize("family", thorough_but(["gpt2"], ["gpt2", "qwen3", "llama", "gemma2"]))
def test_every_edge_equals_brute_force(family):
    """Raw hooks on the plain model, prompts of unequal length."""
    model, plain = boot(family, 2, 0), prepare(HUGGING_FACE[family](), seed=0)
    oracle = BruteForce(plain, names_of(family), model.anatomy.n_heads, model.anatomy.d_head)
    with float64_throughout(plain):
        behaviour = bound(model, Task("unequal", UNEQUAL, "logit_diff"), "logit_diff")
        found = behaviour.measure(np.eye(behaviour.graph.n_edges, dtype=bool))[0]
        corrupted = behaviour.plain([behaviour.metric], corrupted=True)[0]
        for place, row in enumerate(UNEQUAL):
            clean, other = (torch.tensor([ids]) for ids in (row.clean, row.corrupted))
            (ours, residuals), (theirs, _) = (oracle.contributions(ids) for ids in (clean, other))
            at_answers = zip(CORRUPTED_POSITIONS[place], row.answers, strict=True)
            expected = np.mean([difference(oracle.logits(other)[0, at], one) for at, one in at_answers])
            assert abs(expected - corrupted[place]) < 1e-10
            for index, edge in enumerate(behaviour.graph.edges):
                moved = torch.stack([theirs[edge.writer.id][0, there].mean(0) for there in STANDS_FOR[place]])[None]
                logits = oracle.patched(clean, edge.reader.id, moved - ours[edge.writer.id], residuals)[0]
                expected = np.mean([difference(logits[one.position], one) for one in row.answers])
                assert abs(expected - found[index, place]) < 1e-10, (row.id, edge.id)


def test_by_the_models_own_modules():
    model, task = boot("llama", 1, 0), several(3, **SHAPES)
    replayed = replace(model, components=ReplayComponents(model.bridge, model.anatomy))
    with float64_throughout(model.bridge.original_model):
        behaviours = [bound(one, task, "logit_diff") for one in (model, replayed)]
        removed = random_subgraphs(behaviours[0])
        found = [behaviour.measure(removed) for behaviour in behaviours]
    assert np.allclose(*found, atol=1e-9)


# searches

LINEAR = ("exact", "eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted", "relp", "atp-star", "peap")


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize("level", [Level.edges, Level.positions])
def test_scores_are_means_over_answers(method, level):
    """Where all rows have as many answers, every answer counts the same."""
    if level not in METHODS[method].levels:
        pytest.skip(f"{method} has no scores of {level}")
    task, model = several(3, lengths=(5,)), boot("gpt2", 1, seed=1)
    together, alone = (bound(model, one, "logit_diff") for one in (task, apart(task)))
    options = METHODS[method].options.of({}, level=level)
    found, expected = (METHODS[method].run(one, options, silent).values for one in (together, alone))
    size = np.abs(expected).max()
    assert size > 0 and np.abs(found - places_of(alone, together, level, expected)).max() < 1e-10 * size


def places_of(alone, together, level, values):
    """Scores by the names of edges, in the order of another behaviour's: both tasks have the same ones."""
    if level is Level.edges:
        return values
    by_name = dict(zip(alone.units(level).names(), values, strict=True))
    return np.array([by_name[name] for name in together.units(level).names()])


def naive_and_fast(behaviour, positional):
    if positional:
        steps, graph = positional_steps(behaviour.units(Level.positions).positional), behaviour.units(Level.positions)
        return steps, graph.count, PositionalRuns(behaviour), PositionalIncrements(behaviour)
    return (
        receiver_steps(behaviour.graph, "descending"),
        behaviour.graph.n_edges,
        WholeRuns(behaviour),
        Increments(behaviour),
    )


def same_decisions(behaviour, threshold, positional=False) -> float:
    steps, count, *testers = naive_and_fast(behaviour, positional)
    steps, results = list(steps), []
    for tester in testers:
        pruning = Pruning(behaviour, tester, [threshold], steps, np.ones(count, dtype=bool))
        pruning.finish(lambda *done: None)
        results.append(pruning.results()[threshold])
    slow, fast = results
    assert [(t.candidate, t.kept) for t in fast.tests] == [(t.candidate, t.kept) for t in slow.tests]
    for mine, theirs in zip(fast.tests, slow.tests, strict=True):
        assert mine.after == pytest.approx(theirs.after, abs=1e-9 * max(1.0, abs(theirs.after)))
    return float(fast.kept.mean())


@pytest.mark.parametrize(
    ("family", "metric"),
    thorough_but(
        [("gpt2", "logit_diff"), ("native-bidirectional", "kl")],
        [(family, metric) for family in (*HUGGING_FACE, "native-bidirectional") for metric in ("kl", "logit_diff")],
    ),
)
def test_fast_acdc_decides_as_naive_acdc(family, metric):
    behaviour = bound(boot(family, 2, seed=1), several(4, **SHAPES), metric)
    assert 0 < same_decisions(behaviour, 0.01) < 1


def test_fast_acdc_decides_as_naive_acdc_with_direct_edges():
    behaviour = bound(boot("gpt2", 1, seed=1), several(4, **SHAPES), "kl", direct_edges=True, split_embeddings=True)
    assert 0 < same_decisions(behaviour, 0.01) < 1


@pytest.mark.parametrize("family", thorough_but(["gpt2"], ["gpt2", "qwen3", "llama"]))
def test_fast_acdc_decides_as_naive_acdc_over_positions(family):
    behaviour = bound(boot(family, 1, seed=1), several(2, lengths=(4,), counts=(2, 3)), "kl")
    assert 0 < same_decisions(behaviour, 0.01, positional=True) < 1


@pytest.mark.parametrize("family", thorough_but(["gpt2"], ["gpt2", "gemma2"]))
def test_variants_equal_whole_runs(family):
    behaviour = bound(boot(family, 2, seed=1), several(4, **SHAPES), "kl")
    kept = np.random.default_rng(1).random(behaviour.graph.n_edges) < 0.7
    variants = Variants(kept, [np.array([edge]) for edge in range(0, len(kept), 11)])
    found = np.concatenate(list(measure_variants(behaviour, variants)), axis=1)
    expected = behaviour.measure(~variants.masks(range(len(variants.changed))))
    assert np.abs(found - expected).max() < 1e-10


def test_edges_at_positions_are_those_of_single_answers():
    task, model = several(3, lengths=(5,), counts=(2,)), boot("gpt2", 1, seed=1)
    whole = bound(model, task, "logit_diff")
    graph = whole.units(Level.positions).positional
    removed = np.random.default_rng(0).random((4, graph.n_edges)) < 0.3
    found = whole.measure(PositionalMask(removed, graph))[0]
    single = bound(model, apart(task), "logit_diff")
    assert single.units(Level.positions).positional.spans == graph.spans
    expected = single.measure(PositionalMask(removed, single.units(Level.positions).positional))[0]
    assert np.abs(found - over_rows(task, expected)).max() < 1e-10
