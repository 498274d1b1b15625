"""Tensors of safetensors and npz files; large matrices are read by rows, when they are asked for.

A `Matrix` has a row for each feature [F, width]. `Held` is in memory; `Stored` reads the rows that are asked for, so
that a set of features can be larger than memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from acdc.errors import InputError, first_line
from acdc.files import check_ordinary

CPU = torch.device("cpu")
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")
_CONVERT = (
    "python -c \"import torch, safetensors.torch as s; d = torch.load('{name}', map_location='cpu', "
    "weights_only=True); s.save_file({{k: v.contiguous() for k, v in d.items()}}, '{to}')\""
)


def refuse_pickle(path: Path) -> InputError:
    """What to raise for a pickled file."""
    convert = _CONVERT.format(name=path.name, to=path.with_suffix(".safetensors").name)
    return InputError(f"{path} is a pickle, which can run any code and is never loaded: convert it with {convert}")


@dataclass(frozen=True)
class TensorFile:
    """A file with named tensors."""

    path: Path

    def __post_init__(self) -> None:
        """Raises InputError for a pickle, a file that is missing, or one of another kind."""
        if self.path.suffix in PICKLES:
            raise refuse_pickle(self.path)
        if self.path.suffix not in (".safetensors", ".npz"):
            raise InputError(f"{self.path} holds no tensors: .safetensors and .npz files do")
        check_ordinary(self.path)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor by its name."""
        with self._open() as file:
            if self.path.suffix == ".npz":
                return {name: tuple(file[name].shape) for name in file.files}
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def read(self, name: str, *where: slice | int) -> Tensor:
        """A tensor, or a part of it, as it is stored. Raises InputError where it is missing or damaged."""
        if name not in self.shapes:
            raise InputError(f"{self.path} lacks {name!r}")
        with self._open() as file:
            if self.path.suffix == ".npz":
                return torch.from_numpy(np.ascontiguousarray(file[name][where] if where else file[name]))
            found: Tensor = file.get_slice(name)[where] if where else file.get_tensor(name)
            return found

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            if self.path.suffix == ".npz":
                with np.load(self.path, allow_pickle=False) as arrays:
                    yield arrays
            else:
                with safe_open(self.path, "pt") as file:
                    yield file
        except (SafetensorError, OSError, ValueError, TypeError, EOFError) as error:
            raise InputError(f"{self.path} is damaged: {first_line(error)}") from None

    def expect(self, shapes: dict[str, tuple[int, ...]], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Raises InputError for tensors that are missing, of another shape, or transposed."""
        for name, wanted in shapes.items():
            found = self.shapes.get(name)
            if found is None and name not in optional:
                raise InputError(f"{self.path} lacks {name!r}")
            if found is not None and found != wanted:
                turned = " : it is transposed" if found == wanted[::-1] and len(found) == 2 else ""
                raise InputError(f"{self.path}: {name} has shape {list(found)}, not {list(wanted)}{turned}")


class Matrix(Protocol):
    """A row for each feature."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def rows(self, which: Tensor | slice) -> Tensor:
        """Some rows [k, width], in the order in which they are asked for."""


@dataclass(frozen=True, eq=False)
class Held:
    """In memory."""

    values: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def rows(self, which: Tensor | slice) -> Tensor:
        return self.values[which]


@dataclass(frozen=True, eq=False)
class Stored:
    """In a file: tensor `name` [F, width], or [width, F] if `transposed`; of [F, targets, width] the part `part`.

    Rows are multiplied by `scale` [F] where there is one. Raises InputError where numbers are not finite.
    """

    file: TensorFile
    name: str
    dtype: torch.dtype
    device: torch.device
    transposed: bool = False
    part: int | None = None
    scale: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        shape = self.file.shapes[self.name]
        return (shape[1], shape[0]) if self.transposed else (shape[0], shape[-1])

    def rows(self, which: Tensor | slice) -> Tensor:
        if isinstance(which, slice):
            return self._run(*which.indices(self.shape[0])[:2])
        wanted, places = torch.unique(which.cpu(), return_inverse=True)
        out = torch.empty((len(wanted), self.shape[1]), dtype=self.dtype, device=self.device)
        at = 0
        for run in _runs(wanted.tolist()):
            out[at : at + len(run)] = self._run(run.start, run.stop)
            at += len(run)
        return out if torch.equal(places, torch.arange(len(out))) else out[places.to(self.device)]

    def _run(self, start: int, stop: int) -> Tensor:
        run = slice(start, stop)
        if self.part is not None:
            found = self.file.read(self.name, run, self.part)
        elif self.transposed:
            found = self.file.read(self.name, slice(None), run).T
        else:
            found = self.file.read(self.name, run)
        found = found.to(self.device, self.dtype)
        if not found.isfinite().all():
            raise InputError(f"{self.file.path}: {self.name} holds numbers that are not finite")
        return found if self.scale is None else found * self.scale[run, None].to(found)


def _runs(numbers: list[int]) -> Iterator[range]:
    """Rising numbers as ranges without gaps."""
    start = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            yield range(numbers[start], numbers[place - 1] + 1)
            start = place


@dataclass(frozen=True)
class Opening:
    """How tensors are held: of which type, where, and in at most how many bytes altogether, None for as many as there
    are. A set of features that needs more is read by rows."""

    dtype: torch.dtype = torch.float32
    device: torch.device = CPU
    memory: int | None = None
    size: int = 0  # of the whole set in bytes

    @property
    def by_rows(self) -> bool:
        return self.memory is not None and self.size > self.memory

    @property
    def block(self) -> int:
        """Bytes of rows that are read at once."""
        return 2**26 if self.memory is None else max(1, self.memory // 4)

    def vector(self, file: TensorFile, name: str) -> Tensor:
        """A small tensor, in memory. Raises InputError where it holds numbers that are not finite."""
        found = file.read(name).to(self.device, self.dtype)
        if not found.isfinite().all():
            raise InputError(f"{file.path}: {name} holds numbers that are not finite")
        return found

    def matrix(
        self,
        file: TensorFile,
        name: str,
        *,
        transposed: bool = False,
        part: int | None = None,
        scale: Tensor | None = None,
    ) -> Matrix:
        if self.by_rows and file.path.suffix == ".npz":
            raise InputError(
                f"{file.path}: arrays of .npz files are read as a whole, which --memory does not allow: convert it "
                "with 'acdc dictionaries FOLDER --write sae-lens --out OTHER', which needs the memory once"
            )
        stored = Stored(file, name, self.dtype, self.device, transposed, part, scale)
        return stored if self.by_rows else Held(stored.rows(slice(None)).contiguous())
