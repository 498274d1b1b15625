"""Variants of circuits at spans against a whole run of each."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import thorough_but
from families import EACH, boot
from noise import noise

from acdc.behaviour import variants_at_spans
from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.variants import Variants
from acdc.behaviour.variants_at_spans import measure_variants_at_spans
from acdc.graph.masks import PositionalMask
from acdc.options import Level
from acdc.task.metrics import METRICS
from acdc.task.spans import Spans


@pytest.mark.parametrize("family", thorough_but(["gpt2", "gemma2", "llama"], EACH))
@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_each_equals_a_run_of_its_own(family, ablation, monkeypatch):
    """Single edges removed and added in every layer, and several at once, over rows of several lengths in batches."""
    monkeypatch.setattr(variants_at_spans, "TOGETHER", 7)
    task, bounds = noise(5, lengths=(7, 9, 6)), [{"a": (1, 2), "b": (3, 5)}, {"b": (1, 3), "a": (3, 6)}]
    task = replace(task, rows=tuple(replace(r, spans=Spans.of(bounds[i % 2])) for i, r in enumerate(task.rows)))
    behaviour = Behaviour(boot(family, 2, seed=1), task, range(5), METRICS["nll"], ablation, batch_size=3)
    graph, metrics = behaviour.units(Level.positions).positional, [METRICS["nll"], METRICS["kl"]]
    draw = np.random.default_rng(0)
    kept = graph.prune(draw.random(graph.n_edges) < 0.7)
    changed = [draw.choice(np.arange(group.start, group.stop), 1) for group in graph.groups for _ in range(2)]
    changed += [draw.choice(graph.n_edges, 2, replace=False) for _ in range(4)]
    changed = [changed[place] for place in draw.permutation(len(changed))]
    found = measure_variants_at_spans(behaviour, graph, Variants(kept, changed), metrics)
    whole = np.repeat(kept[None], len(changed), axis=0)
    for mask, edges in zip(whole, changed, strict=True):
        mask[edges] ^= True
    expected = behaviour.measure(PositionalMask(~whole, graph), metrics)
    assert np.abs(found - expected).max() < 1e-10
    assert np.abs(found - behaviour.measure(PositionalMask(~kept[None], graph), metrics)).max() > 1e-3


def test_of_none_there_is_nothing():
    behaviour = Behaviour(boot("gpt2", 1, seed=1), noise(2, lengths=(4,)), range(2), METRICS["nll"])
    graph = behaviour.units(Level.positions).positional
    variants = Variants(np.ones(graph.n_edges, dtype=bool), [])
    assert measure_variants_at_spans(behaviour, graph, variants, [METRICS["nll"]]).shape == (1, 0, 2)
