"""Components and their input slots as a DAG; node and edge ids, written once."""

from acdc.graph.anatomy import Anatomy
from acdc.graph.component_graph import ComponentGraph, ReaderGroup
from acdc.graph.ids import Edge, Reader, ReaderKind, Writer, WriterKind

__all__ = ["Anatomy", "ComponentGraph", "Edge", "Reader", "ReaderGroup", "ReaderKind", "Writer", "WriterKind"]
