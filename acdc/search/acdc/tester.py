"""Try removals in the present circuit. Here, by runs of the whole subgraph; see `increments` for the fast way.

A pass removes several edges into one slot, one after the other; its results are the objectives after each.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.graph.masks import EdgeMask, Mask, NeuronMask, PositionalMask
from acdc.graph.units import NeuronUnits, PositionUnits
from acdc.options import Level
from acdc.search.acdc.first_order import FirstOrder
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.widths import widest
from acdc.task.objective import RAW, Wanted

PASSES = "passes of acdc"  # a kind of passes, see `acdc.execution.retreat`
WHOLE_RUN_COST = 2.0  # see `PassCost.fixed`, of a run of the whole subgraph


@dataclass(frozen=True)
class PassCost:
    """What trying candidates of one receiver costs: so many fit one pass, and what a pass costs besides its
    candidates, in candidates. `speculative`: whether it can be made before the one before it is decided."""

    widest: int
    fixed: float
    speculative: bool = True


class Tester(Protocol):
    """The present circuit, what may be removed from it, and what becomes of it then.

    `names` are the candidates, edges or nodes, and `removed` which of them are gone. At spans, a component there stands
    for a component: as writer * spans + span.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def removed(self) -> np.ndarray: ...

    @property
    def measured(self) -> MeasuredObjective: ...

    def objective(self) -> float:
        """The objective of the present circuit, measured now."""

    def open(self, candidates: np.ndarray, others: np.ndarray) -> None:
        """Go on to a receiver, whose candidates will be decided in this order; its others are removed at once."""

    def cost(self, candidates: np.ndarray) -> PassCost:
        """What trying some of these candidates costs."""

    def measure(self, wanted: Pass, before: np.ndarray | None = None) -> np.ndarray:
        """Objectives [columns] with the first so many of undecided candidates removed: edges into the open slot, or
        one within-head edge. They are the next ones, or those after the next ones `before` them, which are removed as
        well."""

    def foretell(self, candidates: np.ndarray) -> FirstOrder | None:
        """Estimates of how the objective's metrics change without each of the undecided edges into the open slot; None
        for a within-head edge. Raises InputError where nothing gives any."""

    def foretell_without(self, candidates: np.ndarray, count: int) -> FirstOrder:
        """The same as it is with the first so many of all undecided edges into the open slot removed, by a run of its
        own."""

    def remove(self, candidates: np.ndarray) -> None:
        """Remove edges into the open slot, or one within-head edge, for good."""

    def keep(self, candidate: int) -> None:
        """Keep one for good."""

    def is_read(self, writer: int) -> bool:
        """Whether an edge out of a component is kept."""

    def edges(self) -> np.ndarray:
        """The edges of the present circuit, boolean [edges]; at spans, of those there, and over neurons [units]."""

    @property
    def ablated(self) -> Mask:
        """All that is not in the present circuit."""

    def fork(self) -> "Tester":
        """Another of the same, to go on in another way."""


def measure_in_memory(
    behaviour: Behaviour, tester: Tester, wanted: Pass, before: np.ndarray | None = None
) -> np.ndarray:
    """What a tester gives for a pass, with fewer measurements at a time where memory runs out."""

    def make(part: slice) -> np.ndarray:
        return tester.measure(wanted.part(part), before)

    return np.concatenate([found for _, found in behaviour.retreat.passes(PASSES, len(wanted.columns), make)])


def no_estimates() -> InputError:
    """What to raise where removals cannot be foretold."""
    return InputError(
        "--screen estimates edges from gradients of what a test recomputes, which is not available over nodes, over "
        "neurons, and at positions or with a scaled attention bias in models with post-norms: test every candidate "
        "with --screen 0"
    )


