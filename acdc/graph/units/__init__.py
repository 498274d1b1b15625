"""What a circuit keeps or removes, at each level: edges, nodes, single coordinates of what nodes write, or edges at
single spans of the prompts.

One file and one class for each level. All that depends on the level alone is asked of its class (`kind_of`), what also
depends on a model's graph of an object of that class (`units_of`): so no other package has to know which levels exist.
"""

from acdc.graph.component_graph import ComponentGraph
from acdc.graph.task_spans import TaskSpans
from acdc.graph.units.base import Choice, Listing, Units
from acdc.graph.units.coordinates import CoordinateUnits
from acdc.graph.units.edges import EdgeUnits
from acdc.graph.units.nodes import NodeUnits
from acdc.graph.units.positions import PositionUnits
from acdc.options import Level

__all__ = [
    "Choice",
    "CoordinateUnits",
    "EdgeUnits",
    "Listing",
    "NodeUnits",
    "PositionUnits",
    "Units",
    "kind_of",
    "units_of",
]

_KINDS: dict[Level, type[Units]] = {kind.level: kind for kind in (EdgeUnits, NodeUnits, CoordinateUnits, PositionUnits)}


def kind_of(level: Level) -> type[Units]:
    """The class of a level's units."""
    return _KINDS[level]


def units_of(graph: ComponentGraph, level: Level, spans: TaskSpans | None = None) -> Units:
    """The units of a level of a graph; `spans`: those of the prompts, which levels that `have_spans` need."""
    kind = kind_of(level)
    if not kind.have_spans:
        return kind(graph)
    assert issubclass(kind, PositionUnits) and spans is not None, f"{level} without spans"
    return kind(graph, spans)
