"""Follow a change of the present circuit down to the logits, over kept edges alone, for many candidates at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from acdc.execution.required_positions import Required
from acdc.graph import ATTENTION_SLOTS, ReaderKind
from acdc.search.acdc.route import FEW, LayerRoute, Route
from acdc.search.acdc.widths import CACHE_BYTES


class Propagation:
    """One change of a `CircuitState`, for C candidates.

    It starts with new inputs of one slot, or with a within-head edge that is cut; what it reaches is computed in
    topological order, every input as the sum of what its senders change of the ablated stream. What is done in a layer
    is done for all of its heads, slots and candidates at once."""

    def __init__(self, route: Route, candidates: int, record: bool = False):
        """`record` keeps all that was computed, for `commit`; it is meant for one candidate."""
        self.route, self.state, self.candidates, self.record = route, route.state, candidates, record
        self._at = {need: at.repeat(candidates) for need, at in self.state.at.items()}
        self._inputs: dict[int, Tensor] = {}
        self._projections: dict[int, Tensor] = {}
        self._unscaled: dict[int, Tensor] = {}
        # by writer: the place of its change in a block [writers, C, N, Q, d], and that block by where it is needed
        self._changes: dict[int, tuple[int, dict[Required, Tensor]]] = {}

    def from_input(self, reader: int, new: Tensor) -> Tensor:
        """A slot reads `new` [C, N, Q, d]: what the logits read at all answers then, [C * N * answers, d]."""
        return self.run({reader: new})

    def run(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """The same for what several slots of one layer read, none where the route starts with a cut."""
        self._inputs.update(inputs)
        for layer in self.route.layers:
            self._attention(layer)
            if layer.mlp:
                self._mlp(layer.layer)
        return self._sum([len(self.state.graph.readers) - 1])[0].flatten(0, 2)

    def commit(self) -> None:
        """Make a recorded change of one candidate the state's present."""
        state, cut = self.state, self.route.cut
        state.adopt(
            {
                writer: found[Required(int(state.required.needs[writer]))][place, 0]
                for writer, (place, found) in self._changes.items()
            },
            {reader: projected[0] for reader, projected in self._projections.items()},
            {layer: heads[:, 0] for layer, heads in self._unscaled.items()},
        )
        if cut:
            state.cut_within_head.add((state.graph.reader_index[cut.reader], cut.owner.head))

    def _changed(self, writers: Sequence[int], need: Required, new: Tensor) -> None:
        """Record that components now write `new` [writers, C, N, Q, d], which becomes their change."""
        ablated = self.route.ablated(writers, need)
        block = {need: new - ablated if new.requires_grad else new.sub_(ablated)}
        self._changes.update({writer: (place, block) for place, writer in enumerate(writers)})

    def _change(self, writer: int, need: Required) -> Tensor:
        place, block = self._changes[writer]
        if need not in block:
            whole = block[Required.EVERYWHERE].flatten(1, 2)
            block[need] = self._at[need].take(whole).unflatten(1, (self.candidates, -1))
        return block[need][place]

    def _sum(self, readers: Sequence[int]) -> Tensor:
        """What slots of one layer read at the same positions, [slots, C, N, Q, d]."""
        if len(readers) == 1 and readers[0] in self._inputs:
            return self._inputs[readers[0]][None]
        given = [place for place, reader in enumerate(readers) if reader in self._inputs]
        found, need = self.route.sum_of(readers), self.state.need(readers[0])
        total = found.rest[:, None].expand(-1, self.candidates, -1, -1, -1)
        if not found.pairs and not given:
            return total
        total = total.contiguous() if self.candidates > 1 else total.clone()
        if len(found.pairs) <= FEW:
            for place, writer in found.pairs:
                total[place].add_(self._change(writer, need))
        else:
            changes = torch.stack([self._change(writer, need) for writer in found.senders])
            total.flatten(1).addmm_(found.matrix, changes.flatten(1))
        for place in given:
            total[place] = self._inputs[readers[place]]
        return total

    def _project(self, kind: ReaderKind, readers: Sequence[int]) -> dict[int, Tensor]:
        """Projections [C, N, Q, e] of slots of one kind and layer whose inputs changed, at the same positions."""
        state = self.state
        found: dict[int, Tensor] = {}
        if not readers:
            return found
        slots = [state.graph.readers[reader] for reader in readers]
        like = state.stream(readers[0])
        most = CACHE_BYTES[state.kind] // (self.candidates * like.nbytes)
        for start in range(0, len(readers), max(1, most)):
            some = slice(start, start + max(1, most))
            read = self._sum(readers[some]).flatten(1, 2)
            heads = [slot.head for slot in slots[some]]
            out = state.components.project(slots[0].layer, kind, read, heads).unflatten(1, (self.candidates, -1))
            found.update(zip(readers[some], out, strict=True))
        if self.record:
            self._projections.update(found)
        return found

    def _attention(self, layer: LayerRoute) -> None:
        """Compute the heads of a layer that the change reaches."""
        state, slots = self.state, layer.slots
        if not layer.heads:
            return
        new = {k: v for kind in (ReaderKind.K, ReaderKind.V) for k, v in self._project(kind, slots[kind]).items()}
        for need in (Required.ANSWER, Required.EVERYWHERE):
            if some := [writer for writer in layer.heads if state.required.needs[writer] == need]:
                queries = [reader for reader in slots[ReaderKind.Q] if state.need(reader) == need]
                self._heads(layer, some, need, {**new, **self._project(ReaderKind.Q, queries)})

    def _heads(self, layer: LayerRoute, writers: list[int], need: Required, new: dict[int, Tensor]) -> None:
        state, first = self.state, self.state.required.heads(layer.layer).start
        heads = [writer - first for writer in writers]
        q, k, v = (
            torch.stack([self._used(layer.layer, kind, head, new) for head in heads]).flatten(1, 2)
            for kind in ATTENTION_SLOTS
        )
        out = state.attend(layer.layer, q, k, v, need, heads)
        out = out.unflatten(1, (self.candidates, -1))
        if state.graph.anatomy.post_norms:
            writers, out = layer.rescaled, self._rescaled(layer.layer, heads, out)
        self._changed(writers, need, out)

    def _used(self, layer: int, kind: ReaderKind, head: int, new: dict[int, Tensor]) -> Tensor:
        """What a head uses as query, key or value, [C, N, Q, e]."""
        state, cut = self.state, self.route.cut
        if cut and (cut.owner.layer, cut.reader.kind, cut.owner.head) == (layer, kind, head):
            used = state.ablated_projection(layer, kind, head)
        else:
            used = state.used_projection(layer, kind, head, new)
        return used.expand(self.candidates, *used.shape[-3:])

    def _rescaled(self, layer: int, heads: list[int], out: Tensor) -> Tensor:
        """All heads of a layer under its post-norm, of which these write `out` [H, C, N, Q, d] before it."""
        state = self.state
        unscaled = state.unscaled_heads(layer)[:, None].repeat(1, self.candidates, 1, 1, 1)
        for place, head in enumerate(heads):
            unscaled[head] = out[place]
        if self.record:
            self._unscaled[layer] = unscaled
        return unscaled * state.components.attention_scale(layer, unscaled.sum(0))

    def _mlp(self, layer: int) -> None:
        """Compute a layer's MLP."""
        state = self.state
        reader, writer = state.mlp_slot(layer), state.required.mlp(layer)
        written = state.components.mlp(layer, self._sum([reader])[0].flatten(0, 1))
        need = Required(int(state.required.needs[writer]))
        self._changed([writer], need, written.unflatten(0, (self.candidates, -1))[None])
