"""The nodes of a feature circuit: features at all tokens but the first, and what a dictionary leaves of each target."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.dictionaries.dictionary import Dictionary
from acdc.dictionaries.hooks import MLP_INPUTS, MLP_OUTPUTS, Hook
from acdc.errors import InputError
from acdc.words import shortened

_NODE = re.compile(r"(?:m(\d{1,5})|([a-z_]+\d{1,5}|embed))\.(?:f(\d{1,9})|(error))")


@dataclass(frozen=True, order=True)
class FeatureNode:
    """Feature `index` of the set that reads at `hook`; or -1, what is left over of the target `hook`."""

    hook: Hook
    index: int

    @property
    def is_error(self) -> bool:
        return self.index < 0

    @property
    def id(self) -> str:
        """`m3.f12` of MLPs, `resid_post3.f12` elsewhere; `m3.error`."""
        of_mlp = self.hook.site in (MLP_OUTPUTS if self.is_error else MLP_INPUTS)
        place = f"m{self.hook.layer}" if of_mlp else str(self.hook)
        return f"{place}.error" if self.is_error else f"{place}.f{self.index}"

    @classmethod
    def parse(cls, text: str, dictionary: Dictionary) -> "FeatureNode":
        """Raises InputError for what is no node, or not one of a dictionary."""
        found = _NODE.fullmatch(text)
        if not found:
            raise InputError(f"{shortened(text)} is no feature: expected m3.f12, resid_post3.f12 or m3.error")
        features = dictionary.of_layer(int(found[1])) if found[1] else None
        if found[4]:
            hook = features.writes[0] if features else Hook.parse(found[2])
            if hook not in dictionary.targets:
                raise InputError(f"{text}: dictionary {dictionary.name} does not reconstruct {hook}")
            return cls(hook, -1)
        features = features or dictionary.at(Hook.parse(found[2]))
        if int(found[3]) >= features.size:
            raise InputError(f"{text}: there are features 0 to {features.size - 1:,} at {features.reads}")
        return cls(features.reads, int(found[3]))


@dataclass(frozen=True, eq=False)
class Removed:
    """What is ablated: features of each set, boolean [F], and errors."""

    features: dict[Hook, Tensor]
    errors: frozenset[Hook]

    @classmethod
    def nothing(cls, dictionary: Dictionary) -> "Removed":
        device = dictionary.sets[0].bias.device
        none = {one.reads: torch.zeros(one.size, dtype=torch.bool, device=device) for one in dictionary.sets}
        return cls(none, frozenset())

    @classmethod
    def these(cls, nodes: Iterable[FeatureNode], dictionary: Dictionary) -> "Removed":
        """Some nodes alone."""
        found, errors = cls.nothing(dictionary), set[Hook]()
        for node in nodes:
            if node.is_error:
                errors.add(node.hook)
            else:
                found.features[node.hook][node.index] = True
        return cls(found.features, frozenset(errors))

    @classmethod
    def all_but(cls, nodes: Iterable[FeatureNode], dictionary: Dictionary, errors: bool) -> "Removed":
        """All features but some; `errors`: all errors that are not among these too."""
        kept = cls.these(nodes, dictionary)
        gone = frozenset(dictionary.targets) - kept.errors if errors else frozenset[Hook]()
        return cls({hook: ~mask for hook, mask in kept.features.items()}, gone)
