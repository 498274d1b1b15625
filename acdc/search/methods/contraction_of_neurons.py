"""Gradients at hidden neurons, before the output projection, times what ablation changes of them; of heads, gradients
at what they write, as `contract_coordinates` has them, summed up."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import Components
from acdc.graph import ComponentGraph, WriterKind
from acdc.graph.units import NeuronUnits
from acdc.search.methods.contraction import Contraction, HiddenChange, Taps, contract_coordinates


def contraction_of_neurons(units: NeuronUnits, hidden: HiddenChange) -> Contraction:
    """For rows whose neurons ablation changes so."""
    return Contraction(partial(contract_neurons, units, hidden.change), hidden=hidden)


@torch.no_grad()
def contract_neurons(
    units: NeuronUnits,
    changes: Sequence[Tensor],
    runs: Sequence[Taps],
    components: Components,
    graph: ComponentGraph,
    change: Tensor,
    first: int = 0,
) -> Tensor:
    """Scores of heads and neurons [units] of the components from writer `first` on, as `contract` gives those of
    edges; neurons change by `changes` [N, P, F] of each layer."""
    written = contract_coordinates(runs, components, graph, change, first).sum(1).numpy()
    shape, last = graph.anatomy, first + len(change)
    heads = [written[w] for w, writer in enumerate(graph.writers) if writer.kind is WriterKind.HEAD]
    neurons = np.zeros((shape.n_layers, units.mlp_width))
    for w, writer in enumerate(graph.writers):
        if writer.kind is WriterKind.MLP and first <= w < last:
            for run in runs:
                if writer.layer in run.neurons:
                    neurons[writer.layer] += _products(run.neurons[writer.layer], changes[writer.layer])
    return torch.from_numpy(units.joined(np.reshape(heads, (shape.n_layers, shape.n_heads)), neurons))


def _products(gradient: Tensor, change: Tensor) -> np.ndarray:
    """Summed over rows and positions, float64 [F]."""
    wide = torch.promote_types(gradient.dtype, torch.float32)
    return (gradient.to(wide) * change.to(gradient.device, wide)).sum((0, 1)).double().cpu().numpy()
