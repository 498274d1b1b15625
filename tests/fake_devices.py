"""Fake GPUs on a machine without one: what mixes devices raises, as it would there, in backward passes too."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode, fake_tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

from acdc.execution.dry_run import CostTracker, dry_run

_aten, _ASKED = torch.ops.aten, torch.ops.prim.device.default
_dispatch = FakeTensorMode.__torch_dispatch__
_INDEXING = (_aten.index, _aten.index_put, _aten.index_put_, _aten._unsafe_index, _aten._unsafe_index_put)


@contextmanager
def devices_checked() -> Iterator[CostTracker]:
    """A dry run on fake devices `cuda:0`, `cuda:1`, ..."""
    with (
        patch.dict(fake_tensor._DISPATCH_META_HANDLERS, {_ASKED: _told}),
        patch.object(FakeTensorMode, "__torch_dispatch__", _dispatched),
        dry_run() as tracker,
        _Host(),
    ):
        yield tracker


def _told(arguments: tuple) -> torch.device:
    """Autograd asks a device for its streams, and a build without CUDA has none to tell of: so it is told of `meta`
    devices of the same number instead."""
    tensor = arguments[0]
    device = torch.device("meta") if tensor.fake_mode.in_kernel_invocation else tensor.fake_device
    return torch.device("meta", device.index) if device.type == "cuda" else device


def _dispatched(mode: FakeTensorMode, func, types, args=(), kwargs=None):
    """What is made on devices that were told of is made on the fake ones. What fake tensors do not check, the device
    of indices, is checked here."""
    named = dict(kwargs or {})
    told = named.get("device")
    if told is not None and told.type == "meta" and told.index is not None:
        named["device"] = torch.device("cuda", told.index)
    if func.overloadpacket in _INDEXING:
        _check_indices(*args[:2])
    return _dispatch(mode, func, types, args, named)


def _check_indices(x: Tensor, indices: list[Tensor | None]) -> None:
    found = {index.device for index in tree_iter(indices) if isinstance(index, Tensor)}
    if not found <= {x.device, torch.device("cpu")}:
        raise RuntimeError(f"indices on {found} of a tensor on {x.device}")


class _Host(TorchFunctionMode):
    """Arrays are made of tensors on the CPU alone."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.numpy and args[0].device.type != "cpu":
            raise TypeError(f"a tensor on {args[0].device} is no array")
        return func(*args, **(kwargs or {}))
