"""How a circuit is to be drawn: where its components stand, what groups its heads, and what is written around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.roles import UNCLEAR, head_roles
from acdc.artefacts.verification.report import Report
from acdc.errors import InputError
from acdc.options import Colouring, Detail, Grouping, Legend
from acdc.words import did_you_mean


@dataclass(frozen=True)
class Look:
    """`fixed`: every component of the model has its own place (layer by row, head by column), whatever edges there are;
    otherwise a circuit is laid out by itself. `roles`: by head id; heads of one role stand together inside their layer,
    or where places are fixed, have the role's colour. `landscape`: layers run to the right instead of down. `names`: by
    component id, what is written instead of the id. `stacked`: a summary has its paths below its map."""

    fixed: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)
    detail: Detail = Detail.auto
    landscape: bool = False
    legend: Legend = Legend.right
    title: bool = True
    colours: Colouring = Colouring.input
    names: Mapping[str, str] = field(default_factory=dict)
    stacked: bool = False

    def __post_init__(self) -> None:
        if self.fixed and self.landscape:
            raise InputError("--landscape and --fixed do not go together: with fixed places layers run downwards")

    @property
    def places(self) -> bool:
        """Whether it asks for certain places of components, which only a picture of all edges has."""
        return self.fixed or bool(self.roles)


PLAIN = Look()


def choose_look(
    circuit: Circuit, fixed: bool = False, group: str = Grouping.layer, report: Report | None = None, **around: Any
) -> Look:
    """`around`: `detail`, `landscape`, `legend`, `title`, `colours` and `names` of a `Look`, and `roles` that
    come before those of the report.

    Raises InputError for an unknown grouping or value, and for a grouping by role where nothing says what heads do.
    """
    if group not in set(Grouping):
        raise InputError(f"group {group!r} is not one of {', '.join(Grouping)}")
    known = {one.name for one in fields(Look)} - {"fixed"}
    if unknown := next((name for name in around if name not in known), None):
        raise InputError(f"a picture has no option {unknown!r}{did_you_mean(unknown, sorted(known))}")
    for name, kind in (("detail", Detail), ("legend", Legend), ("colours", Colouring)):
        if name in around:
            if around[name] not in set(kind):
                raise InputError(f"{name} {around[name]!r} is not one of {', '.join(kind)}")
            around[name] = kind(around[name])
    if group == Grouping.layer:
        around.pop("roles", None)
        return Look(fixed, **around)
    given = around.pop("roles", {})
    roles = (head_roles(circuit, report) if report is not None or not given else {}) | given
    return Look(fixed, {name: role for name, role in roles.items() if role != UNCLEAR}, **around)
