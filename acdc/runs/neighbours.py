"""What a unit reads from and writes to in a run: edges of its component in a circuit, or links of a graph."""

from dataclasses import replace
from pathlib import Path

from acdc.artefacts.attribution.store import is_trace, load_graph
from acdc.artefacts.feature_circuit import FeatureCircuitRecord, is_feature_circuit
from acdc.errors import InputError
from acdc.explanation.explain import Neighbour
from acdc.options import Level
from acdc.runs.finished import open_run


def neighbours_in(run: Path, unit: str, kind: str, most: int = 10) -> tuple[Neighbour, ...]:
    """The strongest in each direction. Raises InputError where the run does not have the unit."""
    look = _in_graph if is_trace(run) else _in_features if is_feature_circuit(run) else _in_circuit
    found = look(run, unit)
    if found is None:
        raise InputError(f"--run {run} does not have {unit}: it is not in its circuit")
    ordered = sorted(found, key=lambda one: (one.direction, -abs(one.score or 0.0), one.id, one.input))
    kept: dict[str, list[Neighbour]] = {}
    for one in ordered:
        kept.setdefault(one.direction, []).append(one)
    return tuple(replace(one, among=len(some)) for some in kept.values() for one in some[:most])


def _in_features(run: Path, unit: str) -> list[Neighbour] | None:
    """None where the circuit does not have the feature."""
    circuit = FeatureCircuitRecord.load(run)
    if unit not in {node.id.partition("@")[0] for node in circuit.nodes}:
        return None
    found = []
    for edge in circuit.edges:
        if edge.source.partition("@")[0] == unit:
            found.append(Neighbour("writes to", edge.target, edge.effect))
        if edge.target.partition("@")[0] == unit:
            found.append(Neighbour("reads from", edge.source, edge.effect))
    return found


def _in_circuit(run: Path, unit: str) -> list[Neighbour] | None:
    component = unit.split(".")[0] if unit.startswith("m") else unit
    circuit, found = open_run(run).circuit, []
    scored = Level.nodes not in circuit.units.lists
    for edge in circuit.links:
        sender, _, reader = edge.id.partition("->")
        score = edge.score if scored else None
        if sender == component:
            found.append(Neighbour("writes to", reader, score))
        name, _, port = reader.partition("<")
        if name == component:
            found.append(Neighbour("reads from", sender, score, port.removesuffix(">")))
    return found or None


def _in_graph(run: Path, unit: str) -> list[Neighbour] | None:
    graph = load_graph(run)
    found = []
    for link in graph.links(graph.prune()):
        if link.source.id.partition("@")[0] == unit:
            found.append(Neighbour("writes to", link.target.id, link.weight))
        if link.target.id.partition("@")[0] == unit:
            found.append(Neighbour("reads from", link.source.id, link.weight))
    return found or None
