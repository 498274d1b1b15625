"""What a circuit keeps or removes, at each level: edges, nodes, single coordinates of what nodes write, edges at single
spans of the prompts, or heads and hidden neurons.

One file and one class for each level. All that depends on the level alone is asked of its class (`kind_of`), what also
depends on a model's graph of an object of that class (`units_of`): so no other package has to know which levels exist.
"""

from acdc.graph.component_graph import ComponentGraph
from acdc.graph.task_spans import TaskSpans
from acdc.graph.units.base import Choice, Listing, Units
from acdc.graph.units.coordinates import CoordinateUnits
from acdc.graph.units.edges import EdgeUnits
from acdc.graph.units.neurons import NeuronUnits
from acdc.graph.units.nodes import NodeUnits
from acdc.graph.units.positions import PositionUnits
from acdc.options import Level

__all__ = [
    "Choice",
    "CoordinateUnits",
    "EdgeUnits",
    "Listing",
    "NeuronUnits",
    "NodeUnits",
    "PositionUnits",
    "Units",
    "kind_of",
    "units_of",
]

_KINDS: dict[Level, type[Units]] = {
    kind.level: kind for kind in (EdgeUnits, NodeUnits, CoordinateUnits, PositionUnits, NeuronUnits)
}


def kind_of(level: Level) -> type[Units]:
    """The class of a level's units."""
    return _KINDS[level]


def units_of(
    graph: ComponentGraph, level: Level, spans: TaskSpans | None = None, mlp_width: int | None = None
) -> Units:
    """The units of a level of a graph; `spans`: those of the prompts, which levels that `have_spans` need, and
    `mlp_width`: how many hidden neurons each MLP has, for levels that `have_neurons`."""
    kind = kind_of(level)
    if kind.have_spans:
        assert issubclass(kind, PositionUnits) and spans is not None, f"{level} without spans"
        return kind(graph, spans)
    if kind.have_neurons:
        assert issubclass(kind, NeuronUnits) and mlp_width is not None, f"{level} of no known number"
        return kind(graph, mlp_width)
    return kind(graph)
