"""What acdc knows by name: its own, and what other packages add through their entry points."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from acdc.errors import InputError
from acdc.words import did_you_mean


def deferred(place: str) -> Callable[..., Any]:
    """The function at "module:name", imported at its first call: what lists it needs not what it computes with."""

    def call(*values: Any) -> Any:
        return resolve_name(place)(*values)

    return call


class Named(Protocol):
    """What is asked for by its name."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


class Registry(Mapping[str, N], Generic[N]):
    """Everything of one kind by its name: `built_in` is acdc's own, the rest has an entry point in `group`.

    Entry points are loaded at the first lookup, so importing acdc imports no other package. Any lookup raises
    InputError for an entry point that cannot be loaded, is of another kind, or has the name of another.
    """

    def __init__(self, noun: str, group: str, kinds: type[N] | tuple[type[N], ...], built_in: Iterable[N]):
        """`noun`: what one of them is called in messages."""
        self.noun, self.group, self._kinds = noun, group, kinds
        self.built_in: Mapping[str, N] = MappingProxyType({one.name: one for one in built_in})
        self._all: dict[str, N] | None = None
        self._added: dict[str, N] = {}

    def find(self, name: str) -> N:
        """The one of this name. Raises InputError, with the names that are known, where there is none."""
        if name not in self:
            raise InputError(f"{self.noun} {name!r} is not one of {', '.join(self)}{did_you_mean(name, self)}")
        return self[name]

    def add(self, one: N) -> N:
        """Know one of a caller's by its name in this process, in the place of an earlier one that was added. Raises
        InputError for another kind, and for the name of one that acdc or another package has."""
        self._check(one, f"{self.noun} {getattr(one, 'name', one)!r}")
        if one.name in self and one.name not in self._added:
            raise InputError(f"your {self.noun} cannot be called {one.name!r}: acdc has a {self.noun} of that name")
        self._added[one.name] = self._loaded()[one.name] = one
        return one

    def reload(self) -> None:
        """Load the entry points again at the next lookup: packages may have been installed since."""
        self._all = None

    def __getitem__(self, name: str) -> N:
        return self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def _check(self, one: object, place: str) -> None:
        """Raises InputError for what is of another kind."""
        if not isinstance(one, self._kinds):
            kinds = self._kinds if isinstance(self._kinds, tuple) else (self._kinds,)
            raise InputError(f"{place} is no {' or '.join(kind.__name__ for kind in kinds)} but a {type(one).__name__}")

    def _loaded(self) -> dict[str, N]:
        """The built-in ones first, then those of other packages in the order of their entry points' names."""
        if self._all is None:
            found = dict(self.built_in)
            for place, one in self._plugins():
                if one.name in found:
                    raise InputError(f"entry point {place}: the name {one.name!r} is taken")
                found[one.name] = one
            self._all = found | self._added
        return self._all

    def _plugins(self) -> Iterator[tuple[str, N]]:
        """(where it is, what it is) of all entry points of the group."""
        for entry in sorted(entry_points(group=self.group), key=lambda entry: (entry.name, entry.value)):
            try:
                found = entry.load()
            except Exception as error:  # another package may raise anything when it is imported
                raise InputError(f"entry point {entry.value} ({self.group}) cannot be loaded: {error}") from None
            self._check(found, f"entry point {entry.value} ({self.group})")
            yield entry.value, found
