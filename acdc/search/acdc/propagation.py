"""Follow a change of the present circuit down to the logits, over kept edges alone, for many candidates at once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from acdc.execution.required_positions import Required
from acdc.graph import ATTENTION_SLOTS, ReaderKind, WithinHeadEdge
from acdc.search.acdc.state import CircuitState

CACHE_BYTES = 8 * 2**20  # slot inputs that are projected in one product stay below this


class Propagation:
    """One change of a `CircuitState`, for C candidates.

    It starts with new inputs of one slot, or with a within-head edge that is cut; what it reaches is computed in
    topological order, every input as the sum of what its senders change of the ablated stream."""

    def __init__(self, state: CircuitState, candidates: int, record: bool = False):
        """`record` keeps all that was computed, for `commit`; it is meant for one candidate."""
        self.state, self.candidates, self.record = state, candidates, record
        self._inputs: dict[int, Tensor] = {}
        self._projections: dict[int, Tensor] = {}
        self._unscaled: dict[int, Tensor] = {}
        self._cut: WithinHeadEdge | None = None
        self._changes: dict[int, dict[Required, Tensor]] = {}
        self._touched: dict[tuple[int, ReaderKind], set[int]] = defaultdict(set)

    def from_input(self, reader: int, new: Tensor) -> Tensor:
        """A slot reads `new` [C, N, Q, d]: what the logits read at all answers then, [C * N * answers, d]."""
        return self.from_inputs({reader: new})

    def from_inputs(self, new: Mapping[int, Tensor]) -> Tensor:
        """The same for several slots of one layer."""
        self._inputs.update(new)
        for reader in new:
            self._touch(reader)
        return self._run(min(map(self.state.layer, new)))

    def from_cut(self, inner: WithinHeadEdge) -> Tensor:
        """A head is cut off one of its slots: what the logits read at all answers then, [C * N * answers, d]."""
        self._cut = inner
        return self._run(inner.owner.layer)

    def commit(self) -> None:
        """Make a recorded change of one candidate the state's present."""
        state = self.state
        state.adopt(
            {writer: found[Required(int(state.required.needs[writer]))][0] for writer, found in self._changes.items()},
            {reader: projected[0] for reader, projected in self._projections.items()},
            {layer: heads[:, 0] for layer, heads in self._unscaled.items()},
        )
        if self._cut:
            state.cut_within_head.add((state.graph.reader_index[self._cut.reader], self._cut.owner.head))

    def _run(self, first: int) -> Tensor:
        shape = self.state.graph.anatomy
        for layer in range(first, shape.n_layers):
            self._attention(layer)
            if not shape.attn_only:
                self._mlp(layer)
        return self._input(len(self.state.graph.readers) - 1).flatten(0, 2)

    def _touch(self, reader: int) -> None:
        slot = self.state.graph.readers[reader]
        self._touched[slot.layer, slot.kind].add(reader)

    def _changed(self, writer: int, need: Required, new: Tensor) -> None:
        """Record that a component now writes `new` [C, N, Q, d]."""
        self._changes[writer] = {need: new - self.state.ablated(writer, need)}
        for reader in self.state.readers[writer]:
            self._touch(reader)

    def _change(self, writer: int, need: Required) -> Tensor:
        found = self._changes[writer]
        if need not in found:
            at = self.state.at[need].repeat(self.candidates)
            found[need] = at.take(found[Required.EVERYWHERE].flatten(0, 1)).unflatten(0, (self.candidates, -1))
        return found[need]

    def _input(self, reader: int, out: Tensor | None = None) -> Tensor:
        """What a slot reads now, [C, N, Q, d]."""
        if reader in self._inputs:
            return self._inputs[reader] if out is None else out.copy_(self._inputs[reader])
        state, need = self.state, self.state.need(reader)
        changed = [writer for writer in state.senders[reader] if writer in self._changes]
        rest = state.input(reader, changed)
        if not changed:
            present = rest.expand(self.candidates, -1, -1, -1)
            return present if out is None else out.copy_(present)
        total = torch.add(rest, self._change(changed[0], need), out=out)
        for writer in changed[1:]:
            total += self._change(writer, need)
        return total

    def _inputs_of(self, readers: Sequence[int], out: Tensor) -> Tensor:
        """What several slots read now, [readers, C, N, Q, d]: in `out`, unless gradients have to flow."""
        if torch.is_grad_enabled():
            return torch.stack([self._input(reader) for reader in readers])
        for place, reader in zip(out, readers, strict=True):
            self._input(reader, out=place)
        return out

    def _project(self, readers: Sequence[int]) -> dict[int, Tensor]:
        """Projections [C, N, Q, e] of slots of one kind and layer whose inputs changed."""
        if not readers:
            return {}
        state = self.state
        found: dict[int, Tensor] = {}
        slots = [state.graph.readers[reader] for reader in readers]
        like = state.stream(readers[0])
        size = (self.candidates, *like.shape)
        together = max(1, CACHE_BYTES // (self.candidates * like.numel() * like.element_size()))
        for start in range(0, len(readers), together):
            some = slice(start, start + together)
            x = self._inputs_of(readers[some], like.new_empty((len(readers[some]), *size)))
            heads = [slot.head for slot in slots[some]]
            out = state.components.project(slots[0].layer, slots[0].kind, x.flatten(1, 2), heads)
            found.update(zip(readers[some], out.unflatten(1, (self.candidates, -1)), strict=True))
        if self.record:
            self._projections.update(found)
        return found

    def _attention(self, layer: int) -> None:
        """Compute the heads of a layer that the change reaches."""
        state = self.state
        first = state.required.heads(layer).start
        touched = {
            kind: [r for r in sorted(self._touched.pop((layer, kind), ())) if state.owners(r)]
            for kind in ATTENTION_SLOTS
        }
        heads = {writer - first for readers in touched.values() for r in readers for writer in state.owners(r)}
        if self._cut and self._cut.owner.layer == layer:
            heads.add(self._cut.owner.head)
        if not heads:
            return
        new = {**self._project(touched[ReaderKind.K]), **self._project(touched[ReaderKind.V])}
        for need in (Required.ANSWER, Required.EVERYWHERE):
            if some := sorted(h for h in heads if state.required.needs[first + h] == need):
                queries = [r for r in touched[ReaderKind.Q] if state.need(r) == need]
                self._heads(layer, some, need, {**new, **self._project(queries)})

    def _heads(self, layer: int, heads: list[int], need: Required, new: dict[int, Tensor]) -> None:
        q, k, v = (
            torch.stack([self._used(layer, kind, head, new) for head in heads]).flatten(1, 2)
            for kind in ATTENTION_SLOTS
        )
        state = self.state
        out = state.components.attend(layer, q, k, v, state.at[need].repeat(self.candidates), heads)
        out = out.unflatten(1, (self.candidates, -1))
        if state.graph.anatomy.post_norms:
            heads, out = self._rescaled(layer, heads, out)
        for head, written in zip(heads, out, strict=True):
            self._changed(state.required.heads(layer).start + head, need, written)

    def _used(self, layer: int, kind: ReaderKind, head: int, new: dict[int, Tensor]) -> Tensor:
        """What a head uses as query, key or value, [C, N, Q, e]."""
        state, cut = self.state, self._cut
        if cut and (cut.owner.layer, cut.reader.kind, cut.owner.head) == (layer, kind, head):
            used = state.ablated_projection(layer, kind, head)
        else:
            used = state.used_projection(layer, kind, head, new)
        return used.expand(self.candidates, *used.shape[-3:])

    def _rescaled(self, layer: int, heads: list[int], out: Tensor) -> tuple[list[int], Tensor]:
        """All heads of a layer under its post-norm, of which these write `out` [H, C, N, Q, d] before it."""
        state = self.state
        unscaled = state.unscaled_heads(layer)[:, None].repeat(1, self.candidates, 1, 1, 1)
        unscaled[heads] = out
        if self.record:
            self._unscaled[layer] = unscaled
        scale = state.components.attention_scale(layer, unscaled.sum(0))
        return list(range(len(unscaled))), unscaled * scale

    def _mlp(self, layer: int) -> None:
        """Compute a layer's MLP if the change reaches it."""
        state = self.state
        touched = [r for r in self._touched.pop((layer, ReaderKind.MLP), ()) if state.owners(r)]
        for reader in touched:
            written = state.components.mlp(layer, self._input(reader).flatten(0, 1))
            need = state.need(reader)
            self._changed(state.required.mlp(layer), need, written.unflatten(0, (self.candidates, -1)))
