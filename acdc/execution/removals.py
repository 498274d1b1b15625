"""Run a circuit with a few edges removed or added, at the cost of what each change reaches through kept edges.

The circuit is run once. A changed edge changes what one slot reads; only the components that this reaches over kept
edges are computed again, for many variants of the circuit at once, and everything else is taken from that first run.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import Components, at_places, upload
from acdc.execution.required_positions import Required, RequiredPositions
from acdc.execution.subgraph import Changes, Projections, Prompts, SubgraphRun
from acdc.graph import ATTENTION_SLOTS, ComponentGraph, ReaderGroup, ReaderKind

SPARSE = 3  # a sum over one of so many senders takes a copy of them first: a product reads all senders from memory


class Reach:
    """Which components a change at each slot of a circuit reaches through its edges, and at what cost."""

    def __init__(self, graph: ComponentGraph, kept: np.ndarray):
        """`kept`: the circuit with every edge that may be added to it, boolean [edges]."""
        self.graph, self.kept, self.required = graph, kept, RequiredPositions.of(graph, kept)
        writers = len(graph.writers)
        self._of_slot = np.zeros((len(graph.readers), writers), dtype=bool)
        self._after = np.eye(writers, dtype=bool) & (
            self.required.needs > 0
        )  # each needed component and what follows it
        for group in reversed(graph.groups):
            first = graph.reader_index[group.readers[0]]
            reached = self._of_slot[first : first + len(group.readers)]
            for row in range(len(group.readers)):
                for owner in self._live_owners(group, row):
                    reached[row] |= self._after[owner]
            block = kept[group.start : group.stop].reshape(len(group.readers), group.senders)
            if group.kind is not ReaderKind.LOGITS:
                followed = block.T.astype(np.float32) @ reached.astype(np.float32) > 0
                needed = self.required.needs[: group.senders, None] > 0
                self._after[: group.senders] |= followed & needed

    def _live_owners(self, group: ReaderGroup, row: int) -> list[int]:
        """The needed components that use a slot; under post-norms all heads of a layer, which share its scale."""
        owners = [self.graph.writer_index[owner] for owner in self.graph.owners(group.readers[row])]
        if self.graph.direct_edges and group.kind in ATTENTION_SLOTS:
            start = self.graph.within_head_start(group.layer, group.kind) - self.required.heads(group.layer).start
            owners = [owner for owner in owners if self.kept[start + owner]]
        live = [owner for owner in owners if self.required.needs[owner]]
        return [other for owner in live for other in range(*self.required.sharing_scale(owner).indices(10**9))]

    def of(self, edges: np.ndarray) -> np.ndarray:
        """Boolean [edges, writers] of what removing each of some edges reaches; a within-head edge reaches its head and
        on."""
        inside = len(self.graph.edges)
        reached = np.zeros((len(edges), len(self.graph.writers)), dtype=bool)
        for place, edge in enumerate(edges.tolist()):
            if edge < inside:
                reached[place] = self._of_slot[self.graph.ends[1][edge]]
            else:
                owner = self.graph.writer_index[self.graph.within_heads[edge - inside].owner]
                reached[place] = self._after[self.required.sharing_scale(owner)].any(axis=0)
        return reached


def together(graph: ComponentGraph, edges: np.ndarray) -> list[np.ndarray]:
    """Edges by the group of slots that they lead into, within-head edges by layer and kind: those that one run can
    remove."""
    starts = [group.start for group in graph.groups]
    if graph.direct_edges:
        layers = range(graph.anatomy.n_layers)
        starts += sorted(graph.within_head_start(layer, kind) for layer in layers for kind in ATTENTION_SLOTS)
    of = np.searchsorted(starts, edges, side="right")
    return [edges[of == one] for one in np.unique(of)]


class CircuitRun(SubgraphRun):
    """One run of a circuit over a batch, kept so that variants of it can start from it: with what every slot reads and
    what heads make of that."""

    def __init__(self, components: Components, required: RequiredPositions, prompts: Prompts, kept: np.ndarray):
        """`kept`: the circuit, boolean [edges]; `required`: of it and all variants. `prompts` have a stream."""
        self.projected = Projections()
        # [N, Q, d] by the group's start, the slot's row in it, and where it is read
        self._inputs: dict[tuple[int, int, Required], Tensor] = {}
        super().__init__(components, required, prompts, kept[None], self.projected)
        self.read_by_logits = self.final()

    def variants(self, kept: np.ndarray, reached: np.ndarray) -> Tensor:
        """What the logits read at N answers in variants of the circuit, boolean [C, edges]: [C * N, d].
        `reached`: boolean [writers] of what their changes reach, see `Reach.of`."""
        return _Variants(self, kept, reached).final()

    def _read(self, slots: Sequence[tuple[ReaderGroup, int]], need: Required, stream: Tensor) -> Tensor:
        read = super()._read(slots, need, stream)
        self._inputs.update({(group.start, row, need): x for (group, row), x in zip(slots, read, strict=True)})
        return read

    def inputs(self, group: ReaderGroup, rows: Sequence[int], need: Required) -> Tensor:
        """What some slots of a group read, [slots, N, Q, d]."""
        return torch.stack([self._inputs[group.start, row, need] for row in rows])

    def change(self, writers: Sequence[int] | np.ndarray, need: Required) -> Tensor:
        """What some writers write less their ablated values, [writers, N, Q, d]."""
        changes = self._changes[need]
        return at_places(changes.values[0], np.searchsorted(changes.writers, writers).tolist())


class _Variants(SubgraphRun):
    """One run of C variants of a circuit. `_changes` holds how writers differ from the circuit's run, so that a slot's
    input is the circuit's and these differences."""

    def __init__(self, run: CircuitRun, kept: np.ndarray, reached: np.ndarray):
        self.components, self.required, self.prompts, self.graph = run.components, run.required, run.prompts, run.graph
        self._run, self._stream, self._projections, self.suffix = run, run._stream, None, run.suffix
        self.kept, self._changed = kept, reached
        edges = np.flatnonzero(np.any(kept != run.kept, axis=0))
        inside = len(self.graph.edges)
        self._opened = {int(reader) for reader in self.graph.ends[1][edges[edges < inside]]}
        like = self.prompts.embedded
        needed = {
            Required.EVERYWHERE: self._changed & (self.required.needs == Required.EVERYWHERE),
            Required.ANSWER: self._changed,
        }
        self._changes = {
            need: Changes.reserve(
                np.flatnonzero(writers), (len(kept), -1, self.rows, self.suffix.at[need].count, like.shape[-1]), like
            )
            for need, writers in needed.items()
        }

    def _feed_forward(self, layer: int) -> None:
        if self._changed[self.required.mlp(layer)]:
            super()._feed_forward(layer)

    def _record(self, writers: Sequence[int], values: Tensor, need: Required) -> None:
        values = values.unflatten(1, (len(self.kept), self.rows)).transpose(0, 1)
        everywhere = need is Required.EVERYWHERE
        for at in (Required.EVERYWHERE, Required.ANSWER) if everywhere else (Required.ANSWER,):
            ablated = self.suffix.take(at_places(self.prompts.ablated.values, writers), at)
            if at is Required.ANSWER and everywhere:
                values = self._take(values)
            self._changes[at].put(writers, values, ablated + self._run.change(writers, at))

    def _read(self, slots: Sequence[tuple[ReaderGroup, int]], need: Required, stream: Tensor) -> Tensor:
        (group, _), rows = slots[0], [row for _, row in slots]
        changes, senders = self._changes[need], group.senders
        new = changes.writers[changes.writers < senders]
        kept = self.kept[:, group.start : group.stop].reshape(len(self.kept), len(group.readers), senders)[:, rows]
        total = self._run.inputs(group, rows, need)
        size, total = total.shape[1:], total.flatten(1).repeat(len(self.kept), 1, 1)
        shared = self._run.kept[0, group.start : group.stop].reshape(len(group.readers), senders)[rows]
        for candidate, row, sender in np.argwhere(kept != shared).tolist():
            change = self._run.change([sender], need).flatten()
            total[candidate, row] += change if kept[candidate, row, sender] else -change
        kept, values = kept[:, :, new], changes.values[:, : len(new)]
        read = np.flatnonzero(kept.any(axis=(0, 1)))
        if len(read):
            if SPARSE * len(read) < len(new):
                kept, values = kept[:, :, read], at_places(values, read.tolist(), dim=1)
            total.baddbmm_(_numbers(kept, total), values.flatten(2))
        return total.view(len(self.kept), len(slots), *size).transpose(0, 1).flatten(1, 2)

    def _attend(self, layer: int) -> None:
        heads = np.flatnonzero(self._changed[self.required.heads(layer)])
        if not len(heads):
            return
        first, shared = self.required.heads(layer).start, self.graph.anatomy.group_size
        needs = self.required.needs[self.required.heads(layer)]
        keys_and_values = sorted({h // shared for h in heads.tolist()})
        places = {h: keys_and_values.index(h // shared) for h in heads.tolist()}
        k, v = (
            self._projected(layer, kind, keys_and_values, Required.EVERYWHERE) for kind in (ReaderKind.K, ReaderKind.V)
        )
        for need in (Required.ANSWER, Required.EVERYWHERE):
            some = heads[needs[heads] == need].tolist()
            if not some:
                continue
            q = self._within_head(layer, ReaderKind.Q, some, self._projected(layer, ReaderKind.Q, some, need), need)
            at = [places[h] for h in some]
            keys = self._at_all_positions(layer, ReaderKind.K, some, at_places(k, at))
            values = self._at_all_positions(layer, ReaderKind.V, some, at_places(v, at))
            out = self.components.attend(layer, q, keys, values, self._at[need], some)
            if self.graph.anatomy.post_norms:  # then all heads of the layer change alike
                out = out * self.components.attention_scale(layer, out.sum(0))
            self._record([first + h for h in some], out, need)

    def _projected(self, layer: int, kind: ReaderKind, rows: list[int], need: Required) -> Tensor:
        """Projections [slots, C * N, Q, e] of some slots: anew where what they read has changed."""
        group = self.graph.group_at[layer, kind]
        block = np.any(self.kept[:, group.start : group.stop], axis=0).reshape(len(group.readers), group.senders)
        touched = np.any(block & self._changed[: group.senders], axis=1)
        anew = [r for r in rows if touched[r] or self.graph.reader_index[group.readers[r]] in self._opened]
        found: dict[int, Tensor] = {}
        if anew:
            read = self._read([(group, row) for row in anew], need, self._stream.attention[layer])
            found = dict(zip(anew, self.components.project(layer, kind, read, anew), strict=True))
        before = self._run.projected
        copies = len(self.kept)
        return torch.stack(
            [found[row] if row in found else before[layer, kind, row].repeat(copies, 1, 1) for row in rows]
        )


def _numbers(kept: np.ndarray, like: Tensor) -> Tensor:
    return upload(kept, like.device).to(like.dtype)
