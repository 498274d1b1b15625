"""Gradients of a metric at every slot's input, contracted with what ablation changes of every component's output.

A run records the gradients of queries, keys and values and of the inputs of MLPs and logits. Layer by layer, the
former are carried back through projection and norm, slot by slot, and multiplied with the changes of all components
before: so no tensor with an axis for slots is ever held for more than one layer.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from acdc.execution.components import Change, Components
from acdc.execution.products import product
from acdc.execution.slots import SlotInputs, View, Views
from acdc.graph import ATTENTION_SLOTS, ComponentGraph, ReaderGroup, ReaderKind
from acdc.search.memory import WIDENED


@dataclass(frozen=True)
class HiddenChange:
    """Hidden neurons of each layer's MLP on the clean prompts [N, P, F], and what ablation changes of them."""

    clean: Sequence[Tensor]
    change: Sequence[Tensor]


@dataclass(frozen=True)
class Contraction:
    """How recorded gradients become scores of one form, which keys and values runs have to record `apart`, and what
    ablation changes of `hidden` neurons, where runs have to record these.

    Called as `contract` is."""

    function: Callable[..., Tensor]
    apart: Views | None = None
    hidden: HiddenChange | None = None

    def __call__(
        self, runs: "Sequence[Taps]", components: Components, graph: ComponentGraph, change: Tensor, first: int = 0
    ) -> Tensor:
        return self.function(runs, components, graph, change, first)

    def taps(self) -> "Taps":
        """What records what it needs of a run."""
        return Taps(self.apart, self.hidden is not None)


@dataclass(frozen=True)
class _Tap:
    """Where a group of slots reads: the input that all of them share, and the tensor whose gradient is recorded."""

    group: ReaderGroup
    read: Tensor
    watched: Tensor
    view: View | None = None


@dataclass(frozen=True)
class Gradient:
    """The gradient [readers, N, P, e or d] that was recorded for a group of slots, which all read `read`; of keys and
    values as a `view` sees them, where queries see their own."""

    group: ReaderGroup
    read: Tensor
    gradient: Tensor
    view: View | None = None


class Taps(SlotInputs):
    """Records, in a run with gradients, what their contraction needs: `gradients`, once settled, and at the hidden
    `neurons` of MLPs, by layer.

    An MLP's and the logits' input is watched itself, as one slot alone reads it; of attention slots what they project.
    """

    def __init__(self, apart: Views | None = None, neurons: bool = False) -> None:
        """`apart`: queries whose keys and values are recorded by themselves; `neurons`: record those, too."""
        self._apart, self._with_neurons = apart, neurons
        self.gradients: list[Gradient] = []
        self.neurons: dict[int, Tensor] = {}
        self._taps: list[_Tap] = []
        self._residual: Tensor | None = None

    def views(self, layer: int) -> Views | None:
        return self._apart

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        own = residual[None]
        if group.kind in ATTENTION_SLOTS:
            self._residual = own
        elif own.requires_grad:
            own.retain_grad()
            self._taps.append(_Tap(group, own, own))
        return own

    def inner(self, group: ReaderGroup, projected: Tensor) -> Tensor:
        return self._watched(group, projected, None)

    def inner_apart(self, view: View, group: ReaderGroup, projected: Tensor) -> Tensor:
        return self._watched(group, projected, view)

    def _watched(self, group: ReaderGroup, projected: Tensor, view: View | None) -> Tensor:
        if projected.requires_grad:
            projected.retain_grad()
            assert self._residual is not None  # slots read before they project
            self._taps.append(_Tap(group, self._residual, projected, view))
        return projected

    def hidden(self, layer: int) -> Change | None:
        return partial(self.watch_neurons, layer) if self._with_neurons else None

    def watch_neurons(self, layer: int, hidden: Tensor) -> Tensor:
        """Record the gradient at neurons [N, P, F], which it gives back."""
        if hidden.requires_grad:
            hidden.retain_grad()
            self.neurons[layer] = hidden
        return hidden

    def settle(self) -> None:
        """After the run has gone back: let go of all but gradients and what they are of."""
        self.neurons = {layer: x.grad for layer, x in self.neurons.items() if x.grad is not None}
        taken = [(tap, tap.watched.grad) for tap in self._taps]
        self.gradients = [
            Gradient(tap.group, tap.read.detach(), found, tap.view) for tap, found in taken if found is not None
        ]
        self._taps, self._residual = [], None


