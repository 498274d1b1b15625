"""Which devices a model's weights are on: one, or several with its layers spread over them in order.

Only weights are spread: activations, gradients and everything that a search holds stay on the home device, the first.
The embeddings are there too, and the final norm and the unembedding on the last device, but for an unembedding that is
the embedding itself: that stays at home with the final norm, so that it is held once.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from acdc.errors import InputError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import ArchitectureAdapter, TransformerBridge

_AT_HOME = ("embed", "embed_ln", "pos_embed", "rotary_emb")
_AT_THE_END = ("ln_final", "unembed")


@dataclass(frozen=True)
class Placement:
    """The device of each layer's weights, and of the final norm and the unembedding."""

    home: torch.device
    layers: tuple[torch.device, ...]
    end: torch.device

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Those that hold weights, in the order of the layers."""
        return tuple(dict.fromkeys((self.home, *self.layers, self.end)))


def choose_devices(name: str) -> tuple[torch.device, ...]:
    """`auto` takes CUDA where there is one; several GPUs are named one by one.

    Raises InputError for a device that this machine lacks, and for several that are not different GPUs.
    """
    if name == "auto":
        return (torch.device("cuda" if torch.cuda.is_available() else "cpu"),)
    parts = name.split(",")
    if len(parts) == 1 and not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InputError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N, or several such as cuda:0,cuda:1")
    numbers = {int(found[1]) for part in parts if (found := re.fullmatch(r"cuda:(\d+)", part))}
    if len(parts) > 1 and len(numbers) < len(parts):
        raise InputError(f"device {name!r} does not name different GPUs: several are given as cuda:N, each once")
    return tuple(_device(part) for part in parts)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device {name!r} is not available on this machine: use cpu or auto") from None
    return device


def place(model: nn.Module, paths: dict[str, str], devices: Sequence[torch.device]) -> Placement | None:
    """Spread a model over devices so that each holds about as many bytes of weights, None for one device; `paths` are
    the names of its modules by those that a bridge gives them.

    A layer goes where the middle of its bytes falls when the whole is cut into equal shares. Raises InputError for
    layers that have a part in common.
    """
    if len(devices) == 1:
        return None
    blocks = model.get_submodule(paths["blocks"])
    assert isinstance(blocks, nn.ModuleList | nn.Sequential)  # as in every family that a bridge knows
    layers, parts = [_bytes(layer) for layer in blocks], [part for layer in blocks for part in layer.modules()]
    if len(set(parts)) < len(parts):
        raise InputError("the layers of this model share tables, so that they have to be on one device: name one")
    embed, unembed = (set(model.get_submodule(paths[name]).parameters()) for name in ("embed", "unembed"))
    tied = not embed.isdisjoint(unembed)
    first = sum(_bytes(model.get_submodule(paths[name])) for name in _AT_HOME if name in paths)
    last = 0 if tied else sum(_bytes(model.get_submodule(paths[name])) for name in _AT_THE_END)
    share, before, placed = (first + sum(layers) + last) / len(devices), first, []
    for size in layers:
        placed.append(devices[int((before + size / 2) / share)])
        before += size
    return Placement(devices[0], tuple(placed), devices[0] if tied else devices[-1])


def elsewhere(model: nn.Module, home: torch.device) -> dict[str, int]:
    """Bytes of weights on other devices than home."""
    found: Counter[str] = Counter()
    for parameter in model.parameters():
        if parameter.device != home:
            found[str(parameter.device)] += parameter.numel() * parameter.element_size()
    return dict(found)


def shares(model: nn.Module, placement: Placement, paths: dict[str, str]) -> dict[str, int]:
    """The same of a model that is not on those devices yet; `paths` as for `place`."""
    found: Counter[str] = Counter()
    blocks = model.get_submodule(paths["blocks"])
    assert isinstance(blocks, nn.ModuleList | nn.Sequential)  # see `place`
    for layer, device in zip(blocks, placement.layers, strict=True):
        found[str(device)] += _bytes(layer)
    found[str(placement.end)] += sum(_bytes(model.get_submodule(paths[name])) for name in _AT_THE_END if name in paths)
    return {name: size for name, size in found.items() if name != str(placement.home)}


def module_paths(adapter: "ArchitectureAdapter") -> dict[str, str]:
    """Names of a model's modules by those that a bridge gives them, from the bridge's adapter."""
    return {name: str(component.name) for name, component in (adapter.component_mapping or {}).items()}


def device_map(placement: Placement, paths: dict[str, str]) -> dict[str, str]:
    """The same as Hugging Face takes it: module names with devices."""
    found = {paths[name]: placement.home for name in _AT_HOME if name in paths}
    found |= {f"{paths['blocks']}.{index}": device for index, device in enumerate(placement.layers)}
    found |= {paths[name]: placement.end for name in _AT_THE_END}
    return {name: str(device) for name, device in found.items()}


def move(model: nn.Module, placement: Placement | None, paths: dict[str, str]) -> None:
    """Move the parts of a model to their devices."""
    for path, device in device_map(placement, paths).items() if placement else ():
        _move(model.get_submodule(path), torch.device(device))


def settle(bridge: "TransformerBridge", placement: Placement | None) -> None:
    """Move a bridge's parts to their devices, and let each carry there what it is called with."""
    for part, device in _parts(bridge, placement) if placement else ():
        _move(part, device)
        part.register_forward_pre_hook(partial(_carry, device), with_kwargs=True)


def _parts(bridge: "TransformerBridge", placement: Placement) -> Iterator[tuple[nn.Module, torch.device]]:
    there = module_paths(bridge.adapter)
    yield from ((getattr(bridge, name), placement.home) for name in _AT_HOME if name in there)
    yield from zip(bridge.blocks, placement.layers, strict=True)
    yield from ((getattr(bridge, name), placement.end) for name in _AT_THE_END)


def _move(part: nn.Module, device: torch.device) -> None:
    """As `Module.to`, which does not do it for tensors without contents."""
    for module in part.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.device != device:
                module.register_parameter(name, nn.Parameter(parameter.detach().to(device), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, buffer.to(device))


def _carry(device: torch.device, module: nn.Module, given: tuple, named: dict) -> tuple[tuple, dict]:
    return tree_map_only(Tensor, lambda x: x.to(device), (given, named))


def _bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
