"""Circuits of some rows: what is ablated around them and of them, and how faithful they are.

Shapes: R rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from acdc.errors import NothingToFind
from acdc.feature_circuits.effects import active_nodes
from acdc.feature_circuits.nodes import FeatureNode, Removed
from acdc.feature_circuits.runs import FeatureRuns
from acdc.task.metrics import NOISE


class Errors(StrEnum):
    """What becomes of what the dictionary does not reconstruct: it stays in every circuit, it is ablated in every one,
    or errors are ranked among the features."""

    keep = "keep"
    remove = "remove"
    rank = "rank"


@dataclass(frozen=True)
class Measured:
    """Mean metrics on rows: of the model, of the circuit, of all without the circuit's nodes, and with every node
    ablated; all with errors as the circuit has them. `errors_removed`: of the circuit with errors ablated too."""

    rows: int
    full: float
    circuit: float
    complement: float
    empty: float
    errors_removed: float
    empty_without_errors: float

    @property
    def faithfulness(self) -> float:
        return (self.circuit - self.empty) / (self.full - self.empty)

    @property
    def completeness(self) -> float:
        """The share that is left without the circuit: 0 where it has all that matters."""
        return (self.complement - self.empty) / (self.full - self.empty)

    @property
    def faithfulness_without_errors(self) -> float:
        return (self.errors_removed - self.empty_without_errors) / (self.full - self.empty_without_errors)


class Circuits:
    """Circuits with errors as asked for."""

    def __init__(self, runs: FeatureRuns, errors: Errors):
        self.runs, self.errors = runs, errors
        self.full = runs.full()
        self.empty = self.mean(self.circuit([]))

    def check(self) -> None:
        """Raises NothingToFind where ablating every node changes nothing."""
        if abs(self.full - self.empty) <= NOISE * max(abs(self.full), abs(self.empty)):
            raise NothingToFind(
                f"metric {self.runs.metric.name!r} is {self.full:.6g} with and without all features of "
                f"{self.runs.dictionary.name}: there is nothing for a circuit to recover"
            )

    def ranks(self, node: FeatureNode) -> bool:
        """Whether a circuit can be with or without a node."""
        return self.errors is Errors.rank or not node.is_error

    def circuit(self, nodes: Sequence[FeatureNode]) -> Removed:
        """What is ablated around a circuit."""
        return self.runs.only(nodes, self.errors is not Errors.keep)

    def complement(self, nodes: Sequence[FeatureNode], bare: bool = False) -> Removed:
        """The circuit itself is ablated, and all errors where circuits have none, or `bare`."""
        removed = self.runs.without(nodes)
        if self.errors is not Errors.remove and not bare:
            return removed
        return Removed(removed.features, self.runs.only([], True).errors)

    def bare(self, nodes: Sequence[FeatureNode]) -> Removed:
        """What is ablated around a circuit without any error."""
        return self.runs.only([node for node in nodes if not node.is_error], True)

    def mean(self, removed: Removed) -> float:
        return float(self.runs.measure([removed])[0].mean())

    def faithfulness(self, nodes: Sequence[FeatureNode]) -> float:
        return (self.mean(self.circuit(nodes)) - self.empty) / (self.full - self.empty)

    def measured(self, nodes: Sequence[FeatureNode]) -> Measured:
        asked = [self.circuit(nodes), self.complement(nodes), self.bare(nodes), self.bare([])]
        circuit, complement, removed, empty = map(float, self.runs.measure(asked)[0].mean(1))
        return Measured(len(self.runs.behaviour.rows), self.full, circuit, complement, self.empty, removed, empty)

    def pool(self) -> list[FeatureNode]:
        """Active nodes that a circuit can be with or without."""
        return [node for node in active_nodes(self.runs) if self.ranks(node)]

    def drawn(self, pool: Sequence[FeatureNode], count: int, generator: np.random.Generator) -> list[FeatureNode]:
        """So many of a pool, at random."""
        return [pool[place] for place in sorted(generator.permutation(len(pool))[:count])]
