"""Gradients in a circuit at spans: against those of the same circuit without spans, and against adding edges."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from families import boot, thorough_if_alike
from noise import noise

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.required_positions import RequiredPositions
from acdc.execution.watched import WatchedRun
from acdc.execution.watched_at_spans import WatchedAtSpans
from acdc.graph import ReaderKind
from acdc.graph.masks import PositionalMask
from acdc.options import Level
from acdc.task.metrics import METRICS
from acdc.task.spans import Spans


def watched(behaviour, place, kept):
    """(a circuit's run over a batch, its metric's value in each row, gradients)."""
    batch, prompts = behaviour.batches[place], behaviour.prompts[place]
    mask = PositionalMask(~kept[None], behaviour.units(Level.positions).positional)
    with torch.enable_grad():
        run = WatchedAtSpans(mask, behaviour.where(batch), prompts.ablated)
        logits = run.logits(behaviour.executor, batch.clean, batch.positions, None)
        values = behaviour.metric.per_row(logits, batch.answers)
    return run, values.detach(), run.gradients(values.sum(), more=False)


@pytest.mark.parametrize("family", thorough_if_alike())
def test_they_sum_up_to_those_without_spans(family):
    """Of a circuit that is the same at all spans, whose rows and spans are of several lengths."""
    task, bounds = noise(rows=5, lengths=(7, 9, 6)), [{"a": (1, 2), "b": (3, 5)}, {"b": (1, 3), "a": (3, 6)}]
    rows = tuple(replace(row, spans=Spans.of(bounds[i % 2])) for i, row in enumerate(task.rows))
    behaviour = Behaviour(boot(family, layers=2, seed=1), replace(task, rows=rows), range(5), METRICS["nll"])
    graph, positional = behaviour.graph, behaviour.units(Level.positions).positional
    kept = graph.prune(np.random.default_rng(2).random(graph.n_edges) < 0.3)
    required, everywhere = RequiredPositions.of(graph, np.ones_like(kept)), np.arange(positional.n_edges)
    for place, (batch, prompts) in enumerate(zip(behaviour.batches, behaviour.prompts, strict=True)):
        with torch.enable_grad():
            plain = WatchedRun(behaviour.model.components, required, prompts, kept)
            values = behaviour.metric.per_row(plain.logits(), batch.answers)
        gradients = plain.gradients(values.sum(), more=False)
        run, found, at_spans = watched(behaviour, place, positional.spread(kept))
        assert torch.allclose(found, values.detach(), atol=1e-9, rtol=0)
        clean, edges = batch.clean.values, np.arange(graph.n_edges)
        for expected, effects in (
            (plain.own_effects(gradients, edges), run.own_effects(at_spans, everywhere)),
            (plain.effects_of(clean, gradients, edges), run.effects_of(clean, at_spans, everywhere)),
        ):
            summed = np.stack([positional.summed(row) for row in effects.T], axis=1)
            assert np.abs(summed - expected).max() < 1e-9 * max(1, np.abs(expected).max())
        assert np.abs(effects).max() > 1e-6


def test_adding_an_edge_changes_a_linear_model_by_as_much():
    """Values and logits of an attention-only model of one layer without norms, at single positions."""
    model = boot("native-attention-only-no-norm", layers=1, seed=4)
    behaviour = Behaviour(model, noise(3, lengths=(5,)), range(3), METRICS["logit_diff"])
    units = behaviour.units(Level.positions)
    kept = units.pruned(np.random.default_rng(1).random(units.shape) < 0.6)
    run, values, gradients = watched(behaviour, 0, kept)
    groups = [units.positional.group_at[0, ReaderKind.V], units.positional.groups[-1]]
    edges = np.concatenate([np.arange(group.start, group.stop) for group in groups])
    edges = edges[~kept[edges]]
    added = np.repeat(kept[None], len(edges), axis=0)
    added[np.arange(len(edges)), edges] = True
    measured = behaviour.measure(PositionalMask(~added, units.positional))[0]
    changes = measured - values.numpy()
    assert np.abs(run.own_effects(gradients, edges) - changes).max() < 1e-9
    assert np.abs(changes).max() > 1e-3
