"""Dry runs: run code on tensors with shapes but no data, and count operations, their FLOPs and memory.

What a method costs is counted by running the method itself, so that the count cannot fall out of step with the code.
Nothing is computed and nothing is held: a model of 70 billion weights is as light as its configuration.
"""

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Private: tensors with shapes and devices but no contents, and the type of the operations that a dispatch mode sees.
# A meta tensor knows no device, and a model on several would lose where its layers are.
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from acdc.execution.products import LINEAR, WORTHWHILE_FLOPS

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm: (0, 1), _aten.bmm: (0, 1), _aten.addmm: (1, 2), _aten.baddbmm: (1, 2)}  # places of the factors
_CURVED = {
    getattr(_aten, name + backward)
    for name in ("gelu", "silu", "sigmoid", "tanh", "_softmax", "_log_softmax")
    for backward in ("", "_backward" if not name.startswith("_") else "_backward_data")
} | {_aten.silu_, _aten.exp, _aten.log, _aten.pow, _aten.log_sigmoid_forward}


class Kind(StrEnum):
    """Operations that a machine does at different rates."""

    linear = "linear"  # products with fixed weights through oneDNN
    matrix = "matrix"  # other products of large matrices
    half = "half"  # those of numbers of 16 bits
    small = "small"  # products of matrices too small to reach the rate of large ones
    curved = "curved"  # exponentials and the like, element by element
    plain = "plain"  # everything else that reads and writes tensors
    view = "view"  # what moves nothing


@dataclass(frozen=True)
class Operation:
    """One tensor operation: FLOPs of its products, and bytes that it reads and writes."""

    kind: Kind
    flops: int
    bytes: int


@dataclass
class CostTracker:
    """What was run: operations by how often, backward passes, and bytes of tensors that are live, now and at most.

    `whole_number` is what reading a whole number from a tensor without contents gives.
    """

    operations: Counter[Operation] = field(default_factory=Counter)
    backwards: int = 0
    live: int = 0
    peak: int = 0
    whole_number: int = 0

    def flush(self) -> tuple[Counter[Operation], int]:
        """(operations, backward passes) since the last flush."""
        page = self.operations, self.backwards
        self.operations, self.backwards = Counter(), 0
        return page


@contextmanager
def dry_run() -> Iterator[CostTracker]:
    """A block in which tensors have no contents. Scalars that are read from them are 1, true, or the tracker's whole
    number, and arrays are all ones."""
    tracker = CostTracker()
    with ExitStack() as modes:
        modes.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        modes.enter_context(_Tracking(tracker, contents=False))
        modes.enter_context(_Contents(tracker))
        yield tracker


def is_dry(tensor: Tensor) -> bool:
    """Whether a tensor has no contents."""
    return isinstance(tensor, FakeTensor)


@contextmanager
def recording() -> Iterator[CostTracker]:
    """A block of real work whose operations are entered as in a dry run."""
    tracker = CostTracker()
    with _Tracking(tracker, contents=True):
        yield tracker


class _Tracking(TorchDispatchMode):
    """Enters every operation, those of backward passes too, and follows the storages that they make."""

    def __init__(self, tracker: CostTracker, contents: bool):
        super().__init__()
        self._tracker, self._contents = tracker, contents
        self._known: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        if func is _aten._local_scalar_dense.default and not self._contents:
            kind = args[0].dtype
            return True if kind is torch.bool else 1.0 if kind.is_floating_point else self._tracker.whole_number
        out = func(*args, **(kwargs or {}))
        made = [x for x in tree_iter(out) if isinstance(x, Tensor)]
        if made:
            read = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
            entry = _entry(func, args, read, made)
            self._tracker.operations[entry] += 1
            for tensor in made if entry.kind is not Kind.view else ():
                self._follow(tensor.untyped_storage())
        return out

    def _follow(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self._tracker.live += size
        self._tracker.peak = max(self._tracker.peak, self._tracker.live)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self._tracker.live -= size


class _Contents(TorchFunctionMode):
    """Stands in where code leaves tensors for numbers, and counts backward passes."""

    def __init__(self, tracker: CostTracker):
        super().__init__()
        self._tracker = tracker

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if func is Tensor.numpy:
            return np.ones(tuple(args[0].shape))
        if func is Tensor.tolist:
            return np.ones(tuple(args[0].shape)).tolist()
        if func is Tensor.backward:
            self._tracker.backwards += 1
        return func(*args, **(kwargs or {}))


def _entry(func: OpOverload, args: tuple[Any, ...], read: list[Tensor], made: list[Tensor]) -> Operation:
    moved = sum(_size(x) for x in read) + sum(_size(x) for x in made)
    packet = func.overloadpacket
    if packet is _aten.detach or func.is_view or packet is _aten._unsafe_view:
        return Operation(Kind.view, 0, 0)
    if packet in _PRODUCTS:
        left, right = (args[place] for place in _PRODUCTS[packet])
        matrices = left.shape[0] if left.dim() == 3 else 1
        flops = 2 * left.numel() * right.shape[-1]
        large = flops >= WORTHWHILE_FLOPS * matrices
        kind = Kind.small if not large else Kind.half if left.element_size() == 2 else Kind.matrix
        return Operation(kind, flops, moved)
    if packet is LINEAR:
        return Operation(Kind.linear, 2 * args[0].numel() * args[1].shape[0], moved)
    return Operation(Kind.curved if packet in _CURVED else Kind.plain, 0, moved)


def _size(x: Tensor) -> int:
    """Bytes that an operation has to read or write; of an expanded tensor only what there is."""
    there = math.prod(size for size, stride in zip(x.shape, x.stride(), strict=True) if stride)
    return there * x.element_size()
