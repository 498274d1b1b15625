"""Circuits that are written by hand: edges by their ids, without a search."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from acdc.artefacts.circuit import BY_HAND, Circuit, ImportRecord, ScoredEdge
from acdc.artefacts.codecs import ForeignGraph
from acdc.artefacts.digests import digest
from acdc.errors import AcdcWarning, InputError
from acdc.model.load import Model
from acdc.render.size import size_notes
from acdc.runs.importing import import_circuit
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Task

Edges = Mapping[str, float] | Iterable[str | tuple[str, str] | ScoredEdge]


def circuit_of(model: Model, task: Task, edges: Edges, settings: Mapping[str, Any]) -> Circuit:
    """See `Circuit.of`."""
    found = scored_edges(edges)
    written = "\n".join(name if score is None else f"{name} {score!r}" for name, score in found.items())
    record = ImportRecord(format=BY_HAND, content_hash=digest(written.encode()), lost=[])
    try:
        chosen = DiscoverySettings(**settings)
    except TypeError as error:
        raise InputError(f"a circuit written by hand has no such setting: {error}") from None
    circuit = import_circuit(model, task, chosen, ForeignGraph(edges=found), record, "edges").circuit
    for note in size_notes(circuit):
        warnings.warn(note, AcdcWarning, stacklevel=4)
    return circuit


def scored_edges(edges: Edges) -> dict[str, float | None]:
    """Scores by id, None where none is given. Raises InputError for what is no edge, and for one that is given
    twice."""
    if isinstance(edges, str):
        raise InputError(f"edges {edges!r} is one text: give a list of ids")
    found: dict[str, float | None] = {}
    for one in edges.items() if isinstance(edges, Mapping) else map(_scored, edges):
        name, score = one
        if name in found:
            raise InputError(f"edge {name} is given twice")
        found[name] = None if score is None else float(score)
    return found


def _scored(edge: object) -> tuple[str, float | None]:
    match edge:
        case str():
            return edge, None
        case ScoredEdge():
            return edge.id, edge.score
        case (str() as writer, str() as reader):
            return f"{writer}->{reader}", None
    raise InputError(f'edge {edge!r} is none: give an id such as "a3.h2->logits", or a pair ("a3.h2", "logits")')
