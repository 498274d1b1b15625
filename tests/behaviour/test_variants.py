"""Variants of a circuit by what their changes reach against runs of whole circuits, for every family."""

import numpy as np
import pytest
from families import boot, thorough_if_alike
from noise import noise

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.variants import Variants, measure_variants
from acdc.task.metrics import METRICS


def compare(behaviour: Behaviour, kept: np.ndarray, changed: list[np.ndarray]) -> np.ndarray:
    """The largest change [variants] that each makes; all as runs of the whole circuits have them."""
    metrics = [METRICS["kl"], METRICS["nll"]]
    masks = np.repeat(kept[None], len(changed), axis=0)
    for mask, edges in zip(masks, changed, strict=True):
        mask[edges] = ~mask[edges]
    expected = behaviour.measure(~masks, metrics)
    found = np.concatenate(list(measure_variants(behaviour, Variants(kept, changed), metrics)), axis=1)
    assert np.abs(found - expected).max() < 1e-9 * max(1.0, np.abs(expected).max())
    return np.abs(expected - behaviour.measure(~kept[None], metrics)).max(axis=(0, 2))


@pytest.mark.parametrize("family", thorough_if_alike())
def test_edges_are_removed_and_added_one_by_one_and_in_twos(family):
    model = boot(family, layers=3, seed=1)
    for ablation in ("resample", "mean-positional"):
        behaviour = Behaviour(model, noise(rows=5, lengths=(4, 9, 6, 5)), range(5), METRICS["kl"], ablation)
        generator = np.random.default_rng(2)
        kept = behaviour.graph.prune(generator.random(behaviour.graph.n_edges) < 0.3)
        alone = [np.array([edge]) for edge in range(0, behaviour.graph.n_edges, 3)]
        pairs = [generator.choice(behaviour.graph.n_edges, 2, replace=False) for _ in range(60)]
        changes = compare(behaviour, kept, [*alone, *pairs])
        added = np.array([not kept[edges].any() for edges in (*alone, *pairs)])
        assert (changes[added] > 1e-6).any() and (changes[~added] > 1e-6).any()


def test_an_edge_from_a_head_that_is_needed_at_the_answer_alone_into_a_key(trio, induction):
    """What it writes is needed at all positions then, in that variant."""
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    graph = behaviour.graph
    kept = graph.mask(["input->a1.h3<v>", "a1.h3->logits", "input->a2.h0<q>", "input->a2.h0<v>", "a2.h0->logits"])
    added = np.flatnonzero(graph.mask(["a1.h3->a2.h0<k>", "a1.h3->a2.h0<v>", "input->a2.h0<k>"]))
    through_another = np.flatnonzero(graph.mask(["a1.h3->m1", "m1->a2.h0<q>"]))
    assert compare(behaviour, kept, [*added[:, None], through_another]).min() > 1e-6
