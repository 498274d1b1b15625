"""What a circuit keeps or removes, at each level: edges, nodes, or single coordinates of what nodes write.

One file and one class for each level. All that depends on the level alone is asked of its class (`kind_of`), what also
depends on a model's graph of an object of that class (`units_of`): so no other package has to know which levels exist.
"""

from acdc.graph.component_graph import ComponentGraph
from acdc.graph.units.base import Choice, Listing, Units
from acdc.graph.units.coordinates import CoordinateUnits
from acdc.graph.units.edges import EdgeUnits
from acdc.graph.units.nodes import NodeUnits
from acdc.options import Level

__all__ = ["Choice", "CoordinateUnits", "EdgeUnits", "Listing", "NodeUnits", "Units", "kind_of", "units_of"]

_KINDS: dict[Level, type[Units]] = {kind.level: kind for kind in (EdgeUnits, NodeUnits, CoordinateUnits)}


def kind_of(level: Level) -> type[Units]:
    """The class of a level's units."""
    return _KINDS[level]


def units_of(graph: ComponentGraph, level: Level) -> Units:
    """The units of a level of a graph."""
    return kind_of(level)(graph)