class WholeRuns:
    """A tester by runs of the whole subgraph: the slow way, for what the fast one does not cover."""

    def __init__(self, behaviour: Behaviour, wanted: Wanted = RAW):
        self.behaviour, self.measured = behaviour, MeasuredObjective(behaviour, wanted)
        self.names: Sequence[str] = behaviour.graph.names
        self.removed = np.zeros(len(self.names), dtype=bool)
        self._read: set[int] = set()

    def _edges_left(self, removed: np.ndarray) -> np.ndarray:
        """Boolean [edges] of what is left without these candidates."""
        return ~removed

    def _mask(self, removed: np.ndarray) -> Mask:
        """What is ablated without these candidates, [C, candidates]."""
        return EdgeMask(~np.stack([self._edges_left(one) for one in removed]))

    def _objectives(self, removed: np.ndarray) -> np.ndarray:
        return self.measured.of_subgraphs(self._mask(removed))

    @property
    def ablated(self) -> Mask:
        return self._mask(self.removed[None])

    def objective(self) -> float:
        return float(self._objectives(self.removed[None])[0])

    def open(self, candidates: np.ndarray, others: np.ndarray) -> None:
        self.removed[others] = True

    def cost(self, candidates: np.ndarray) -> PassCost:
        return PassCost(widest(self.behaviour.model), WHOLE_RUN_COST)

    def measure(self, wanted: Pass, before: np.ndarray | None = None) -> np.ndarray:
        removed = np.repeat(self.removed[None], len(wanted.columns), axis=0)
        if before is not None:
            removed[:, before] = True
        for row, count in zip(removed, wanted.columns, strict=True):
            row[wanted.tried[:count]] = True
            row[wanted.tried[list(wanted.left_in(count))]] = False
        return self._objectives(removed)

    def foretell(self, candidates: np.ndarray) -> FirstOrder | None:
        raise no_estimates()

    def foretell_without(self, candidates: np.ndarray, count: int) -> FirstOrder:
        raise no_estimates()

    def remove(self, candidates: np.ndarray) -> None:
        self.removed[candidates] = True

    def keep(self, candidate: int) -> None:
        writers, _ = self.behaviour.graph.ends
        if candidate < len(writers):
            self._read.add(int(writers[candidate]))

    def is_read(self, writer: int) -> bool:
        return writer in self._read

    def edges(self) -> np.ndarray:
        return self._edges_left(self.removed)

    def fork(self) -> "WholeRuns":
        other = copy.copy(self)
        other.removed, other._read = self.removed.copy(), set(self._read)
        return other


class NodeRuns(WholeRuns):
    """A tester of nodes: a removed one is ablated for all that read it, and reads nothing but ablated values itself.

    The latter matters under post-norms alone, where what a removed head computes still has a part in its layer's scale.
    """

    def __init__(self, behaviour: Behaviour, wanted: Wanted = RAW):
        super().__init__(behaviour, wanted)
        self.names = tuple(writer.id for writer in behaviour.graph.writers)
        self.removed = np.zeros(len(self.names), dtype=bool)

    def _edges_left(self, removed: np.ndarray) -> np.ndarray:
        return self.behaviour.graph.between(~removed)

    def keep(self, candidate: int) -> None:
        pass


class NeuronRuns(WholeRuns):
    """A tester of heads and hidden neurons, which are the candidates; `edges` are those that are kept, [units]."""

    def __init__(self, behaviour: Behaviour, wanted: Wanted = RAW):
        super().__init__(behaviour, wanted)
        units = behaviour.units(Level.neurons)
        assert isinstance(units, NeuronUnits)
        self.units, self.names = units, tuple(units.names())
        self.removed = np.zeros(len(self.names), dtype=bool)

    def _mask(self, removed: np.ndarray) -> NeuronMask:
        always = np.zeros((*removed.shape[:-1], self.units.always), dtype=bool)
        return NeuronMask(self.units.by_layer(np.concatenate([always, removed], axis=-1)))

    def _edges_left(self, removed: np.ndarray) -> np.ndarray:
        return self.units.first(np.flatnonzero(~removed))

    def keep(self, candidate: int) -> None:
        pass


class PositionalRuns(WholeRuns):
    """A tester of edges at spans."""

    def __init__(self, behaviour: Behaviour, wanted: Wanted = RAW):
        super().__init__(behaviour, wanted)
        units = behaviour.units(Level.positions)
        assert isinstance(units, PositionUnits)
        self.graph = units.positional
        self.names = self.graph.names
        self.removed = np.zeros(len(self.names), dtype=bool)

    def _mask(self, removed: np.ndarray) -> PositionalMask:
        return PositionalMask(removed, self.graph)

    def keep(self, candidate: int) -> None:
        senders, _ = self.graph.ends
        self._read.add(int(senders[candidate]))
