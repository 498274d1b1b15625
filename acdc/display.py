"""What notebooks and pictures show of an object: the object asks here, and a package above it draws.

So artefacts and results import nothing of drawing. `acdc/__init__.py` says which function draws what.
"""

from collections.abc import Mapping
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
