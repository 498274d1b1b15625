"""What other packages add to acdc, found through their entry points."""

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Protocol, TypeVar

from acdc.errors import InputError

T = TypeVar("T")


class Named(Protocol):
    """What is asked for by its name."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def load_named(group: str, kinds: type[N] | tuple[type[N], ...], own: Mapping[str, N]) -> dict[str, N]:
    """acdc's own of some kinds and those of a group's entry points, by name.

    Raises InputError for an entry point that has the name of another, or is refused by `load_entry_points`.
    """
    found = dict(own)
    for entry, one in load_entry_points(group, kinds):
        if one.name in found:
            raise InputError(f"entry point {entry}: the name {one.name!r} is taken")
        found[one.name] = one
    return found


def load_entry_points(group: str, kinds: type[T] | tuple[type[T], ...]) -> Iterator[tuple[str, T]]:
    """(where it is, what it is) of all entry points of a group, in the order of their names.

    Raises InputError for one that cannot be imported, or is of none of these kinds.
    """
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        try:
            found = entry.load()
        except Exception as error:  # what a package of somebody else does when imported is not ours to know
            raise InputError(f"entry point {entry.value} ({group}) cannot be loaded: {error}") from None
        if not isinstance(found, kinds):
            names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
            raise InputError(f"entry point {entry.value} ({group}) is no {names} but a {type(found).__name__}")
        yield entry.value, found
