"""Names and roles that a reader gives to the components of a run's circuit, in a file of their own beside it.

`names.json` is never written by a run: it is the reader's, who may edit it in the report too. Every page and picture of
the run that is made later has what it says. Roles in it come before those that verification hints at.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.files import is_there, parse_model, read_model, write_json

FILE_NAME = "names.json"
LONGEST = 40  # characters


class Names(BaseModel):
    """By component id: a `name` that is shown with it, and the role that it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: dict[str, str] = {}
    roles: dict[str, str] = {}


NO_NAMES = Names()


def load_names(folder: Path, circuit: Circuit) -> Names:
    """Those beside a run; none where there is no such file. Raises InputError for a file that is damaged, for ids that
    are no components of the circuit's graph, and for texts that are empty or too long for a label."""
    path = folder / FILE_NAME
    if not is_there(path):
        return NO_NAMES
    return _checked(read_model(Names, path, "a file of names of acdc"), circuit, path)


def keep_names(folder: Path, circuit: Circuit, text: str) -> None:
    """Write what a reader sends, as JSON, beside a run. Raises InputError as `load_names` does, and then writes
    nothing."""
    path = folder / FILE_NAME
    found = _checked(parse_model(Names, text.encode(), path, "a file of names of acdc"), circuit, path)
    write_json(path, found.model_dump(mode="json"))


def _checked(found: Names, circuit: Circuit, path: Path) -> Names:
    known = {writer.id for writer in circuit.graph.writers}
    for id, text in (*found.names.items(), *found.roles.items()):
        if id not in known:
            raise InputError(f"{path}: {id!r} is no component of {circuit.model.name}")
        if not text.strip() or len(text) > LONGEST:
            raise InputError(f"{path}: the text for {id} must have 1 to {LONGEST} characters")
    return found
