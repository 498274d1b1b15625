"""What a transformer's components compute, one by one: the interface that runs, searches and measures share.

Shapes: B sequences, P positions, d the residual width, e the head width, V the vocabulary. Components that are asked
for only some heads or positions compute no others. Two implementations give the same numbers: `functional` computes
from weights, `replay` calls the model's own modules.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from acdc.execution.work import Work
from acdc.graph import Anatomy, ReaderKind

Change = Callable[[Tensor], Tensor]  # what becomes of an MLP's hidden neurons [..., F]
T = TypeVar("T")


@dataclass(frozen=True)
class Positions:
    """Where outputs are wanted: at the positions from `first` up to `length`, or at one position per sequence, `single`
    [B], or at as many [B, n]."""

    length: int
    single: Tensor | None = None
    first: int = 0

    @cached_property
    def _known(self) -> dict[Hashable, object]:
        return {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What depends on these positions alone, made when it is first asked for."""
        if key not in self._known:
            self._known[key] = make()
        return cast(T, self._known[key])

    def repeat(self, copies: int) -> "Positions":
        """The same for `copies` runs of the same sequences, one after the other."""
        single = self.single
        if single is None or copies == 1:
            return self
        return self.once(
            ("repeat", copies), lambda: Positions(self.length, single.repeat(copies, *[1] * (single.dim() - 1)))
        )

    @property
    def count(self) -> int:
        """How many there are of each sequence, Q."""
        if self.single is None:
            return self.length - self.first
        return 1 if self.single.dim() == 1 else self.single.shape[1]

    @property
    def chosen(self) -> Tensor | None:
        """The positions of each sequence, [B, n]; None where they are the same for all."""
        return None if self.single is None else self.single.view(len(self.single), -1)

    @property
    def index(self) -> Tensor | slice:
        """The wanted positions as an index: of each sequence [B, n], or where all share them a slice."""
        return slice(self.first, self.length) if self.chosen is None else self.chosen

    def to(self, device: torch.device) -> "Positions":
        return self if self.single is None else Positions(self.length, self.single.to(device))

    def take(self, x: Tensor) -> Tensor:
        """[..., B, P, d] -> [..., B, Q, d]: the wanted positions."""
        if self.single is None:
            return x[..., self.first : self.length, :]
        chosen = self.single.view(len(self.single), -1)
        flat = x.flatten(-3, -2).index_select(-2, self.once(("flat", x.shape[-2]), lambda: _flat(chosen, x.shape[-2])))
        return flat.unflatten(-2, chosen.shape)


def _flat(chosen: Tensor, positions: int) -> Tensor:
    """Where positions [B, n] are in [B * positions], [B * n]."""
    return (torch.arange(len(chosen), device=chosen.device)[:, None] * positions + chosen).flatten()


def needed_length(components: "Components", answers: Tensor, prompt: int) -> int:
    """How many positions of prompts of that length can matter for logits at `answers` [B] or [B, n]."""
    return prompt if components.whole_prompts else int(answers.max()) + 1


def as_index(places: Sequence[int]) -> slice | list[int]:
    """Places as an index into a tensor: a slice, which copies nothing, where each follows the one before."""
    run = range(places[0], places[0] + len(places))
    return slice(run.start, run.stop) if list(places) == list(run) else list(places)


def at_places(x: Tensor, places: Sequence[int], dim: int = 0) -> Tensor:
    """What is at some places of a dimension: as a view where each follows the one before."""
    if isinstance(as_index(places), slice):
        return x.narrow(dim, places[0], len(places))
    return x.index_select(dim, on_device(places, x.device))


_INDICES: dict[tuple[tuple[int, ...], torch.device], Tensor] = {}
MOST_INDICES = 4096  # kept on devices


def on_device(places: Sequence[int], device: torch.device) -> Tensor:
    """Places as an index that is on a device already, where it was there before."""
    key = tuple(places), device
    found = _INDICES.get(key)
    if found is None:
        found = upload(np.array(places), device)
        if type(found) is Tensor:  # what a dry run makes does not outlive it
            if len(_INDICES) >= MOST_INDICES:
                _INDICES.clear()
            _INDICES[key] = found
    return found


def upload(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy of an array on a device, in memory of PyTorch's own; the host does not wait for it."""
    there = torch.from_numpy(array)
    pinned = device.type == "cuda" and torch.cuda.is_available()  # a dry run is for GPUs that are not here, too
    return (there.pin_memory() if pinned else there).to(device, non_blocking=True, copy=True)


class Components(Protocol):
    """The components of one transformer; `kind` names the implementation in artefacts."""

    @property
    def kind(self) -> str: ...

    anatomy: Anatomy
    work: Work
    whole_prompts: bool  # what a position computes depends on what comes after it, or on how much does

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids [B, P] -> [1 or 2, B, P, d]: token and, where learned, position embeddings."""

    def project(self, layer: int, kind: ReaderKind, x: Tensor, readers: Sequence[int] | None = None) -> Tensor:
        """What q, k or v slots make of their inputs: [readers or 1, B, P, d] -> [readers, B, P, e].

        Norm and projection with its bias; norms and rotations of queries and keys belong to `attend`.
        """

    def project_back(
        self, layer: int, kind: ReaderKind, reads: Sequence[Tensor], gradients: Sequence[Tensor], out: Tensor
    ) -> None:
        """Write into `out` [readers, B, P, d], at least float32, the sum over runs of the gradients at the inputs of
        all slots of a kind, which all read x [1, B, P, d], from those [readers, B, P, e] at what they make of it."""

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, at: Positions, heads: Sequence[int] | None = None
    ) -> Tensor:
        """What heads write: q [H, B, Q, e], k and v [H or KV heads, B, P, e] -> [H, B, Q, d], before any post-norm."""

    def attention_bias(self, layer: int) -> Tensor | None:
        """What a layer's attention adds besides its heads, [d]."""

    def attention_scale(self, layer: int, total: Tensor) -> Tensor:
        """The factor [B, Q, d] of a post-norm on the sum of a layer's heads and bias; ones without one."""

    def mlp(self, layer: int, x: Tensor, change: Change | None = None) -> Tensor:
        """What an MLP writes: [B, Q, d] -> [B, Q, d], norms included. `change`: of its hidden neurons, before they are
        read, where these are computed from weights (`acdc.model.neurons`)."""

    def unembed(self, x: Tensor, columns: Tensor | None = None) -> Tensor:
        """Logits [..., B, V] of final residuals [..., B, d]; with `columns` [B, K] only of those ids, [..., B, K]."""
