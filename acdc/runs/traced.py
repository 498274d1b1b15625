"""A trace as it lies on disk: its graph and what was measured of it. Reading it needs no torch."""

from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.store import load_graph
from acdc.artefacts.attribution.verification import FILE_NAME as VERIFICATION
from acdc.artefacts.attribution.verification import GraphVerification
from acdc.artefacts.digests import read_artefact
from acdc.files import is_there

PAGE = "attribution.html"


@dataclass(frozen=True)
class FinishedTrace:
    """A run directory, or a file with a graph, and what is known of it."""

    path: Path
    graph: AttributionGraph
    pruning: Pruning
    verification: GraphVerification | None
    resumed: bool


def read_verification(path: Path) -> GraphVerification | None:
    """A trace's verification, None where there is none. Raises InputError for a damaged one."""
    if not path.is_dir() or not is_there(path / VERIFICATION):
        return None
    return read_artefact(GraphVerification, path / VERIFICATION, "the verification of an attribution graph")


def open_trace(path: Path) -> FinishedTrace:
    """A trace as it is on disk, or the graph in a file. Raises InputError for what is neither."""
    graph = load_graph(path)
    return FinishedTrace(path, graph, graph.prune(), read_verification(path), resumed=True)
