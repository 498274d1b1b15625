"""A model as its configuration describes it, without weights: for counting what it would cost to run it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from acdc.errors import InputError, first_line
from acdc.execution.products import product
from acdc.model.bridge_builder import build_bridge
from acdc.model.feed_forward import FeedForward
from acdc.model.functional import FunctionalComponents
from acdc.model.layers import Layer, Weights
from acdc.model.load import (
    DTYPES,
    Devices,
    Model,
    bridge_to,
    hugging_face_config,
    hugging_face_paths,
    native_config,
    quiet,
    read_anatomy,
)
from acdc.model.placed import placed
from acdc.model.placement import (
    Placement,
    choose_devices,
    elsewhere,
    module_paths,
    move,
    place,
    settle,
    shares,
)
from acdc.model.sources import NATIVE, Source, find_source
from acdc.model.tokenizer import load_tokenizer
from acdc.model.weights import read_weights
from acdc.progress import loading

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Unloaded:
    """What is known of a model before its weights are read: where it is, its arithmetic, and its tokenizer."""

    source: Source
    devices: tuple[torch.device, ...]
    dtype_name: str
    tokenizer: "PreTrainedTokenizerBase | None"


def find_model(name: str, *, revision: str | None = None, device: str = "auto", dtype: str = "float32") -> Unloaded:
    """Find a model by name, path or hub name; a folder with no more than a configuration will do.

    Raises InputError when it cannot be found or read, or its family is not supported.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    with loading(f"loading the configuration of {name}"), quiet():
        source, devices = find_source(name, revision, weights=False), choose_devices(device)
        return Unloaded(source, devices, dtype, None if source.architecture == NATIVE else load_tokenizer(source))


@dataclass(frozen=True)
class Shape:
    """A model whose weights have shapes but no data, its number of parameters, and bytes of weights on other devices
    than home."""

    model: Model
    parameters: int
    elsewhere: dict[str, int]


def shape_of(unloaded: Unloaded, gpus: Devices = (), memory: int | None = None) -> Shape:
    """Build a model from its configuration; call it within `dry_run`. `gpus`: those of another machine, for which it is
    planned and over which its layers would be spread, and the bytes of `memory` of each.

    Raises InputError for a configuration that describes no model.
    """
    source, dtype, devices = unloaded.source, DTYPES[unloaded.dtype_name], unloaded.devices
    with quiet():
        build = _native if source.architecture == NATIVE else _hugging_face
        built = build(source, devices, dtype, gpus)
    bridge, placement = built.bridge, built.placement
    bridge.original_model.requires_grad_(False).eval()
    anatomy = read_anatomy(bridge)
    weights = _without_routing(read_weights(bridge), anatomy.d_model)
    model = Model(
        name=source.name,
        family=source.family,
        revision=source.revision,
        content_hash="",
        dtype_name=unloaded.dtype_name,
        device=devices[0],
        bridge=bridge,
        components=placed(FunctionalComponents(weights, anatomy), placement),
        anatomy=anatomy,
        tokenizer=unloaded.tokenizer,
        placement=placement,
        quantisation=source.quantisation,
        planned_for="cuda" if gpus else None,
        planned_memory=memory,
    )
    return Shape(model, built.parameters, built.elsewhere)


@dataclass(frozen=True)
class _Built:
    """A bridge, its `parameters`, where they are, and how many bytes of them are `elsewhere`, or would be."""

    bridge: "TransformerBridge"
    parameters: int
    placement: Placement | None
    elsewhere: dict[str, int]


def _hugging_face(source: Source, devices: Devices, dtype: torch.dtype, gpus: Devices) -> _Built:
    """Parameters are counted first, as a bridge splits what a family keeps in one tensor."""
    from transformers import AutoModelForCausalLM

    try:
        config = hugging_face_config(source)
        with devices[0]:
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
        parameters = _count(model)
        paths = hugging_face_paths(config, source.architecture, dtype)
        placement = place(model, paths, devices)
        move(model, placement, paths)
        there = _elsewhere(model, devices[0], gpus, paths)
        return _Built(bridge_to(model, source.architecture, dtype, devices[0], placement), parameters, placement, there)
    except InputError:
        raise
    except Exception as error:  # a configuration can be wrong in more ways than transformers has exceptions for
        raise InputError(f"{source.config_file} describes no model: {first_line(error)}") from None


def _elsewhere(model: nn.Module, home: torch.device, gpus: Devices, paths: dict[str, str]) -> dict[str, int]:
    if len(gpus) < 2:
        return elsewhere(model, home)
    placement = place(model, paths, gpus)
    assert placement is not None  # as there are several
    return shares(model, placement, paths)


def _native(source: Source, devices: Devices, dtype: torch.dtype, gpus: Devices) -> _Built:
    """As for Hugging Face models. Booting would convert the parameters, which those without contents do not stand."""
    from transformer_lens.model_bridge.sources.native.model import NativeModel

    config, before = native_config(source, devices[0], dtype), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with devices[0]:
            model = NativeModel(config)
        parameters, bridge = _count(model), build_bridge(model, NATIVE, tl_config=config)
        paths = module_paths(bridge.adapter)
        placement = place(model, paths, devices)
        settle(bridge, placement)
        return _Built(bridge, parameters, placement, _elsewhere(model, devices[0], gpus, paths))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{source.folder / 'config.json'} does not describe a native model: {first_line(error)}"
        ) from None
    finally:
        torch.set_default_dtype(before)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@dataclass(frozen=True)
class _Dense:
    """Stands in for experts, which are chosen by what a position holds: an MLP [d, k], [k, d] of as many FLOPs."""

    into: Tensor
    out: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return product(functional.silu(product(x, self.into)), self.out)


def _without_routing(weights: Weights, width: int) -> Weights:
    """The same, with a stand-in for every MLP that is called as the module it is."""

    def stand_in(layer: Layer) -> Layer:
        if layer.mlp is None or isinstance(layer.mlp, FeedForward):
            return layer
        into = layer.attention.q.weight.new_empty((width, layer.mlp_flops // (4 * width)))
        return replace(layer, mlp=_Dense(into, into.T))

    return replace(weights, layers=tuple(stand_in(layer) for layer in weights.layers))
