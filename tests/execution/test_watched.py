"""Gradients in a run of what a circuit consists of against gradients to masks of all edges in a run of the model."""

import numpy as np
import pytest
import torch
from families import boot, thorough_if_alike
from noise import noise

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.required_positions import RequiredPositions
from acdc.execution.watched import WatchedRun
from acdc.search.methods.masks import MaskedEdges
from acdc.task.metrics import METRICS


class Restoring(MaskedEdges):
    """Masked edges, where components that no edge leaves write what they write in the full model."""

    def __init__(self, graph, masks, ablated, clean, kept):
        super().__init__(graph, masks, ablated)
        self.clean, self.written = clean, 0
        self.absent = ~torch.from_numpy(np.isin(np.arange(len(graph.writers)), graph.ends[0][kept]))

    def write(self, index, block):
        first, self.written = self.written, self.written + len(block)
        return torch.where(self.absent[first : self.written, None, None, None], self.clean[index], block)


def by_masks(behaviour, batch, prompts, kept, restoring):
    """(metric per row, gradients to the masks of all edges [edges, N])."""
    circuit = torch.from_numpy(kept).to(prompts.embedded).expand(len(batch.index), -1)
    masks = circuit.clone().requires_grad_()
    slots = MaskedEdges(behaviour.graph, masks, prompts.ablated)
    if restoring:
        slots = Restoring(behaviour.graph, masks, prompts.ablated, batch.clean.blocks, kept)
    with torch.enable_grad():
        logits = behaviour.executor.run_embedded(prompts.embedded, batch.positions, slots).logits
        values = behaviour.metric.per_row(logits, batch.answers)
        (gradient,) = torch.autograd.grad(values.sum(), masks)
    return values.detach(), gradient.T.numpy()


@pytest.mark.parametrize("family", thorough_if_alike())
@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_effects_are_gradients_to_masks(family, ablation):
    model = boot(family, layers=3, seed=1)
    behaviour = Behaviour(model, noise(rows=5, lengths=(4, 9, 6, 5)), range(5), METRICS["nll"], ablation)
    graph = behaviour.graph
    kept = graph.prune(np.random.default_rng(2).random(graph.n_edges) < 0.2)
    edges = np.arange(graph.n_edges)
    writers = graph.ends[0]
    absent = ~np.isin(np.arange(len(graph.writers)), writers[kept])[writers]
    required = RequiredPositions.of(graph, np.ones_like(kept))
    largest = 0.0
    for batch, prompts in zip(behaviour.batches, behaviour.prompts, strict=True):
        with torch.enable_grad():
            run = WatchedRun(model.components, required, prompts, kept)
            values = behaviour.metric.per_row(run.logits(), batch.answers)
        gradients = run.gradients(values.sum(), more=False)
        measured, expected = by_masks(behaviour, batch, prompts, kept, restoring=False)
        assert torch.allclose(values, measured, atol=1e-9, rtol=0)
        assert np.abs(run.effects(gradients, edges, run.change) - expected).max() < 1e-9
        measured, expected = by_masks(behaviour, batch, prompts, kept, restoring=True)
        if not model.anatomy.post_norms:  # where an absent head has a part in its layer's scale
            found = run.effects(gradients, edges[absent], run.change_to(batch.clean.values))
            assert np.abs(found - expected[absent]).max() < 1e-9
        largest = max(largest, np.abs(expected).max())
    assert largest > 1e-6
