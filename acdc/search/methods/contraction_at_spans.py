"""The same as `contract`, span by span: what each sender changes at a span, times the gradients of what reads it there.

Runs record the gradients at keys and values for the queries of each span apart. Tokens are sorted by their spans once,
so that what belongs together is multiplied in one product for each span and layer.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import Components
from acdc.execution.slots import Views
from acdc.graph import ComponentGraph
from acdc.graph.positional_graph import PositionalGraph
from acdc.search.methods.contraction import (
    Contraction,
    Gradient,
    Taps,
    absolute_dot_products,
    by_senders,
    carry_back,
    dot_products,
)


def contraction_at_spans(
    graph: PositionalGraph, where: np.ndarray, device: torch.device, absolute: bool = False
) -> Contraction:
    """For rows whose positions are at the spans `where` [rows, P]; `absolute`: sums up rows' absolute scores."""
    apart = Views.of(where, [(span,) for span in range(len(graph.spans))], device)
    kind = _TokensByRow if absolute else _Tokens
    tokens = [kind(where == span, device) for span in range(len(graph.spans))]
    return Contraction(partial(contract_at_spans, graph, tokens), apart)


class _Tokens:
    """The tokens of a span in all rows, one after the other."""

    multiply = staticmethod(dot_products)

    def __init__(self, own: np.ndarray, device: torch.device):
        """`own` [rows, P]: which tokens these are."""
        self._flat = torch.from_numpy(np.flatnonzero(own)).to(device)
        self.any = bool(own.any())

    def of(self, x: Tensor) -> Tensor:
        """[..., rows * P, d] -> [..., tokens, d]."""
        return x.index_select(1, self._flat)


class _TokensByRow:
    """The tokens of a span row by row; where a row has fewer than another, zeros come after them."""

    multiply = staticmethod(absolute_dot_products)

    def __init__(self, own: np.ndarray, device: torch.device):
        most = int(own.sum(1).max())
        chosen = np.argsort(~own, axis=1, kind="stable")[:, :most]
        flat = chosen + own.shape[1] * np.arange(len(own))[:, None]
        self._flat = torch.from_numpy(flat.reshape(-1)).to(device)
        self._real = torch.from_numpy(np.take_along_axis(own, chosen, 1)).to(device)
        self.any = bool(own.any())

    def of(self, x: Tensor) -> Tensor:
        """[..., rows * P, d] -> [..., rows, tokens, d]."""
        return x.index_select(1, self._flat).unflatten(1, self._real.shape) * self._real[..., None]


@torch.no_grad()
def contract_at_spans(
    graph: PositionalGraph,
    tokens: Sequence[_Tokens | _TokensByRow],
    runs: Sequence[Taps],
    components: Components,
    whole: ComponentGraph,
    change: Tensor,
    first: int = 0,
) -> Tensor:
    """Scores of the positional edges out of the writers from `first` on, as `contract` gives those of edges."""
    assert graph.graph is whole
    scores = torch.zeros(graph.n_edges, dtype=torch.float64)
    changes = [some.of(change.flatten(1, 2)) for some in tokens]
    for together in by_senders(runs):
        read = [_Read.of(graph, components, found, change) for found in together]
        last = min(max(one.senders for one in read), first + len(change))
        if last <= first:
            continue
        for source, some in enumerate(tokens):
            here = [(one, place) for one in read if (place := one.pair_from(source)) is not None]
            if not here or not some.any:
                continue
            gradients = torch.cat([some.of(one.gradients) for one, _ in here])
            block = some.multiply(changes[source][: last - first], gradients)
            for (one, place), part in zip(
                here, block.split([len(one.gradients) for one, _ in here], dim=1), strict=True
            ):
                own = min(last, one.senders)
                if own > first:
                    one.block(scores)[:, place, first:own] = part[: own - first].T
    return scores


class _Read:
    """What a group of slots reads, or what some queries see of it: gradients [readers, tokens, d] at that, and which
    edges these belong to."""

    def __init__(self, graph: PositionalGraph, found: Gradient, gradients: Tensor):
        self._group = graph.group_at[found.group.layer, found.group.kind]
        self._span = found.view.spans[0] if found.view else None
        self.gradients, self.senders = gradients, found.group.senders

    @classmethod
    def of(cls, graph: PositionalGraph, components: Components, runs: Sequence[Gradient], like: Tensor) -> "_Read":
        """Summed over runs."""
        wide = torch.promote_types(like.dtype, torch.float32)
        out = like.new_empty((len(runs[0].group.readers), *like.shape[1:]), dtype=wide)
        carry_back(components, [runs], out)
        return cls(graph, runs[0], out.flatten(1, 2))

    def pair_from(self, source: int) -> int | None:
        """Which pair of spans it is of, from a source; None where nothing reads that."""
        return self._group.place.get((source, source if self._span is None else self._span))

    def block(self, scores: Tensor) -> Tensor:
        """Its group's part of scores [edges]: [readers, pairs, senders]."""
        return scores[self._group.start : self._group.stop].view(self._group.shape)
