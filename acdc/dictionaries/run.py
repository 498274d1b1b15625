"""A model's run with all its sites at hand: they can be looked at, and replaced on the way.

Shapes: B sequences, P positions, d the residual width, V the vocabulary. All is computed from weights that were read
from the model, so that gradients flow and a replaced site changes all that follows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from acdc.dictionaries.hooks import Hook, Site
from acdc.errors import InputError
from acdc.execution.components import Positions
from acdc.graph import ATTENTION_SLOTS
from acdc.model.functional import FunctionalComponents
from acdc.model.layers import Layer
from acdc.model.load import Model

Edit = Callable[[Tensor], Tensor]


def check_sites(model: Model) -> FunctionalComponents:
    """The model's components. Raises InputError for a model whose sites are not all computed from weights."""
    if model.placement is not None:
        raise InputError(f"model {model.name!r} is on several devices: features need its weights on one, see --device")
    if model.components.kind != "functional":
        raise InputError(
            f"model {model.name!r} ({model.family}) is computed by its own modules, and features need every MLP "
            "computed from its weights: mixtures of experts are not supported"
        )
    assert isinstance(model.components, FunctionalComponents)
    return model.components


def check_hook(model: Model, hook: Hook) -> None:
    """Raises InputError for a hook that a model does not have."""
    if hook.layer >= model.anatomy.n_layers:
        raise InputError(f"{hook}: model {model.name!r} has layers 0 to {model.anatomy.n_layers - 1}")
    if model.anatomy.attn_only and hook.site.startswith("mlp"):
        raise InputError(f"{hook}: model {model.name!r} has no MLPs")


def width_at(model: Model, hook: Hook) -> int:
    """How many numbers a hook has at a token."""
    anatomy = model.anatomy
    return anatomy.n_heads * anatomy.d_head if hook.site is Site.z else anatomy.d_model


class SiteRun:
    """One forward pass. `edits` by hook: what is put in the place of what is there. `found`: what was there, edits
    included, at the hooks that are `wanted`."""

    def __init__(self, model: Model, edits: Mapping[Hook, Edit] | None = None, wanted: Collection[Hook] = ()):
        self.components, self.edits, self.wanted = check_sites(model), edits or {}, frozenset(wanted)
        self.found: dict[Hook, Tensor] = {}
        self.anatomy = model.anatomy

    def logits(self, tokens: Tensor, at: Tensor | None = None) -> Tensor:
        """Of token ids [B, P]: [B, P, V], or [B, V] of a position of each sequence."""
        residual = self.residual(tokens)
        if at is not None:
            residual = residual[torch.arange(len(tokens), device=tokens.device), at]
        return self.components.unembed(residual)

    def residual(self, tokens: Tensor, layers: int | None = None) -> Tensor:
        """What the last norm reads [B, P, d], or what leaves the first so many layers."""
        residual = self._at(Hook(0, Site.embed), self.components.embed(tokens).sum(0))
        for layer in range(self.anatomy.n_layers)[:layers]:
            residual = self._layer(layer, residual)
        return residual

    def _at(self, hook: Hook, x: Tensor) -> Tensor:
        if hook in self.edits:
            x = self.edits[hook](x)
        if hook in self.wanted:
            self.found[hook] = x
        return x

    def _layer(self, layer: int, residual: Tensor) -> Tensor:
        weights = self.components.weights.layers[layer]
        residual = self._at(Hook(layer, Site.resid_pre), residual)
        middle = residual + self._attention(layer, residual)
        entering = self._at(Hook(layer, Site.resid_mid), residual if self.anatomy.parallel else middle)
        if weights.mlp is not None:
            written = self._mlp(layer, weights, entering)
            middle = (middle if self.anatomy.parallel else entering) + written
        return self._at(Hook(layer, Site.resid_post), middle)

    def _attention(self, layer: int, residual: Tensor) -> Tensor:
        components, positions = self.components, Positions(residual.shape[1])
        q, k, v = (components.project(layer, kind, residual[None]) for kind in ATTENTION_SLOTS)
        patterns = components.patterns(layer, q, k, positions)
        out = components.weights.layers[layer].attention.out
        values = v if len(v) == len(patterns) else v.repeat_interleave(len(patterns) // len(v), dim=0)
        mixed = patterns.to(v.dtype) @ values  # [H, B, P, e]
        mixed = self._at(Hook(layer, Site.z), mixed.permute(1, 2, 0, 3).flatten(2))
        written = mixed @ out.weight.flatten(0, 1)
        bias = components.attention_bias(layer)
        written = written if bias is None else written + bias
        return self._at(Hook(layer, Site.attn_out), written * components.attention_scale(layer, written))

    def _mlp(self, layer: int, weights: Layer, entering: Tensor) -> Tensor:
        assert weights.mlp is not None
        norm = weights.mlp_norm
        if norm is not None and self._is_seen(Hook(layer, Site.mlp_normed)):
            plain = self._at(Hook(layer, Site.mlp_normed), _without_weight(weights, entering))
            read = plain if norm.weight is None else plain * norm.weight.to(plain)
            read = read if norm.bias is None else read + norm.bias
        else:
            read = entering if norm is None else norm(entering)
            read = self._at(Hook(layer, Site.mlp_normed), read) if norm is None else read
        read = self._at(Hook(layer, Site.mlp_in), read)
        written = self._at(Hook(layer, Site.mlp_out), weights.mlp(read))
        added = written if weights.mlp_post is None else written * weights.mlp_post.scale(written)
        return self._at(Hook(layer, Site.mlp_added), added)

    def _is_seen(self, hook: Hook) -> bool:
        return hook in self.edits or hook in self.wanted


def _without_weight(weights: Layer, entering: Tensor) -> Tensor:
    assert weights.mlp_norm is not None
    norm = weights.mlp_norm
    centred = entering - entering.mean(-1, keepdim=True) if norm.centred else entering
    return centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + norm.eps)


@torch.no_grad()
def sites_of(model: Model, tokens: Tensor, hooks: Collection[Hook]) -> dict[Hook, Tensor]:
    """What a model has at some hooks on token ids [B, P]: [B, P, width] each. Nothing after the last is computed."""
    run = SiteRun(model, wanted=hooks)
    run.residual(tokens, 1 + max((hook.layer for hook in hooks), default=0))
    return run.found


def padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(token ids [B, longest], which of them are of a prompt [B, longest]); prompts end, then zeros follow."""
    longest = max(map(len, prompts))
    tokens = torch.zeros((len(prompts), longest), dtype=torch.long)
    there = torch.zeros_like(tokens, dtype=torch.bool)
    for number, prompt in enumerate(prompts):
        tokens[number, : len(prompt)] = torch.tensor(list(prompt))
        there[number, : len(prompt)] = True
    return tokens.to(device), there.to(device)
