"""How a circuit is to be drawn: where its components stand, and what groups its heads."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.roles import UNCLEAR, head_roles
from acdc.artefacts.verification.report import Report
from acdc.errors import InputError
from acdc.options import Grouping


@dataclass(frozen=True)
class Look:
    """`fixed`: every component of the model has its own place (layer by row, head by column), whatever edges there are;
    otherwise a circuit is laid out by itself. `roles`: by head id; heads of one role stand together inside their layer,
    or where places are fixed, have the role's colour."""

    fixed: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)


PLAIN = Look()


def choose_look(
    circuit: Circuit, fixed: bool = False, group: str = Grouping.layer, report: Report | None = None
) -> Look:
    """Raises InputError for an unknown grouping, and for one by role where the report does not say what heads do."""
    if group not in set(Grouping):
        raise InputError(f"group {group!r} is not one of {', '.join(Grouping)}")
    if group == Grouping.layer:
        return Look(fixed)
    roles = head_roles(circuit, report)
    return Look(fixed, {name: role for name, role in roles.items() if role != UNCLEAR})
