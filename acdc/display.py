"""What notebooks and pictures show of an object: the object asks here, and a package above it draws.

So artefacts and results import nothing of drawing. `acdc/__init__.py` says which function draws what.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

_drawn_by: dict[str, str] = {}


def provide(functions: Mapping[str, str]) -> None:
    """Say which function, as `module:name`, draws what. Its module is imported when it is first asked for."""
    _drawn_by.update(functions)


def show(what: str, *shown: Any) -> Any:
    """What the function that draws `what` makes of some objects."""
    module, name = _drawn_by[what].split(":")
    return getattr(import_module(module), name)(*shown)


class Tabled:
    """What notebooks show in one line and a table, and what gives the table as a data frame."""

    def summary(self) -> str:
        """What it is, in few words."""
        raise NotImplementedError

    def table(self) -> Iterable[Mapping[str, Any]]:
        """Its rows, each with the same columns."""
        raise NotImplementedError

    def to_dataframe(self) -> Any:
        """The rows of its table. Raises InputError without pandas."""
        return show("rows as data frame", self.table())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return str(show("rows as HTML", repr(self), self.table()))
