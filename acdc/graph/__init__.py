"""Components and their input slots as a DAG; node and edge ids, written once."""

from acdc.graph.anatomy import Anatomy
from acdc.graph.component_graph import ATTENTION_SLOTS, ComponentGraph, ReaderGroup
from acdc.graph.ids import (
    Coordinate,
    Edge,
    Neuron,
    Reader,
    ReaderKind,
    WithinHeadEdge,
    Writer,
    WriterKind,
    is_within_head,
)

__all__ = [
    "ATTENTION_SLOTS",
    "Anatomy",
    "ComponentGraph",
    "Edge",
    "Coordinate",
    "Neuron",
    "Reader",
    "ReaderGroup",
    "ReaderKind",
    "WithinHeadEdge",
    "Writer",
    "WriterKind",
    "is_within_head",
]
