"""The nodes of a feature circuit: features, and what a dictionary leaves of each target, at all tokens but the first,
or at the tokens of one place alone: a span of the task's prompts, or a position.

Shapes: S places, F features of a set.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.dictionaries.dictionary import Dictionary
from acdc.dictionaries.hooks import MLP_INPUTS, MLP_OUTPUTS, Hook
from acdc.errors import InputError
from acdc.words import shortened

EVERYWHERE = ("",)  # the one place that all tokens are
_NODE = re.compile(r"(?:m(\d{1,5})|([a-z_]+\d{1,5}|embed))\.(?:f(\d{1,9})|(error))(?:@(\S{1,40}))?")


@dataclass(frozen=True, order=True)
class FeatureNode:
    """Feature `index` of the set that reads at `hook`; or -1, what is left over of the target `hook`. `place`: the name
    of a span or position; empty for all tokens."""

    hook: Hook
    index: int
    place: str = ""

    @property
    def is_error(self) -> bool:
        return self.index < 0

    @property
    def id(self) -> str:
        """`m3.f12` of MLPs, `resid_post3.f12` elsewhere; `m3.error`; at a place `m3.f12@S2`."""
        of_mlp = self.hook.site in (MLP_OUTPUTS if self.is_error else MLP_INPUTS)
        site = f"m{self.hook.layer}" if of_mlp else str(self.hook)
        name = f"{site}.error" if self.is_error else f"{site}.f{self.index}"
        return f"{name}@{self.place}" if self.place else name

    @classmethod
    def parse(cls, text: str, dictionary: Dictionary) -> "FeatureNode":
        """Raises InputError for what is no node, or not one of a dictionary."""
        found = _NODE.fullmatch(text)
        if not found:
            raise InputError(f"{shortened(text)} is no feature: expected m3.f12, resid_post3.f12 or m3.error")
        place = found[5] or ""
        features = dictionary.of_layer(int(found[1])) if found[1] else None
        if found[4]:
            hook = features.writes[0] if features else Hook.parse(found[2])
            if hook not in dictionary.targets:
                raise InputError(f"{text}: dictionary {dictionary.name} does not reconstruct {hook}")
            return cls(hook, -1, place)
        features = features or dictionary.at(Hook.parse(found[2]))
        if int(found[3]) >= features.size:
            raise InputError(f"{text}: there are features 0 to {features.size - 1:,} at {features.reads}")
        return cls(features.reads, int(found[3]), place)


@dataclass(frozen=True, eq=False)
class Removed:
    """What is ablated where: features of each set, boolean [S, F], and errors of each target, boolean [S]."""

    features: dict[Hook, Tensor]
    errors: dict[Hook, Tensor]

    @classmethod
    def nothing(cls, dictionary: Dictionary, places: Sequence[str] = EVERYWHERE) -> "Removed":
        def none(*shape: int) -> Tensor:
            return torch.zeros(len(places), *shape, dtype=torch.bool, device=dictionary.sets[0].bias.device)

        return cls(
            {one.reads: none(one.size) for one in dictionary.sets}, {target: none() for target in dictionary.targets}
        )

    @classmethod
    def these(
        cls, nodes: Iterable[FeatureNode], dictionary: Dictionary, places: Sequence[str] = EVERYWHERE
    ) -> "Removed":
        """Some nodes alone. Raises InputError for a node at none of the places."""
        found = cls.nothing(dictionary, places)
        number = {place: count for count, place in enumerate(places)}
        for node in nodes:
            if node.place not in number:
                raise InputError(f"{node.id}: there is no such place among {', '.join(places) or 'all tokens'}")
            if node.is_error:
                found.errors[node.hook][number[node.place]] = True
            else:
                found.features[node.hook][number[node.place], node.index] = True
        return found

    @classmethod
    def all_but(
        cls,
        nodes: Iterable[FeatureNode],
        dictionary: Dictionary,
        errors: bool,
        places: Sequence[str] = EVERYWHERE,
    ) -> "Removed":
        """All features but some; `errors`: all errors that are not among these too."""
        kept = cls.these(nodes, dictionary, places)
        gone = {hook: ~mask if errors else torch.zeros_like(mask) for hook, mask in kept.errors.items()}
        return cls({hook: ~mask for hook, mask in kept.features.items()}, gone)
