"""Which edges a finished circuit may lack: estimated by gradients in the circuit's own run.

The gradient at what a slot reads, times what a component writes, estimates what an edge between them would change. An
edge out of a component that reads nothing, or into one that nothing reads, changes nothing by itself. So candidates
are edges between components of the circuit, and paths of two edges through one absent component. Such a path leaves its
component by the edge that would help most if the component wrote what it writes in the full model; its first edge is
estimated in a second run, in which the most promising absent components have these edges. Where there are few paths,
all are tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from acdc.search.acdc.circuits import Circuits
from acdc.search.acdc.measured import MeasuredObjective

BEST = 200  # edges between components of the circuit that are tested
SAMPLE = 200  # others of them that are drawn and tested
PATHS = 200  # paths through absent components that are tested
THROUGH = 32  # absent components


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
    circuits: Circuits, measured: MeasuredObjective, kept: np.ndarray, generator: np.random.Generator
) -> Candidates:
    """Of a circuit without dangling edges, boolean [edges]."""
    ends = Ends(circuits, kept)
    edges, out = np.flatnonzero(ends.between), np.flatnonzero(ends.out_of_absent)
    rises, helped = _rises(circuits, measured, kept, edges, out)
    order = np.argsort(rises, kind="stable")
    others = edges[order[BEST:]]
    drawn = generator.choice(others, min(SAMPLE, len(others)), replace=False)
    paths = _paths(circuits, measured, kept, ends, out[np.argsort(helped, kind="stable")])
    return Candidates(edges[order[:BEST]], drawn, len(edges), paths)


class Ends:
    """Which edges can be added to a circuit: boolean [edges] `between` its components, and `into_absent` and
    `out_of_absent` components, those that nothing reads. At spans, a component at one stands for a component."""

    def __init__(self, circuits: Circuits, kept: np.ndarray):
        (writers, readers), owned = circuits.ends, circuits.owned
        nodes = np.arange(owned.shape[1])
        fed = np.any(owned[np.unique(readers[kept])], axis=0)
        fed[: circuits.inputs] = True
        absent = ~np.isin(nodes, writers[kept])
        absent[: circuits.inputs] = False
        used = ~np.any(owned, axis=1) | np.any(owned[:, ~absent], axis=1)
        entered = np.any(owned[:, absent], axis=1)
        self.between = ~kept & fed[writers] & used[readers]
        self.out_of_absent = ~kept & absent[writers] & used[readers]
        self.into_absent = ~kept & fed[writers] & entered[readers]


def _paths(
    circuits: Circuits, measured: MeasuredObjective, kept: np.ndarray, ends: Ends, out: np.ndarray
) -> np.ndarray:
    """The best paths of two edges through absent components, [paths, 2]. `out`: edges out of these, best first."""
    writers, readers = circuits.ends
    promising = sorted([*dict.fromkeys(writers[out].tolist())][:THROUGH])
    owned = circuits.owned[:, promising]
    into = np.flatnonzero(ends.into_absent & np.any(owned, axis=1)[readers])
    edge, component = np.nonzero(owned[readers[into]])
    ways_out = max(1, PATHS // max(1, len(edge)))  # of each component: all, where there are few paths
    ways = [out[writers[out] == writer][:ways_out] for writer in promising]
    attached = kept | np.isin(np.arange(len(kept)), [way for some in ways for way in some])
    rises, _ = _rises(circuits, measured, attached, into)
    found = [(into[edge[i]], way) for i in np.argsort(rises[edge], kind="stable") for way in ways[component[i]]]
    return np.array(found[:PATHS], dtype=int).reshape(-1, 2)


def _rises(
    circuits: Circuits,
    measured: MeasuredObjective,
    kept: np.ndarray,
    edges: np.ndarray,
    restored: Sequence[int] | np.ndarray = (),
) -> tuple[np.ndarray, np.ndarray]:
    """By how much the objective rises with each of some edges added to a circuit, estimated [edges], and with each of
    the `restored` edges, if their senders wrote what they write in the full model [restored]."""
    behaviour = circuits.behaviour
    metrics, restored = measured.objective.metrics, np.asarray(restored, dtype=int)
    now = np.empty((len(metrics), len(behaviour.rows)))
    effects = np.empty((len(metrics), len(edges) + len(restored), len(behaviour.rows)))
    for place, batch in enumerate(behaviour.batches):
        answers, rows = batch.answers.for_metrics(metrics), list(batch.index)
        with torch.enable_grad():
            run, logits = circuits.watch(place, kept, edges, answers.columns)
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            values = [metric.per_row(wide, answers) for metric in metrics]
        for number, value in enumerate(values):
            now[number, rows] = value.detach().double().cpu().numpy()
            gradients = run.gradients(value.sum(), more=number + 1 < len(values))
            own = run.own_effects(gradients, edges)
            others = run.effects_of(batch.clean.values, gradients, restored)
            effects[number][:, rows] = np.concatenate([own, others])
    rises = measured.change(now, effects)
    return rises[: len(edges)], rises[len(edges) :]
