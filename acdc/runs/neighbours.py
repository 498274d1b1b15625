"""What a unit reads from and writes to in a run: edges of its component in a circuit, or links of a graph."""

from pathlib import Path

from acdc.artefacts.attribution.store import is_trace, load_graph
from acdc.errors import InputError
from acdc.explain.explain import Neighbour
from acdc.runs.finished import open_run


def neighbours_in(run: Path, unit: str, kind: str, most: int = 10) -> tuple[Neighbour, ...]:
    """The strongest in each direction. Raises InputError where the run does not have the unit."""
    found = _in_graph(run, unit) if is_trace(run) else _in_circuit(run, unit)
    if not found:
        raise InputError(f"--run {run} does not have {unit}: it is not in its circuit")
    ordered = sorted(found, key=lambda one: (one.direction, -abs(one.score), one.id))
    kept: dict[str, list[Neighbour]] = {}
    for one in ordered:
        kept.setdefault(one.direction, []).append(one)
    return tuple(one for some in kept.values() for one in some[:most])


def _in_circuit(run: Path, unit: str) -> list[Neighbour]:
    component = unit.split(".")[0] if unit.startswith("m") else unit
    found = []
    for edge in open_run(run).circuit.links:
        sender, _, reader = edge.id.partition("->")
        if sender == component:
            found.append(Neighbour("writes to", reader, edge.score))
        if reader.partition("<")[0] == component:
            found.append(Neighbour("reads from", sender, edge.score))
    return found


def _in_graph(run: Path, unit: str) -> list[Neighbour]:
    graph = load_graph(run)
    found = []
    for link in graph.links(graph.prune()):
        if link.source.id.partition("@")[0] == unit:
            found.append(Neighbour("writes to", link.target.id, link.weight))
        if link.target.id.partition("@")[0] == unit:
            found.append(Neighbour("reads from", link.source.id, link.weight))
    return found
