"""The units that can be explained, and what they are at every token of a prompt.

Shapes: B sequences, P positions, d the residual width, F the units of a layer, e the head width, V the vocabulary.
"""

import re
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from acdc.dictionaries.dictionary import Dictionary, Features
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.run import check_sites, sites_of
from acdc.errors import InputError
from acdc.execution.components import Positions
from acdc.graph import ATTENTION_SLOTS
from acdc.model.feed_forward import FeedForward
from acdc.model.functional import FunctionalComponents
from acdc.model.load import Model
from acdc.words import shortened

_NEURON, _HEAD = re.compile(r"m(\d{1,5})\.n(\d{1,9})"), re.compile(r"a(\d{1,5})\.h(\d{1,5})")
_FEATURE = re.compile(r"(?:m(\d{1,5})|([a-z_]+\d{1,5}|embed))\.f(\d{1,9})")


class Unit(Protocol):
    """`name` as users write it; `kind` in words."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    def activations(self, tokens: Tensor) -> Tensor:
        """At every token of token ids [B, P]: [B, P]."""


@dataclass(frozen=True, eq=False)
class FeatureUnit:
    """One feature of a dictionary."""

    name: str
    model: Model
    features: Features
    index: int
    kind: str = "feature"

    def activations(self, tokens: Tensor) -> Tensor:
        x = sites_of(self.model, tokens, [self.features.reads])[self.features.reads]
        return self.features.encode(x)[..., self.index]

    @property
    def read_vector(self) -> Tensor:
        """[d_in], by which its input is read."""
        return self.features.encoder.rows(torch.tensor([self.index]))[0]

    @property
    def written(self) -> Tensor:
        """What it writes at an activation of 1, over all layers that it writes to [d_out]."""
        return torch.stack([matrix.rows(torch.tensor([self.index]))[0] for matrix in self.features.decoders]).sum(0)


@dataclass(frozen=True, eq=False)
class NeuronUnit:
    """One hidden neuron of an MLP."""

    name: str
    model: Model
    layer: int
    index: int
    mlp: FeedForward
    kind: str = "neuron"

    def activations(self, tokens: Tensor) -> Tensor:
        hook = Hook(self.layer, Site.mlp_in)
        x = sites_of(self.model, tokens, [hook])[hook]
        into = _column(self.mlp.into.weight, self.mlp.into.bias, self.index, x)
        if self.mlp.gate is None:
            return self.mlp.activation(into)
        return self.mlp.activation(_column(self.mlp.gate.weight, self.mlp.gate.bias, self.index, x)) * into

    @property
    def read_vector(self) -> Tensor:
        """[d]: that of its gate where it has one, as the gate decides whether it is active."""
        return (self.mlp.gate or self.mlp.into).weight[:, self.index]

    @property
    def written(self) -> Tensor:
        return self.mlp.out.weight[self.index]


def _column(weight: Tensor, bias: Tensor | None, index: int, x: Tensor) -> Tensor:
    found = x @ weight[:, index]
    return found if bias is None else found + bias[index]


@dataclass(frozen=True, eq=False)
class HeadUnit:
    """An attention head: its activation is the norm of what it adds to the residual stream, before any post-norm."""

    name: str
    model: Model
    layer: int
    index: int
    kind: str = "head"

    def activations(self, tokens: Tensor) -> Tensor:
        return self.run(tokens)[1].norm(dim=-1)

    def run(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(pattern [B, P, P], what it writes [B, P, d])."""
        components, hook = check_sites(self.model), Hook(self.layer, Site.resid_pre)
        with torch.no_grad():
            x = sites_of(self.model, tokens, [hook])[hook]
            q, k, v = (components.project(self.layer, kind, x[None]) for kind in ATTENTION_SLOTS)
            pattern = components.patterns(self.layer, q, k, Positions(x.shape[1]))[self.index]
            value = v[self.index // self.model.anatomy.group_size]
            out = components.weights.layers[self.layer].attention.out.weight[self.index]
            return pattern, pattern.to(value.dtype) @ value @ out


def parse_unit(name: str, model: Model, dictionary: Dictionary | None = None) -> FeatureUnit | NeuronUnit | HeadUnit:
    """The unit of a name: a neuron `m3.n117`, a head `a1.h3`, or of a dictionary a feature `m3.f12`, with a place of
    several in one layer `resid_post3.f12`. Raises InputError for what is none, or what the model does not have."""
    components = check_sites(model)
    for pattern, make in ((_NEURON, _neuron), (_HEAD, _head)):
        if found := pattern.fullmatch(name):
            layer, index = int(found[1]), int(found[2])
            if layer >= model.anatomy.n_layers:
                raise InputError(f"{name}: the model has layers 0 to {model.anatomy.n_layers - 1}")
            return make(name, model, components, layer, index)
    if found := _FEATURE.fullmatch(name):
        return _feature(name, model, dictionary, found)
    raise InputError(
        f"{shortened(name)} is no unit: expected a neuron 'm3.n117', a head 'a1.h3', or with --dictionary a feature "
        "'m3.f12' or 'resid_post3.f12'"
    )


def _neuron(
    name: str, model: Model, components: FunctionalComponents, layer: int, index: int
) -> FeatureUnit | NeuronUnit | HeadUnit:
    mlp = components.weights.layers[layer].mlp
    if not isinstance(mlp, FeedForward):
        raise InputError(f"{name}: layer {layer} has no MLP")
    if index >= len(mlp.out.weight):
        raise InputError(f"{name}: MLP {layer} has neurons 0 to {len(mlp.out.weight) - 1:,}")
    return NeuronUnit(name, model, layer, index, mlp)


def _head(
    name: str, model: Model, components: FunctionalComponents, layer: int, index: int
) -> FeatureUnit | NeuronUnit | HeadUnit:
    if index >= model.anatomy.n_heads:
        raise InputError(f"{name}: layers have heads 0 to {model.anatomy.n_heads - 1}")
    return HeadUnit(name, model, layer, index)


def _feature(name: str, model: Model, dictionary: Dictionary | None, found: re.Match[str]) -> FeatureUnit:
    if dictionary is None:
        raise InputError(f"{name} is a feature: give the dictionary that it is in with --dictionary")
    features = dictionary.of_layer(int(found[1])) if found[1] else dictionary.at(Hook.parse(found[2]))
    index = int(found[3])
    if index >= features.size:
        raise InputError(f"{name}: there are features 0 to {features.size - 1:,} at {features.reads}")
    return FeatureUnit(name, model, features, index)