@torch.no_grad()
def contract(
    runs: Sequence[Taps],
    components: Components,
    graph: ComponentGraph,
    change: Tensor,
    first: int = 0,
    absolute: bool = False,
) -> Tensor:
    """Scores of the edges out of the writers from `first` on, whose outputs ablation would change by `change`
    [writers, N, P, d], summed over runs, P and N, `absolute`: over runs and P, then the absolute values over N; float64
    [edges] on the CPU; 0 for all other edges.

    The gradients of all runs are summed up before they are multiplied with the changes, which are the same for all.
    """
    multiply = absolute_dot_products if absolute else dot_products
    scores, layers = torch.zeros(graph.n_edges, dtype=torch.float64), by_senders(runs)
    most = max(_readers(together) for together in layers)
    wide = torch.promote_types(change.dtype, torch.float32)
    room = change.new_empty((most, *change.shape[1:]), dtype=wide)  # once, as memory is slow when it is new
    for together in layers:
        groups = [found[0].group for found in together]
        last = min(max(group.senders for group in groups), first + len(change))
        if last <= first:
            continue
        gradients = room[: _readers(together)]
        carry_back(components, together, gradients)
        block = multiply(change[: last - first], gradients)
        for group, part in zip(groups, block.split([len(group.readers) for group in groups], dim=1), strict=True):
            own = min(last, group.senders)
            scores[group.start : group.stop].view(-1, group.senders)[:, first:own] = part[: own - first].T
    return scores


@torch.no_grad()
def contract_coordinates(
    runs: Sequence[Taps], components: Components, graph: ComponentGraph, change: Tensor, first: int = 0
) -> Tensor:
    """The same for coordinates, each for all that read it: float64 [writers, d] on the CPU.

    The gradient at what a component writes is the sum of those at all slots after it.
    """
    by_group: dict[tuple[int, ReaderKind], list[Gradient]] = defaultdict(list)
    for found in (gradient for run in runs for gradient in run.gradients):
        by_group[found.group.layer, found.group.kind].append(found)
    wide = torch.promote_types(change.dtype, torch.float32)
    scores = torch.zeros((len(graph.writers), change.shape[-1]), dtype=torch.float64)
    gradient, last = torch.zeros_like(change[0], dtype=wide), first + len(change)

    def take_down(writers: range) -> None:
        for writer in writers:
            scores[writer] = (change[writer - first].to(wide) * gradient).sum((0, 1)).double().cpu()

    for together in sorted(by_group.values(), key=lambda found: -found[0].group.senders):
        group = together[0].group
        take_down(range(max(group.senders, first), last))
        last = min(last, max(group.senders, first))
        slots = gradient.new_empty((len(group.readers), *gradient.shape))
        carry_back(components, [together], slots)
        gradient += slots.sum(0)
    take_down(range(first, last))
    return scores


def by_senders(runs: Sequence[Taps]) -> list[list[list[Gradient]]]:
    """The gradients of each group, or of each view of it, in all runs. A layer's queries, keys and values are together
    with the MLP before them, which has but one sender less: so the changes are read once for all of these."""
    together: dict[int, dict[tuple, list[Gradient]]] = defaultdict(lambda: defaultdict(list))
    for found in (gradient for run in runs for gradient in run.gradients):
        group, seen_from = found.group, found.view.spans if found.view else ()
        together[group.layer + (group.kind is ReaderKind.MLP)][group.kind, seen_from].append(found)
    return [list(kinds.values()) for kinds in together.values()]


def _readers(together: Sequence[Sequence[Gradient]]) -> int:
    return sum(len(found[0].group.readers) for found in together)


def carry_back(components: Components, together: Sequence[Sequence[Gradient]], out: Tensor) -> None:
    """Write the gradients at the inputs of several groups' slots, each summed over runs, into `out` [readers, N, P,
    d]."""
    for found, part in zip(together, out.split([len(found[0].group.readers) for found in together]), strict=True):
        group, gradients = found[0].group, [one.gradient for one in found]
        if group.kind in ATTENTION_SLOTS:
            components.project_back(group.layer, group.kind, [one.read for one in found], gradients, part)
        else:
            torch.sum(torch.stack(gradients), 0, dtype=out.dtype, out=part)


def dot_products(change: Tensor, gradients: Tensor) -> Tensor:
    """[senders, N, P, d] and wide [readers, N, P, d] -> float64 [senders, readers] on the CPU."""
    wide, readers = gradients.dtype, gradients.flatten(1).T
    together = len(change) if change.dtype == wide else WIDENED
    parts = [product(some.to(wide).flatten(1), readers) for some in change.split(together)]
    return torch.cat(parts).double().cpu()


def absolute_dot_products(change: Tensor, gradients: Tensor) -> Tensor:
    """The same, of each row alone, in absolute value, summed over the rows."""
    wide, by_row = gradients.dtype, gradients.flatten(2).permute(1, 2, 0)
    together = len(change) if change.dtype == wide else WIDENED
    parts = [torch.bmm(some.to(wide).flatten(2).transpose(0, 1), by_row) for some in change.split(together)]
    return torch.cat(parts, dim=1).double().abs().sum(0).cpu()
