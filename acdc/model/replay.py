"""Components computed by the model's own modules: the slow way, for models that the weights were not read right from.

A block of the bridge is called with the arguments that the model itself calls it with, and hooks exchange what a slot
reads or an attention layer uses. Everything that the bridge can do, this can, at the price of whole blocks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from acdc.execution.components import Change, Positions
from acdc.execution.work import Work
from acdc.graph import ATTENTION_SLOTS, Anatomy, ReaderKind
from acdc.model.norms import read_norm
from acdc.model.positions import length_matters
from acdc.model.weights import multiplier

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge


class _Hook(Protocol):
    def __call__(self, tensor: Tensor, *, hook: "HookPoint") -> Tensor | None: ...


_KEPT_SHAPES = 64
_OURS = 7_001  # marks our hooks, so that a user's own stay where they are


class ReplayComponents:
    """See `acdc.execution.components.Components`."""

    kind = "replay"

    def __init__(self, bridge: "TransformerBridge", anatomy: Anatomy):
        """Raises InputError for a post-norm whose shares cannot be told apart."""
        self.bridge, self.anatomy, self.work = bridge, anatomy, Work()
        self.whole_prompts = anatomy.bidirectional or length_matters(bridge)
        self._multiplier = multiplier(bridge, "residual_multiplier")
        self._post_norms = [read_norm(getattr(block, "ln1_post", None)) for block in bridge.blocks]
        self._block_weights = [sum(p.numel() for p in b.parameters() if p.dim() > 1) for b in bridge.blocks]
        self._arguments = lru_cache(_KEPT_SHAPES)(self._capture_arguments)

    def embed(self, tokens: Tensor) -> Tensor:
        places = {"entering": self.bridge.blocks[0].hook_in}
        if self.anatomy.learned_positions:
            places["positions"] = self.bridge.pos_embed.hook_out
        with self._watched(places) as seen:
            self.bridge(tokens)
        if not self.anatomy.learned_positions:
            return seen["entering"][None]
        positions = seen["positions"].expand_as(seen["entering"])
        return torch.stack((seen["entering"] - positions, positions))

    def project(self, layer: int, kind: ReaderKind, x: Tensor, readers: Sequence[int] | None = None) -> Tensor:
        point = getattr(self.bridge.blocks[layer].attn, kind.value).hook_out
        heads = self.anatomy.n_heads if kind is ReaderKind.Q else self.anatomy.n_kv_heads
        readers = range(heads) if readers is None else readers
        projected = []
        for own in x:
            with self._watched({"projected": point}) as seen:
                self._run_block(layer, own)
            projected.append(seen["projected"])
        sources = projected if len(projected) == len(readers) else projected * len(readers)
        return torch.stack([source[:, :, reader] for source, reader in zip(sources, readers, strict=True)])

    @torch.enable_grad()
    def project_back(
        self, layer: int, kind: ReaderKind, reads: Sequence[Tensor], gradients: Sequence[Tensor], out: Tensor
    ) -> None:
        out.zero_()
        for x, gradient in zip(reads, gradients, strict=True):
            own = x.detach().repeat(len(gradient), 1, 1, 1).requires_grad_()
            out += torch.autograd.grad(self.project(layer, kind, own), own, gradient)[0]

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, at: Positions, heads: Sequence[int] | None = None
    ) -> Tensor:
        heads = list(range(self.anatomy.n_heads)) if heads is None else list(heads)
        shared = len(heads) // k.shape[0]
        k, v = (x.repeat_interleave(shared, dim=0) for x in (k, v))
        mixed: dict[int, Tensor] = {}
        group = self.anatomy.group_size
        for lane in range(group):  # heads that share a key and value head may use different ones here: one at a time
            if places := [i for i, head in enumerate(heads) if head % group == lane]:
                z = self._mix(layer, [heads[i] for i in places], q[places], k[places], v[places], at)
                mixed.update(zip(places, z, strict=True))
        out = self.bridge.blocks[layer].attn.W_O[heads] * self._multiplier
        self.work.evaluations += len(heads) * q.shape[1]
        return torch.stack([at.take(mixed[i]) @ weight for i, weight in enumerate(out)])

    def _mix(self, layer: int, heads: list[int], q: Tensor, k: Tensor, v: Tensor, at: Positions) -> Tensor:
        """What heads of different groups mix, [H, B, P, e], by one call of the block."""
        attention, length = self.bridge.blocks[layer].attn, k.shape[2]
        if at.chosen is not None or at.first:
            spread = q.new_zeros((*q.shape[:2], length, q.shape[3]))
            if at.chosen is None:
                spread[:, :, at.index] = q
            else:
                spread[:, torch.arange(q.shape[1], device=q.device)[:, None], at.chosen] = q
            q = spread
        given = {}
        for kind, values in zip(ATTENTION_SLOTS, (q, k, v), strict=True):
            ungrouped = kind is ReaderKind.Q
            whole = values.new_zeros(
                (self.anatomy.n_heads if ungrouped else self.anatomy.n_kv_heads, *values.shape[1:])
            )
            whole[[head if ungrouped else head // self.anatomy.group_size for head in heads]] = values
            given[getattr(attention, kind.value).hook_out] = whole.permute(1, 2, 0, 3)
        filler = q.new_zeros((q.shape[1], length, self.anatomy.d_model))
        with self._exchanged(given), self._watched({"z": attention.hook_z}) as seen:
            self._run_block(layer, filler)
        return seen["z"][:, :, heads].permute(2, 0, 1, 3)

    def attention_bias(self, layer: int) -> Tensor | None:
        bias = getattr(self.bridge.blocks[layer].attn.o.original_component, "bias", None)
        return None if bias is None else bias * self._multiplier

    def attention_scale(self, layer: int, total: Tensor) -> Tensor:
        norm = self._post_norms[layer]
        return torch.ones_like(total) if norm is None else norm.scale(total)

    def mlp(self, layer: int, x: Tensor, change: Change | None = None) -> Tensor:
        assert change is None, "hidden neurons of an MLP that the model computes by itself"
        block = self.bridge.blocks[layer]
        own = {block.ln2.hook_in: x} if hasattr(block, "ln2") else {}  # else it reads what enters the block
        with self._exchanged(own), self._watched({"written": block.hook_mlp_out}) as seen:
            self._run_block(layer, x)
        self.work.evaluations += x.shape[0]
        return seen["written"]

    def unembed(self, x: Tensor, columns: Tensor | None = None) -> Tensor:
        flat = x.reshape(-1, 1, x.shape[-1])
        with self._exchanged({self.bridge.ln_final.hook_in: flat}):
            logits = self.bridge(torch.zeros(len(flat), 1, dtype=torch.long, device=x.device))
        logits = logits.view(*x.shape[:-1], -1)
        self.work.flops += 2 * len(flat) * (sum(self._block_weights) + x.shape[-1] * logits.shape[-1])
        return logits if columns is None else logits.gather(-1, columns)

    def _run_block(self, layer: int, x: Tensor) -> None:
        arguments, named = self._arguments(*x.shape[:2])[layer]
        self.bridge.blocks[layer](x, *arguments, **named)
        attention = 2 * self.anatomy.n_heads * self.anatomy.d_head * x.shape[1]  # scores and mixing, per position
        self.work.flops += 2 * (self._block_weights[layer] + attention) * x.shape[0] * x.shape[1]

    @torch.no_grad()
    def _capture_arguments(self, sequences: int, length: int) -> list[tuple[tuple, dict]]:
        """What the model passes to each block besides the residual, for prompts of this shape."""
        seen, handles = [], []
        for block in self.bridge.blocks:
            record = lambda module, given, named: seen.append((given[1:], named))  # noqa: E731
            handles.append(block.register_forward_pre_hook(record, with_kwargs=True))
        try:
            self.bridge(torch.zeros(sequences, length, dtype=torch.long, device=self.bridge.cfg.device))
        finally:
            for handle in handles:
                handle.remove()
        return seen

    @contextmanager
    def _watched(self, points: "dict[str, HookPoint]") -> Iterator[dict[str, Tensor]]:
        """What passes these hook points."""
        seen: dict[str, Tensor] = {}

        def watch(name: str) -> _Hook:
            return lambda tensor, hook: seen.__setitem__(name, tensor)

        with self._hooked({point: watch(name) for name, point in points.items()}):
            yield seen

    def _exchanged(self, values: "dict[HookPoint, Tensor]") -> AbstractContextManager[None]:
        """Let these hook points pass on other values."""

        def exchange(other: Tensor) -> _Hook:
            return lambda tensor, hook: other.reshape(tensor.shape)

        return self._hooked({point: exchange(other) for point, other in values.items()})

    @contextmanager
    def _hooked(self, hooks: "Mapping[HookPoint, _Hook]") -> Iterator[None]:
        try:
            for point, function in hooks.items():
                point.add_hook(function, level=_OURS)
            yield
        finally:
            for point in hooks:
                point.remove_hooks(level=_OURS)
