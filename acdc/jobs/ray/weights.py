"""Weights that all workers of a machine hold together, in Ray's object store: one of them reads the files.

The store is shared memory, from which arrays are read without a copy. Only the weights that were used last stay in it;
others go when the last worker has let go of them.
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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_MODELS = 2  # whose weights a machine keeps
STORE_SHARE = 0.9  # of a machine's store, that weights may fill: what is larger each worker has for itself


@dataclass
class Shelf:
    """Which weights there are on which machine: Ray's references by key, the one used last at the end."""

    _by_node: dict[str, "OrderedDict[str, Any]"] = field(default_factory=dict)

    def find(self, node: str, key: str) -> list[Any]:
        """The reference, or nothing; in a list, so that Ray does not send what it refers to."""
        there = self._by_node.get(node, OrderedDict())
        if key not in there:
            return []
        there.move_to_end(key)
        return [there[key]]

    def put(self, node: str, key: str, reference: list[Any]) -> None:
        there = self._by_node.setdefault(node, OrderedDict())
        (there[key],) = reference
        there.move_to_end(key)
        while len(there) > MOST_MODELS:
            there.popitem(last=False)


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

    def __init__(self, mailbox: Any):
        """`mailbox`: an actor with a shelf."""
        self._mailbox = mailbox

    def of(self, key: str, read: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        import ray

        here = ray.get_runtime_context()
        node = here.get_node_id()
        with _one_at_a_time(f"{here.get_job_id()} {node} {key}"):
            found = self._there(node, key)
            if found is None:
                weights = read()
                if sum(one.nbytes for one in weights.values()) > STORE_SHARE * _room(node):
                    return weights
                reference = ray.put({name: _Flat.of(one) for name, one in weights.items()})
                ray.get(self._mailbox.keep_weights.remote(node, key, [reference]))
                found = ray.get(reference)
        return {name: one.tensor for name, one in found.items()}

    def _there(self, node: str, key: str) -> dict[str, _Flat] | None:
        """What is on the machine already; None where it is not, or was lost with the worker that had read it."""
        import ray

        try:
            references = ray.get(self._mailbox.find_weights.remote(node, key))
            return ray.get(references[0]) if references else None
        except (ray.exceptions.ObjectLostError, ray.exceptions.RayActorError):
            return None


def _room(node: str) -> float:
    """Bytes of a machine's store."""
    import ray

    resources = next(one["Resources"] for one in ray.nodes() if one["NodeID"] == node)
    return float(resources.get("object_store_memory", 0))


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Let one process of the machine in; one that dies inside lets the next in."""
    path = Path(tempfile.gettempdir()) / f"acdc-{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        with suppress(FileNotFoundError):
            path.unlink()  # whoever waits has it open
    finally:
        os.close(handle)
