"""How a task is named: a bundled one, a file, or a data set, with what the user says of its columns."""

import re
from dataclasses import dataclass
from pathlib import Path

from acdc.errors import InputError
from acdc.files import existing_path
from acdc.task.eap_ig import Said

PREFIX = "hf:"
_DATA_SET = re.compile(r"hf:(?P<place>[^:@]+)(?P<rest>(?::(?P<split>[\w.-]+))?(?:@(?P<said>\w+(?:=\w*)?))?)")
_FILE = re.compile(r"(?P<place>.+)(?P<rest>@(?P<said>\w+=\w*))", re.DOTALL)


@dataclass(frozen=True)
class TaskName:
    """What a name says. `place`: a bundled name, a path, or a name on the hub; `rest`: all after it. `path`: where it
    is on this machine; None where it is not. `counterfactual`: MIB's column of corrupted prompts."""

    text: str
    place: str
    rest: str
    path: Path | None
    split: str | None = None
    counterfactual: str | None = None
    said: Said | None = None

    @classmethod
    def parse(cls, text: str, folder: Path = Path()) -> "TaskName":
        """A relative path is relative to `folder`. Raises InputError for what is no name of a data set, and for what is
        said of no column."""
        if not is_data_set(text):
            path = _there(text, folder)
            found = None if path else _FILE.fullmatch(text)
            if not found:
                return cls(text, text, "", path)
            place = found["place"]
            return cls(text, place, found["rest"], _there(place, folder), said=Said.parse(found["said"]))
        found = _DATA_SET.fullmatch(text)
        if not found:
            raise InputError(f"data set {text!r} is not written hf:NAME[/CONFIG][:SPLIT][@COUNTERFACTUAL]")
        place, said = found["place"], found["said"]
        column = Said.parse(said) if said and "=" in said else None
        path = _there(place, folder)
        return cls(text, place, found["rest"], path, found["split"], None if column else said, column)

    @property
    def label(self) -> str:
        """What a task of a data set is called."""
        name = self.path.resolve().stem if self.path else self.place.split("/", 1)[-1]
        return f"{name}-{self.split}" if self.split else name

    def at(self, place: str) -> str:
        """The name with another place, such as an absolute path."""
        return f"{PREFIX if is_data_set(self.text) else ''}{place}{self.rest}"


def is_data_set(name: str) -> bool:
    return name.startswith(PREFIX)


def _there(place: str, folder: Path) -> Path | None:
    return existing_path(place if place.startswith("~") or not place else str(folder / place))
