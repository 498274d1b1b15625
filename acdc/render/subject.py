"""What a verification is of, as far as sentences about it need to know."""

from dataclasses import dataclass

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.feature_circuit import FeatureCircuitRecord


@dataclass(frozen=True)
class Subject:
    """`parts`: what is removed one by one, in the plural, `units`: what it consists of, `everything`: what is all
    ablated in the empty circuit, in the singular. `searched_again`: whether acdc can tell if other rows, tasks and
    searches give another circuit."""

    parts: str
    units: str
    everything: str
    larger_is_better: bool
    searched_again: bool
    of_edges: bool

    @classmethod
    def of(cls, circuit: Circuit) -> "Subject":
        units = circuit.units
        return cls(circuit.part_name, units.plural, "edge", circuit.larger_is_better, True, units.are_edges)

    @classmethod
    def of_features(cls, circuit: FeatureCircuitRecord) -> "Subject":
        name = circuit.part_name
        return cls(name, name, "feature", circuit.larger_is_better, False, False)
