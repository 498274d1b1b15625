"""What methods are tried on: a model, a task, and where it is known, the true circuit under each ablation."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from acdc.errors import InputError
from acdc.task.rows import Task

if TYPE_CHECKING:
    from acdc.benchmark.truth import Truth
    from acdc.model.load import Model


class Unavailable(InputError):
    """A case whose model cannot be had here and now; it is reported as such, never left out."""


@dataclass(frozen=True)
class PreparedCase:
    """A case that is ready to be tried. `truths`: by ablation, None where the circuit is not known. `accuracy`: share
    of the task's rows for which the model says what its program does, None without a program."""

    model: "Model"
    task: Task
    truths: Mapping[str, "Truth | None"]
    split_embeddings: bool = False
    accuracy: float | None = None


def content(*paths: Path) -> str:
    """A hash of files, and of all files in folders, by their names; of what is not there, the same for ever."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(file.name.encode())
                with file.open("rb") as opened:
                    digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


class Case(Protocol):
    """`name` is unique within `suite`; `identity` says everything that the case depends on, files by their content.
    Cases of one `variant` of a suite are averaged together."""

    @property
    def suite(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def variant(self) -> str | None: ...

    @property
    def ablations(self) -> tuple[str, ...]: ...

    @property
    def identity(self) -> str: ...

    def prepare(self, folder: Path, device: str, dtype: str | None) -> PreparedCase:
        """Make it ready; models that have to be made are written into `folder`. `dtype`: None for its own. Raises
        Unavailable."""


@runtime_checkable
class HasPositions(Protocol):
    """A case that also knows which position reads which."""

    @property
    def at_positions(self) -> Case:
        """The same case over edges at positions."""


@dataclass(frozen=True)
class Suite:
    """Cases under a name, made with the folder of data that the user names, if any; other packages have theirs in entry
    points of the group `acdc.suites`."""

    name: str
    summary: str
    cases: Callable[[Path | None], Sequence[Case]]
