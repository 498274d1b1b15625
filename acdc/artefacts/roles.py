"""Circuits of different models side by side, through what their components do.

A head's role is where most of its attention goes, an MLP's the third of the layers that it is in. Two circuits share an
edge of roles where each has an edge between components of these, into the same kind of slot.
"""

from collections import defaultdict

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.comparison import Overlap
from acdc.artefacts.verification.report import Report
from acdc.errors import InputError
from acdc.graph import Edge, ReaderKind, Writer, WriterKind

UNCLEAR = "attends to no one place"
THIRDS = ("early MLP", "middle MLP", "late MLP")


class RoleComparison(BaseModel):
    """`components`: ids by role in either circuit; `edges`: edges of roles that they share."""

    model_config = ConfigDict(frozen=True)

    components: dict[str, tuple[list[str], list[str]]]
    roles: Overlap
    edges: Overlap


def compare_roles(first: Circuit, first_report: Report, second: Circuit, second_report: Report) -> RoleComparison:
    """Raises InputError for a circuit whose heads have not been looked at, which `acdc verify` does."""
    ours, theirs = _roles(first, first_report), _roles(second, second_report)
    components: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, found in enumerate((ours, theirs)):
        for name, role in sorted(found.items()):
            components[role][side].append(name)
    edges = (_edges(first, ours), _edges(second, theirs))
    return RoleComparison(
        components=dict(sorted(components.items())),
        roles=Overlap.of(set(ours.values()), set(theirs.values())),
        edges=Overlap.of(*edges),
    )


def head_roles(circuit: Circuit, report: Report | None) -> dict[str, str]:
    """Role of every head that an edge of the circuit leads out of, by its id, as verification hints at it. Raises
    InputError where it does not."""
    hints = (
        {hint.id: hint.label or UNCLEAR for hint in report.full_verification.hints}
        if report and report.full_verification
        else {}
    )
    heads = [name for name, writer in _writers(circuit).items() if writer.kind is WriterKind.HEAD]
    for name in heads:
        if name not in hints:
            raise InputError(
                f"the circuit of {circuit.task.name} in {circuit.model.name} has heads, such as {name}, of which it is "
                "not known what they attend to: a full verification of a circuit of edges finds that out (acdc verify "
                "RUN)"
            )
    return {name: hints[name] for name in heads}


def _writers(circuit: Circuit) -> dict[str, Writer]:
    return dict(sorted((edge.writer.id, edge.writer) for edge in (Edge.parse(scored.id) for scored in circuit.links)))


def _roles(circuit: Circuit, report: Report) -> dict[str, str]:
    """Role of every component that an edge of the circuit leads out of."""
    heads = head_roles(circuit, report)
    return {name: _role(circuit, writer, heads) for name, writer in _writers(circuit).items()}


def _role(circuit: Circuit, writer: Writer, heads: dict[str, str]) -> str:
    if writer.kind is WriterKind.HEAD:
        return heads[writer.id]
    if writer.kind is WriterKind.MLP:
        return THIRDS[3 * writer.layer // circuit.graph.anatomy.n_layers]
    return "embedding"


def _edges(circuit: Circuit, roles: dict[str, str]) -> set[str]:
    """Edges of roles, with the kind of slot that they lead into."""
    found = set()
    for edge in (Edge.parse(scored.id) for scored in circuit.links):
        owners = [owner.id for owner in circuit.graph.owners(edge.reader) if owner.id in roles]
        targets = {roles[owner] for owner in owners} or {ReaderKind.LOGITS.value}
        found |= {f"{roles[edge.writer.id]} -> {target} ({edge.reader.kind.value})" for target in targets}
    return found
