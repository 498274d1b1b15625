"""Hidden neurons in runs: recorded, or removed."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from acdc.execution.ablated import Ablated
from acdc.execution.components import Change
from acdc.execution.slots import SlotInputs
from acdc.graph import ComponentGraph


class HiddenRecord(SlotInputs):
    """Keeps the hidden neurons of every MLP of a run: `values` [N, positions, F], layer by layer."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def hidden(self, layer: int) -> Change:
        return self._keep

    def _keep(self, hidden: Tensor) -> Tensor:
        self.values.append(hidden)
        return hidden


class RemovedNeurons(SlotInputs):
    """Runs of several circuits of heads and neurons at once: removed heads write their ablated value for all that read
    them, and an MLP's output projection reads the ablated value of removed neurons. One object serves one run of C x
    rows sequences, candidate by candidate."""

    def __init__(self, removed: np.ndarray, ablated: Ablated, rows: int, graph: ComponentGraph):
        """`removed` is boolean [C, layers, heads + neurons of an MLP]."""
        heads = graph.anatomy.n_heads
        self._heads, self._neurons = removed[..., :heads], removed[..., heads:]
        self._ablated, self._rows, self._graph = ablated, rows, graph

    def write(self, index: int, block: Tensor) -> Tensor:
        layer, is_mlp = divmod(index - 1, 2)
        if index == 0 or is_mlp or not self._heads[:, layer].any():
            return block
        first = len(self._graph.embeddings) + layer * (len(block) + 1)
        cut = torch.from_numpy(self._heads[:, layer].T.copy()).to(block.device)[:, :, None, None, None]
        current = block.unflatten(1, (-1, self._rows))
        return torch.where(cut, self._ablated.values[first : first + len(block), None], current).flatten(1, 2)

    def hidden(self, layer: int) -> Change | None:
        return partial(self._replaced, layer) if self._neurons[:, layer].any() else None

    def _replaced(self, layer: int, hidden: Tensor) -> Tensor:
        cut = torch.from_numpy(self._neurons[:, layer]).to(hidden.device)[:, None, None]
        current = hidden.unflatten(0, (-1, self._rows))
        return torch.where(cut, self._ablated.hidden[layer].to(hidden.device), current).flatten(0, 1)
