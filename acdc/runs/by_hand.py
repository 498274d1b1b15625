"""Circuits that are written by hand: edges by their ids, without a search."""

from collections.abc import Mapping, Sequence
from typing import Any

from acdc.artefacts.circuit import Circuit, ImportRecord
from acdc.artefacts.codecs import ForeignGraph
from acdc.artefacts.digests import digest
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.runs.importing import import_circuit
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Task

BY_HAND = "by hand"


def circuit_of(model: Model, task: Task, edges: Sequence[str], settings: Mapping[str, Any]) -> Circuit:
    """See `Circuit.of`."""
    if repeated := sorted({name for name in edges if list(edges).count(name) > 1}):
        raise InputError(f"edge {repeated[0]} is given twice")
    found = ForeignGraph(edges=dict.fromkeys(edges))
    record = ImportRecord(format=BY_HAND, content_hash=digest("\n".join(edges).encode()), lost=[])
    try:
        chosen = DiscoverySettings(**settings)
    except TypeError as error:
        raise InputError(f"a circuit written by hand has no such setting: {error}") from None
    return import_circuit(model, task, chosen, found, record, "edges").circuit
