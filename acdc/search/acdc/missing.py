"""Which edges a finished circuit may lack: estimated by gradients in the circuit's own run.

Every edge has a mask: 1 in the circuit, 0 outside. The gradient at a mask of 0 estimates what adding the edge changes.
An edge out of a component that reads nothing, or into one that nothing reads, changes nothing by itself. So candidates
are edges between components of the circuit, and paths of two edges through one absent component. Such a path leaves its
component by the edge that would help most if the component wrote what it writes in the full model; its first edge is
estimated in a second run, in which all absent components have these edges. Where there are few paths, all are tested.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.batches import Batch
from acdc.behaviour.behaviour import Behaviour
from acdc.graph import ComponentGraph
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.methods.masks import MaskedEdges

BEST = 200  # edges between components of the circuit that are tested
SAMPLE = 200  # others of them that are drawn and tested
PATHS = 200  # paths through absent components that are tested


@dataclass(frozen=True)
class Candidates:
    """What may be added to a circuit, as places of edges: `best` edges between its components by estimate and `drawn`
    others at random, of so many `possible` ones, [edges]; `paths` through absent components [paths, 2]."""

    best: np.ndarray
    drawn: np.ndarray
    possible: int
    paths: np.ndarray

    @property
    def additions(self) -> list[np.ndarray]:
        """All of them, the edges of each."""
        return [*self.best[:, None], *self.drawn[:, None], *self.paths]


def find_candidates(
    behaviour: Behaviour, measured: MeasuredObjective, kept: np.ndarray, generator: np.random.Generator
) -> Candidates:
    """Of a circuit without dangling edges, boolean [edges]."""
    ends = _Ends(behaviour.graph, kept)
    edges, out = np.flatnonzero(ends.between), np.flatnonzero(ends.out_of_absent)
    rises = _rises(behaviour, measured, kept, np.concatenate([edges, out]), ends.absent)
    order = np.argsort(rises[: len(edges)], kind="stable")
    others = edges[order[BEST:]]
    drawn = generator.choice(others, min(SAMPLE, len(others)), replace=False)
    paths = _paths(behaviour, measured, kept, ends, out[np.argsort(rises[len(edges) :], kind="stable")])
    return Candidates(edges[order[:BEST]], drawn, len(edges), paths)


class _Ends:
    """Which edges can be added to a circuit: boolean [edges] `between` its components, and `into_absent` and
    `out_of_absent` components, those that nothing reads, boolean [writers]."""

    def __init__(self, graph: ComponentGraph, kept: np.ndarray):
        writers, readers = graph.ends
        fed = graph.owned[readers[kept]].any(axis=0)
        fed[: len(graph.embeddings)] = True
        read = np.zeros(len(graph.writers), dtype=bool)
        read[writers[kept]] = True
        used = ~graph.owned.any(axis=1) | (graph.owned & read).any(axis=1)
        self.absent = ~read
        self.absent[: len(graph.embeddings)] = False
        self.between = ~kept & fed[writers] & used[readers]
        self.out_of_absent = ~kept & self.absent[writers] & used[readers]
        self.into_absent = ~kept & fed[writers] & (graph.owned & self.absent).any(axis=1)[readers]


def _paths(
    behaviour: Behaviour, measured: MeasuredObjective, kept: np.ndarray, ends: _Ends, out: np.ndarray
) -> np.ndarray:
    """The best paths of two edges through absent components, [paths, 2]. `out`: edges out of these, best first."""
    writers, readers = behaviour.graph.ends
    into = np.flatnonzero(ends.into_absent)
    edge, component = np.nonzero(behaviour.graph.owned[readers[into]] & ends.absent)
    ways_out = max(1, PATHS // max(1, len(edge)))  # of each component: all, where there are few paths
    ways = [out[writers[out] == writer][:ways_out] for writer in range(len(behaviour.graph.writers))]
    attached = kept | np.isin(np.arange(len(kept)), np.concatenate(ways))
    rises = _rises(behaviour, measured, attached, into)
    found = [(into[edge[i]], way) for i in np.argsort(rises[edge], kind="stable") for way in ways[component[i]]]
    return np.array(found[:PATHS], dtype=int).reshape(-1, 2)


def _rises(
    behaviour: Behaviour,
    measured: MeasuredObjective,
    kept: np.ndarray,
    edges: np.ndarray,
    restored: np.ndarray | None = None,
) -> np.ndarray:
    """By how much the objective rises with each of some edges added to a circuit, estimated [edges]. `restored`:
    boolean [writers] of components, all of whose edges are absent, that count as if they wrote what they write in the
    full model."""
    metrics = measured.objective.metrics
    now = np.empty((len(metrics), len(behaviour.rows)))
    effects = np.empty((len(metrics), len(edges), len(behaviour.rows)))
    for place, batch in enumerate(behaviour.batches):
        prompts, rows = behaviour.prompts[place], list(batch.index)
        with torch.enable_grad():
            circuit = torch.from_numpy(kept).to(prompts.embedded)
            masks = circuit.expand(len(rows), -1).clone().requires_grad_()
            slots = _Restoring(behaviour.graph, masks, prompts.ablated, batch, restored)
            logits = behaviour.executor.run_embedded(prompts.embedded, batch.positions, slots).logits
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            values = [metric.per_row(wide, batch.answers) for metric in metrics]
        for number, value in enumerate(values):
            now[number, rows] = value.detach().double().cpu().numpy()
            (gradient,) = torch.autograd.grad(value.sum(), masks, retain_graph=number + 1 < len(values))
            effects[number][:, rows] = gradient[:, torch.from_numpy(edges)].T.double().cpu().numpy()
    return measured.change(now, effects)


class _Restoring(MaskedEdges):
    """Masked edges, where some components write what they write in the full model."""

    def __init__(self, graph: ComponentGraph, masks: Tensor, ablated, batch: Batch, restored: np.ndarray | None):
        super().__init__(graph, masks, ablated)
        self._clean, self._restored, self._written = batch.clean.blocks, restored, 0

    def write(self, index: int, block: Tensor) -> Tensor:
        first, self._written = self._written, self._written + len(block)
        if self._restored is None or not self._restored[first : self._written].any():
            return block
        some = torch.from_numpy(self._restored[first : self._written]).to(block.device)
        return torch.where(some[:, None, None, None], self._clean[index], block)
