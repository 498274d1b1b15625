"""Weights that all workers of a machine hold together, in Ray's object store: one of them makes them from the files.

The store is shared memory, from which arrays are read without a copy. The weights that were used last stay in it, as
many as fit; others go when the last worker has let go of them. Where the store or those who answer for it fail, a
worker has its weights for itself.
"""

import fcntl
import hashlib
import os
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

STORE_SHARE = 0.9  # of a machine's store, that weights may fill


@dataclass(frozen=True)
class _Kept:
    """Weights in a store: Ray's reference in a list, so that Ray does not send what it refers to, and their bytes."""

    reference: list[Any]
    size: int


@dataclass
class Shelf:
    """Which weights there are on which machine, by key, those used last at the end."""

    _by_node: dict[str, "OrderedDict[str, _Kept]"] = field(default_factory=dict)

    def find(self, node: str, key: str) -> list[Any]:
        """The reference, or nothing."""
        there = self._by_node.get(node, OrderedDict())
        if key not in there:
            return []
        there.move_to_end(key)
        return there[key].reference

    def make_room(self, node: str, size: int, room: float) -> None:
        """Let go of what was not used for longest, until so many bytes more fit."""
        there = self._by_node.get(node, OrderedDict())
        while there and sum(kept.size for kept in there.values()) + size > room:
            there.popitem(last=False)

    def put(self, node: str, key: str, reference: list[Any], size: int) -> None:
        there = self._by_node.setdefault(node, OrderedDict())
        there[key] = _Kept(reference, size)
        there.move_to_end(key)


@dataclass(frozen=True)
class _Flat:
    """A tensor as bytes, as arrays have no bfloat16."""

    content: np.ndarray
    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "_Flat":
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        return cls(flat.view(torch.uint8).numpy(), tensor.dtype, tuple(tensor.shape))

    @property
    def tensor(self) -> Tensor:
        """With the same memory, which must not be written to."""
        if not self.content.size:
            return torch.empty(self.shape, dtype=self.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(self.content).view(self.dtype).reshape(self.shape)


class NodeWeights:
    """See `acdc.model.weight_store.WeightStore`: those of the machine that this worker is on."""

    def __init__(self, mailbox: str):
        """`mailbox`: the name of an actor with a shelf."""
        self._name = mailbox

    @cached_property
    def _mailbox(self) -> Any:
        """Raises ValueError where there is none."""
        import ray

        return ray.get_actor(self._name)

    def has_room(self, size: int) -> bool:
        return size <= STORE_SHARE * _room(_node())

    def of(self, key: str, read: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        import ray

        node = _node()
        with _one_at_a_time(f"{ray.get_runtime_context().get_job_id()} {node} {key}"):
            found = self._there(node, key)
            if found is None:
                weights = read()
                found = self._put(node, key, weights)
                if found is None:
                    return weights
        return {name: one.tensor for name, one in found.items()}

    def _there(self, node: str, key: str) -> dict[str, _Flat] | None:
        """What is on the machine already; None where it is not, or was lost with the worker that had made it."""
        import ray

        try:
            references = ray.get(self._mailbox.find_weights.remote(node, key))
            return ray.get(references[0]) if references else None
        except (ray.exceptions.RayError, ValueError):
            return None

    def _put(self, node: str, key: str, weights: Mapping[str, Tensor]) -> dict[str, _Flat] | None:
        """The weights as others will find them; None where they cannot be held."""
        import ray

        size = sum(one.nbytes for one in weights.values())
        try:
            ray.get(self._mailbox.make_room.remote(node, size, STORE_SHARE * _room(node)))
            reference = ray.put({name: _Flat.of(one) for name, one in weights.items()})
            ray.get(self._mailbox.keep_weights.remote(node, key, [reference], size))
            return ray.get(reference)
        except (ray.exceptions.RayError, ValueError):
            return None


def _node() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()


def _room(node: str) -> float:
    """Bytes of a machine's store."""
    import ray

    resources: dict[str, float] = next((one["Resources"] for one in ray.nodes() if one["NodeID"] == node), {})
    return float(resources.get("object_store_memory", 0))


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Let one process of the machine in; one that dies inside lets the next in. Where there can be no lock, all."""
    path = Path(tempfile.gettempdir()) / f"acdc-{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # whoever waits has it open; at worst, somebody who comes now reads as well
        os.close(handle)
