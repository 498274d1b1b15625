"""The settings files of dictionaries: JSON or YAML with one object, of whose keys readers ask for what they know."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc.errors import InputError, first_line
from acdc.files import read_bytes, read_json


@dataclass(frozen=True)
class Config:
    """A file's settings, with the types that readers ask for. All raise InputError, naming the file and the key."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def of_json(cls, path: Path) -> "Config":
        return cls._of(path, read_json(path))

    @classmethod
    def of_yaml(cls, path: Path) -> "Config":
        import yaml

        try:
            found = yaml.safe_load(read_bytes(path, 2**20).decode("utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"{path} is damaged: not valid YAML ({first_line(error)})") from None
        return cls._of(path, found)

    @classmethod
    def _of(cls, path: Path, values: Any) -> "Config":
        if not isinstance(values, dict):
            raise InputError(f"{path} does not hold an object of settings")
        return cls(path, values)

    def text(self, key: str, default: str | None = None) -> str:
        found = self._get(key, default)
        if not isinstance(found, str):
            raise InputError(f"{self.path}: {key!r} is not a text")
        return found

    def optional_text(self, key: str) -> str | None:
        return None if self.values.get(key) is None else self.text(key)

    def one_of(self, key: str, known: Collection[str], default: str | None = None) -> str:
        found = self.text(key, default)
        if found not in known:
            raise InputError(f"{self.path}: {key} {found!r} is not supported: {', '.join(sorted(known))} are")
        return found

    def count(self, key: str, default: int | None = None) -> int:
        found = self._get(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or found != int(found) or found < 1:
            raise InputError(f"{self.path}: {key!r} is not a whole number above 0")
        return int(found)

    def flag(self, key: str, default: bool) -> bool:
        found = self.values.get(key)
        found = default if found is None else found
        if not isinstance(found, bool):
            raise InputError(f"{self.path}: {key!r} is neither true nor false")
        return found

    def part(self, key: str) -> "Config":
        """The object at a key; an empty one where there is none."""
        return self._of(self.path, self.values.get(key) or {})

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def _get(self, key: str, default: Any) -> Any:
        found = self.values.get(key, default)
        if found is None:
            raise InputError(f"{self.path} lacks {key!r}")
        return found
