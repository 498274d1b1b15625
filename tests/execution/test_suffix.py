"""Runs that compute no position before the first token that differs, against runs that compute all."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import boot, random_rows, thorough_if_alike
from pytest import approx

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.variants import Variants, measure_variants
from acdc.execution.required_positions import RequiredPositions
from acdc.execution.subgraph import SubgraphRun
from acdc.execution.watched import WatchedRun
from acdc.graph.masks import EdgeMask
from acdc.model.load import load_model
from acdc.model.replay import ReplayComponents
from acdc.progress import silent
from acdc.search.acdc.search import acdc
from acdc.search.options import OrderOptions
from acdc.task.metrics import METRICS
from acdc.task.rows import Answers, Row, Task

LENGTHS, SAME = [8, 6, 7], (3, 4, 5)  # of the prompts, and how many tokens are the same in both


def rows_alike(several: bool = False, lengths: Sequence[int] = LENGTHS, same: Sequence[int] = SAME) -> Task:
    """Rows whose prompts begin alike; `several`: with an answer further on, too."""

    def alike(row: Row, same: int) -> Row:
        assert row.corrupted is not None
        row = replace(row, corrupted=(*row.clean[:same], *row.corrupted[same:]))
        last = row.answer_position
        return replace(row, answer_position=last - 1, later=(Answers(last, (1,), (2,)),)) if several else row

    task = random_rows(list(lengths))
    return replace(task, rows=tuple(map(alike, task.rows, same)))


def bound(model, task, **options) -> Behaviour:
    return Behaviour(model, task, range(len(LENGTHS)), METRICS["logit_diff"], **options)


def whole(model, task, monkeypatch, **options) -> Behaviour:
    """The same, of which all positions are computed."""
    with monkeypatch.context() as patch:
        patch.setattr(Row, "unchanged", 0)
        behaviour = bound(model, task, **options)
        assert [prompts.unchanged for prompts in behaviour.prompts] == [0] * len(behaviour.batches)
    return behaviour


def test_how_many_positions_are_alike():
    row = Row("0", (1, 2, 3, 4), (1, 2, 9, 4), (5,), (6,), 3)
    assert row.unchanged == 2
    assert replace(row, corrupted=(9, 2, 3, 4)).unchanged == 0
    assert replace(row, corrupted=row.clean).unchanged == 3, "the answer's position is computed"
    assert replace(row, answer_position=1).unchanged == 1
    assert replace(row, answer_position=0).unchanged == 0
    assert replace(row, corrupted=None).unchanged == 0
    assert replace(row, corrupted=row.clean[:2]).unchanged == 2, "what is not there is not alike"


@torch.no_grad()
@pytest.mark.parametrize("within_heads", [False, True], ids=["edges", "edges-within-heads-too"])
@pytest.mark.parametrize("family", thorough_if_alike())
def test_subgraphs_are_those_of_whole_prompts(family, within_heads):
    model = boot(family, 3, 0)
    behaviour = bound(model, rows_alike(), direct_edges=within_heads)
    graph = behaviour.graph
    for seed, share in enumerate((0.02, 0.1, 0.5)):
        kept = np.random.default_rng(seed).random((3, graph.n_edges)) < share
        required = RequiredPositions.of(graph, kept.any(axis=0))
        for batch, prompts in zip(behaviour.batches, behaviour.prompts, strict=True):
            alike = min(SAME[row] for row in batch.index)
            assert prompts.unchanged == (0 if model.components.whole_prompts else alike)
            run = SubgraphRun(model.components, required, prompts, kept)
            assert run.suffix.length == len(batch.tokens[0]) - prompts.unchanged
            sparse = run.logits()
            dense = behaviour.executor.resume_without(
                batch.clean, EdgeMask(~kept), prompts.ablated, batch.positions, prompts.stream, None, None
            ).logits
            assert (sparse - dense).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("family", "several", "within_heads"),
    [
        *((family, False, False) for family in ("gpt2", "llama", "gemma2", "gpt_oss", "bloom", "gpt_neo")),
        *(("llama", several, within_heads) for several, within_heads in ((True, False), (False, True))),
    ],
)
def test_a_search_decides_as_on_whole_prompts(family, several, within_heads, monkeypatch):
    model, task, inner = boot(family, 3, 0), rows_alike(several), {"direct_edges": within_heads}
    found, expected = (
        acdc(behaviour, OrderOptions(threshold=abs(np.subtract(*behaviour.ends())) / 50), silent)
        for behaviour in (bound(model, task, **inner), whole(model, task, monkeypatch, **inner))
    )
    assert [test.candidate for test in found.tests] == [test.candidate for test in expected.tests]
    assert [test.after for test in found.tests] == approx([test.after for test in expected.tests], abs=1e-9)
    assert 5 < found.kept.sum() < len(found.kept) and found.drift < 1e-9


@pytest.mark.parametrize(
    ("family", "several", "within_heads"),
    [("gpt2", False, False), ("llama", True, False), ("gemma2", False, False), ("gpt2", False, True)],
)
def test_variants_and_gradients_are_those_of_whole_prompts(family, several, within_heads, monkeypatch):
    model, task, inner = boot(family, 3, 0), rows_alike(several), {"direct_edges": within_heads}
    behaviour, expected = bound(model, task, **inner), whole(model, task, monkeypatch, **inner)
    kept = np.random.default_rng(0).random(behaviour.graph.n_edges) < 0.5
    variants = Variants(kept, [*np.arange(0, len(kept), 7)[:, None]])
    [found], [wanted] = measure_variants(behaviour, variants), measure_variants(expected, variants)
    assert found == approx(wanted, abs=1e-10)
    required = RequiredPositions.of(behaviour.graph, np.ones_like(kept))
    edges = np.flatnonzero(~kept[: len(behaviour.graph.edges)])
    effects = []
    for one in (behaviour, expected):
        with torch.enable_grad():
            run = WatchedRun(model.components, required, one.prompts[0], kept)
            value = run.logits()[:, 3].sum()
        gradients = run.gradients(value, more=False)
        effects.append(run.own_effects(gradients, edges))
        effects.append(run.effects_of(one.batches[0].clean.values, gradients, edges))
    assert np.abs(effects[0]).max() > 1e-3
    assert effects[0] == approx(effects[2], abs=1e-9) and effects[1] == approx(effects[3], abs=1e-9)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_replayed_blocks_compute_the_same(family, monkeypatch):
    model, task = boot(family, 2, 0), rows_alike()
    replayed = replace(model, components=ReplayComponents(model.bridge, model.anatomy))
    removed = np.random.default_rng(0).random((3, model.graph.n_edges)) < 0.9
    found, expected = (one.measure(removed) for one in (bound(replayed, task), whole(replayed, task, monkeypatch)))
    assert found == approx(expected, abs=1e-10)


@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-positional"])
def test_other_ablations_change_every_position(ablation):
    model = load_model("trio")
    behaviour = Behaviour(model, rows_alike(), range(3), METRICS["logit_diff"], ablation)
    assert all(prompts.unchanged == 0 for prompts in behaviour.prompts)


def test_a_row_whose_prompts_are_equal_does_not_keep_others_from_it(monkeypatch):
    model, task = boot("llama", 2, 0), rows_alike(same=[3, 6, 3])  # all six tokens of the second
    removed = np.random.default_rng(0).random((3, model.graph.n_edges)) < 0.9
    found, expected = (one.measure(removed) for one in (bound(model, task), whole(model, task, monkeypatch)))
    assert task.rows[1].clean == task.rows[1].corrupted and found == approx(expected, abs=1e-10)


def test_it_computes_less(monkeypatch):
    model, task = boot("llama", 3, 0), rows_alike(lengths=[24] * 3, same=[20] * 3)
    flops = []
    for behaviour in (bound(model, task), whole(model, task, monkeypatch)):
        threshold, before = abs(np.subtract(*behaviour.ends())) / 50, behaviour.work
        assert acdc(behaviour, OrderOptions(threshold=threshold), silent).kept.sum() > 5
        flops.append((behaviour.work - before).flops)
    assert 2 * flops[0] < flops[1]
