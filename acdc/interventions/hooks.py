"""Interventions as hooks on the model's own modules, so that all that follows is computed anew, cache or no cache.

What a head or an MLP adds to the residual stream is changed there, behind any post-norm, whose scale stays that of the
unchanged sum: as where acdc ablates heads. A hidden neuron is changed before, so that a post-norm sees the change.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from acdc.interventions.bound import Bound
from acdc.interventions.features import feature_change
from acdc.interventions.intervention import UnitKind
from acdc.model.feed_forward import unwrapped
from acdc.model.load import Model
from acdc.model.norms import Norm, read_norm

_OUTPUTS = ("out", "c_proj", "down_proj", "dense_4h_to_h", "fc_out")


class Hooks:
    """`offset`: the position of the first token that the model is called with, where a cache has those before."""

    def __init__(self, model: Model, bound: Sequence[Bound]):
        self.model, self.bound, self.offset = model, tuple(bound), 0

    @contextmanager
    def on(self) -> Iterator[None]:
        """The model with its interventions."""
        with ExitStack() as stack:
            for layer in sorted({one.unit.layer for one in self.bound}):
                for handle in self._register(layer):
                    stack.callback(handle.remove)
            yield

    def _of(self, layer: int, kind: UnitKind) -> list[Bound]:
        return [one for one in self.bound if one.unit.layer == layer and one.unit.kind is kind]

    def _register(self, layer: int) -> Iterator[Any]:
        block: Any = self.model.bridge.blocks[layer]
        if before := self._of(layer, UnitKind.resid_pre):
            yield block.register_forward_pre_hook(partial(self._entering, before), with_kwargs=True)
        if heads := self._of(layer, UnitKind.head):
            yield from _Heads(self, block, heads).register()
        if neurons := self._of(layer, UnitKind.neuron):
            down = next(child for name in _OUTPUTS if (child := getattr(unwrapped(block.mlp), name, None)) is not None)
            yield unwrapped(down).register_forward_pre_hook(partial(self._hidden, neurons))
        if features := self._of(layer, UnitKind.feature):
            yield from _Features(self, block, features).register()
        if written := self._of(layer, UnitKind.mlp):
            post = getattr(block, "ln2_post", None)
            yield (block.mlp if post is None else post).register_forward_hook(partial(self._leaving, written))
        if after := self._of(layer, UnitKind.resid_post):
            yield block.register_forward_hook(partial(self._leaving, after))

    def changed(self, bound: Sequence[Bound], x: Tensor) -> Tensor:
        for one in bound:
            x = one(x, self.offset)
        return x

    def _entering(self, bound: Sequence[Bound], module: nn.Module, given: tuple, named: dict) -> tuple[tuple, dict]:
        if given:
            return (self.changed(bound, given[0]), *given[1:]), named
        return given, {**named, "hidden_states": self.changed(bound, named["hidden_states"])}

    def _hidden(self, bound: Sequence[Bound], module: nn.Module, given: tuple) -> tuple:
        hidden, like = given[0].clone(), given[0].shape
        hidden = hidden.view(len(self.bound[0].mask), -1, like[-1])  # some modules take all positions as one list
        for one in bound:
            hidden[..., one.unit.index] = one(hidden[..., one.unit.index], self.offset)
        return (hidden.view(like), *given[1:])

    def _leaving(self, bound: Sequence[Bound], module: nn.Module, given: tuple, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self.changed(bound, output[0]), *output[1:])
        return self.changed(bound, output)


class _Features:
    """Features of a layer: what they read is kept, and what they write besides is added to the MLP's output, or behind
    its post-norm."""

    def __init__(self, hooks: Hooks, block: Any, bound: Sequence[Bound]):
        self.hooks, self.block, self.bound = hooks, block, bound
        self._read: Tensor | None = None

    def register(self) -> Iterator[Any]:
        dictionary, post = self.bound[0].dictionary, getattr(self.block, "ln2_post", None)
        assert dictionary is not None
        reader = self.block.mlp if dictionary.normed else self.block.ln2
        yield reader.register_forward_pre_hook(self._keep, with_kwargs=True)
        writer = self.block.mlp if dictionary.inside or post is None else post
        yield writer.register_forward_hook(self._add)

    def _keep(self, module: nn.Module, given: tuple, named: dict) -> None:
        self._read = given[0] if given else named["hidden_states"]

    def _add(self, module: nn.Module, given: tuple, output: Any) -> Any:
        assert self._read is not None
        written = output[0] if isinstance(output, tuple) else output
        written = written + feature_change(self.bound, self._read, self.hooks.offset)
        return (written, *output[1:]) if isinstance(output, tuple) else written


class _Heads:
    """What heads of a layer write: the output projection's inputs are kept, and its output, or that of a post-norm,
    gets the difference."""

    def __init__(self, hooks: Hooks, block: Any, bound: Sequence[Bound]):
        self.hooks, self.block, self.bound = hooks, block, bound
        self.post: Norm | None = read_norm(getattr(block, "ln1_post", None))
        self._mixed: Tensor | None = None
        self._scale: Tensor | None = None

    def register(self) -> Iterator[Any]:
        out = unwrapped(self.block.attn.o)
        yield out.register_forward_pre_hook(self._keep_mixed)
        if self.post is None:
            yield out.register_forward_hook(self._add)
        else:
            post = self.block.ln1_post
            yield post.register_forward_pre_hook(self._keep_scale)
            yield post.register_forward_hook(self._add)

    def _keep_mixed(self, module: nn.Module, given: tuple) -> None:
        self._mixed = given[0]

    def _keep_scale(self, module: nn.Module, given: tuple) -> None:
        assert self.post is not None
        self._scale = self.post.scale(given[0])

    def _add(self, module: nn.Module, given: tuple, output: Tensor) -> Tensor:
        assert self._mixed is not None
        weights = self.block.attn.W_O  # [H, e, d]
        mixed = self._mixed.reshape(*output.shape[:2], len(weights), -1)
        for head in dict.fromkeys(one.unit.index for one in self.bound):
            written = mixed[:, :, head] @ weights[head].to(mixed)
            written = written if self._scale is None else written * self._scale
            mine = [one for one in self.bound if one.unit.index == head]
            output = output + self.hooks.changed(mine, written) - written
        return output


@torch.no_grad()
def logits_under(model: Model, bound: Sequence[Bound], tokens: Tensor) -> Tensor:
    """Logits [B, P, V] of token ids [B, P] under interventions, everything downstream computed anew."""
    with Hooks(model, bound).on():
        return model.bridge(tokens).to(model.device)
