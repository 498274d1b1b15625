"""Batches of rows on the device, and the runs of their prompts, of which only so much is held at once.

Every component's output on every row is what a search reads most and what takes most memory. Runs are kept while they
fit a number of bytes; the others are computed again whenever they are asked for, by the same operations, so that
results do not depend on what is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, overload

import torch
from torch import Tensor

from acdc.execution.executor import Trace
from acdc.task.metrics import RowBatch
from acdc.task.rows import Row

KEPT_BYTES = 512 * 2**20  # of runs in host memory
KEPT_SHARE = 0.5  # of the memory that is free on another device
HOST_SHARE = 0.25  # of free host memory, where a search reads all runs at every test; shared by the workers there
_workers = 1

T = TypeVar("T")


class RunCache(Generic[T]):
    """Values by number, made when asked for. The first that fit into so many bytes stay; of the others the last."""

    def __init__(self, make: Callable[[int], T], size: Callable[[T], int], budget: float):
        self._make, self._size, self._budget = make, size, budget
        self.clear()

    def grow(self, budget: float) -> float:
        """Keep what fits into so many bytes, if these are more than now; gives how many it is then."""
        if budget > self._budget:
            self._left += budget - self._budget
            self._budget = budget
            self._too_large.clear()
        return self._budget

    def clear(self) -> None:
        """Let go of all values; they are recomputed when asked for."""
        self._left = self._budget
        self._kept: dict[int, T] = {}
        self._last: tuple[int, T] | None = None
        self._too_large: set[int] = set()

    def get(self, place: int) -> T:
        if place in self._kept:
            return self._kept[place]
        if self._last is not None and self._last[0] == place:
            return self._last[1]
        self._last = None  # let go of it before the next takes as much
        value = self._make(place)
        size = self._size(value)
        if size <= self._left and place not in self._too_large:
            self._left -= size
            self._kept[place] = value
        else:
            self._too_large.add(place)
            self._last = place, value
        return value


class Cached(Sequence[T]):
    """The values of a cache as a sequence of known length."""

    def __init__(self, cache: RunCache[T], length: int):
        self._cache, self._length = cache, length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self._cache.get(i) for i in range(*place.indices(self._length))]
        return self._cache.get(range(self._length)[place])


@dataclass(frozen=True)
class Pairing:
    """How corrupted prompts correspond to clean ones: `weights` [rows, positions, corrupted positions], by which what
    is at the latter stands for what is at the former, and `positions`, those of the answers as in a `Batch`."""

    weights: Tensor
    positions: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], tokens: Tensor, corrupted: Tensor | None) -> "Pairing | None":
        """None where all rows are paired position by position."""
        paired = [row.pairing for row in rows]
        if corrupted is None or not any(paired):
            return None
        positions = as_positions([row.corrupted_positions for row in rows], tokens.device)
        return cls(pairing_weights(rows, paired, (tokens.shape[1], corrupted.shape[1]), tokens.device), positions)

    def part(self, rows: slice) -> "Pairing":
        return Pairing(self.weights[rows], self.positions[rows])

    def placed(self, values: Tensor) -> Tensor:
        """Values [..., rows, corrupted positions, d] where the clean prompts have them, [..., rows, positions, d]."""
        return torch.einsum("npq,...nqd->...npd", self.weights.to(values), values)

    def place(self, trace: Trace) -> Trace:
        """A run of the corrupted prompts with everything where the clean prompts have it."""
        placed, whole = self.placed, self.placed(trace.values)
        sizes = [len(block) for block in trace.blocks]
        return Trace(
            trace.logits,
            torch.split(whole, sizes),
            tuple(map(placed, trace.residuals)),
            tuple(map(placed, trace.projections)),
            whole,
        )


def pairing_weights(
    rows: Sequence[Row],
    paired: Sequence[tuple[tuple[int, ...], ...] | None],
    lengths: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """Float64 [rows, *lengths] of means over the positions that stand for each one; None stands for the same ones."""
    weights = torch.zeros(len(rows), *lengths, device=device, dtype=torch.float64)
    for place, (row, sources) in enumerate(zip(rows, paired, strict=True)):
        for position, there in enumerate(sources or ((at,) for at in range(len(row.clean)))):
            weights[place, position, list(there)] = 1 / len(there)
    return weights


def as_positions(positions: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Positions of the answers of rows, which all have as many: [rows], or where there are several [rows, answers]."""
    found = torch.tensor(positions, device=device)
    return found[:, 0] if found.shape[1] == 1 else found


@dataclass(frozen=True)
class Batch:
    """Rows on the device, padded to one length, and all of as many answers; `index` are their places in the behaviour,
    `clean` the plain run of their clean prompts, which may be computed anew when it is read. `corrupted`: None where a
    row has no such prompt. `positions` of answers: [rows], or of several in each row [rows, answers]. `pairing`: None
    where all corrupted prompts correspond to the clean ones position by position."""

    index: tuple[int, ...]
    rows: tuple[Row, ...]
    tokens: Tensor
    corrupted: Tensor | None
    positions: Tensor
    answers: RowBatch
    run_clean: Callable[[], Trace] = field(repr=False)
    pairing: Pairing | None = None

    @property
    def clean(self) -> Trace:
        return self.run_clean()

    def halves(self) -> "tuple[Batch, Batch]":
        """Its first and its second half, as views."""
        middle = len(self.index) // 2
        return self._part(slice(None, middle)), self._part(slice(middle, None))

    def _part(self, rows: slice) -> "Batch":
        corrupted = None if self.corrupted is None else self.corrupted[rows]
        return Batch(
            self.index[rows],
            self.rows[rows],
            self.tokens[rows],
            corrupted,
            self.positions[rows],
            self.answers.part(rows),
            lambda: self.clean.part(rows),
            self.pairing and self.pairing.part(rows),
        )


def share_host_memory(workers: int) -> None:
    """Tell this process that up to so many workers like it are on this machine."""
    global _workers
    _workers = workers


def budget_on(kind: str, free: int | None, rereads: bool = False) -> float:
    """Bytes of runs that a behaviour may keep on a device of a kind, `cpu` or `cuda`, with so many `free` bytes.
    `rereads`: whether all runs are read at every test, which is slow where they are computed each time."""
    share = KEPT_SHARE if kind != "cpu" else HOST_SHARE / _workers if rereads else 0.0
    return KEPT_BYTES if free is None else max(KEPT_BYTES, share * free)
