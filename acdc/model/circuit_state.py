"""The present circuit of an ACDC run over one batch of rows: what its slots read and what its components write.

ACDC decides receivers from the logits backwards. When it tests an edge into a slot, everything upstream of the slot
still has its clean value, and everything downstream is pruned to kept edges already: so most values are those of the
full model's run, and only what a decision changed is stored here. Everything is held only where it is needed (`Need`).

Shapes: N rows, Q the positions where something is needed (all up to the last answer, or the answer alone), d the
residual width, e the head width. Readers and writers are named by their index in the graph.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from acdc.graph import ATTENTION_SLOTS, ReaderGroup, ReaderKind
from acdc.model.components import Positions, needed_length
from acdc.model.cone import Cone, Need
from acdc.model.executor import Ablated, Executor, RemovedEdges, Trace


class CircuitState:
    """Inputs, projections and outputs of the present circuit; whatever was never changed is read from the clean run."""

    def __init__(self, executor: Executor, clean: Trace, ablated: Ablated, answers: Tensor):
        """`clean` is the full model's run of N rows, `answers` [N] the positions where the logits are read."""
        self.components, self.graph = executor.components, executor.graph
        self.answers, self.ablated, self._clean, self._executor = answers, ablated, clean, executor
        prompt = clean.residuals[0].shape[1]
        length = needed_length(self.components, answers, prompt)
        self.at = {Need.ANSWER: Positions(length, answers), Need.EVERYWHERE: Positions(length)}
        self.cone = Cone(self.graph, np.zeros(len(self.graph.writers), dtype=np.int8))
        self.cut_wires: set[tuple[int, int]] = set()  # (reader index, head)
        self.senders: dict[int, list[int]] = defaultdict(list)  # of a reader, over kept edges
        self.readers: dict[int, list[int]] = defaultdict(list)  # of a writer, over kept edges
        self._starts = np.cumsum([0, *(len(block) for block in clean.blocks)])
        self._forget()

    def _forget(self) -> None:
        self.inputs: dict[int, Tensor] = {}
        self.projections: dict[int, Tensor] = {}
        self.outputs: dict[int, Tensor] = {}
        self.unscaled: dict[int, Tensor] = {}  # by layer, heads before their post-norm [H, N, Q, d]

    # what the present circuit consists of

    def fork(self) -> "CircuitState":
        """A copy to change in another way; tensors are shared, as none is ever changed in place."""
        other = copy.copy(self)
        other.cone = Cone(self.graph, self.cone.needs.copy())
        other.cut_wires = set(self.cut_wires)
        for name in ("senders", "readers"):
            kept = {key: list(value) for key, value in getattr(self, name).items()}
            setattr(other, name, defaultdict(list, kept))
        for name in ("inputs", "projections", "outputs", "unscaled"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    def keep(self, writer: int, reader: int) -> None:
        """Take down that an edge is kept."""
        self.senders[reader].append(writer)
        self.readers[writer].append(reader)
        sharing = self.cone.sharing_scale(writer)
        self.cone.needs[sharing] = max(self.cone.needs[writer], self.need(reader))

    def is_read(self, writer: int) -> bool:
        """Whether an edge out of a component is kept."""
        return bool(self.readers[writer])

    def need(self, reader: int) -> Need:
        """Where a slot's input is needed."""
        slot = self.graph.readers[reader]
        match slot.kind:
            case ReaderKind.LOGITS:
                return Need.ANSWER
            case ReaderKind.MLP:
                return Need(int(self.cone.needs[self.cone.mlp(slot.layer)]))
            case ReaderKind.Q:
                return Need(int(self.cone.needs[self.cone.heads(slot.layer)][slot.head]))
            case _:
                return Need.EVERYWHERE

    def layer(self, reader: int) -> int:
        """The layer that a slot belongs to; the logits come after the last."""
        slot = self.graph.readers[reader]
        return self.graph.anatomy.n_layers if slot.kind is ReaderKind.LOGITS else slot.layer

    def owners(self, reader: int) -> list[int]:
        """The needed components that a slot is wired to, by writer index."""
        slot = self.graph.readers[reader]
        owners = (self.graph.writer_index[owner] for owner in self.graph.owners(slot))
        heads = self.cone.heads(slot.layer).start if slot.kind in ATTENTION_SLOTS else 0
        return [w for w in owners if self.cone.needs[w] and (reader, w - heads) not in self.cut_wires]

    def reach(self, reader: int) -> int:
        """Numbers per candidate that a change of a slot's input brings with it."""
        reached, waiting = set(), self.owners(reader)
        while waiting:
            writer = waiting.pop()
            if writer not in reached:
                reached.add(writer)
                waiting += [owner for r in self.readers[writer] for owner in self.owners(r)]
        width = self.graph.anatomy.d_model * len(self.answers)
        length = self.at[Need.EVERYWHERE].length
        everywhere = sum(int(self.cone.needs[writer]) == Need.EVERYWHERE for writer in reached)
        return width * (len(reached) + (everywhere + 3) * length)

    # its present values

    def input(self, reader: int) -> Tensor:
        """What a slot reads, [N, Q, d]."""
        if reader not in self.inputs:
            self.inputs[reader] = self.at[self.need(reader)].take(self._clean_input(reader))
        return self.inputs[reader]

    def output(self, writer: int) -> Tensor:
        """What a component writes, [N, Q, d]."""
        if writer not in self.outputs:
            self.outputs[writer] = self.at[int(self.cone.needs[writer])].take(self._clean_output(writer))
        return self.outputs[writer]

    def projection(self, reader: int) -> Tensor:
        """What an attention slot makes of its input, [N, Q, e]."""
        if reader not in self.projections:
            slot = self.graph.readers[reader]
            projected = self.components.project(slot.layer, slot.kind, self.input(reader)[None], [slot.head])
            self.projections[reader] = projected[0]
        return self.projections[reader]

    def used_projection(self, layer: int, kind: ReaderKind, head: int, new: dict[int, Tensor]) -> Tensor:
        """What a head uses as query, key or value: [N, Q, e], or of a slot in `new` what stands there."""
        reader = self.slot(layer, kind, head)
        if (reader, head) not in self.cut_wires:
            return new[reader] if reader in new else self.projection(reader)
        return self.ablated_projection(layer, kind, head)

    def ablated_projection(self, layer: int, kind: ReaderKind, head: int) -> Tensor:
        """What a head uses where its wire is cut, [N, Q, e]."""
        need = self.need(self.slot(layer, kind, head))
        ablated = self.ablated.projections[3 * layer + ATTENTION_SLOTS.index(kind)]
        whole = ablated[head * len(ablated) // self.graph.anatomy.n_heads]
        prompt = self._clean.residuals[0].shape[1]
        return self.at[need].take(whole.expand(len(self.answers), prompt, -1))

    def unscaled_heads(self, layer: int) -> Tensor:
        """What all heads of a layer write before their post-norm, [H, N, Q, d]."""
        if layer not in self.unscaled:
            heads = range(self.graph.anatomy.n_heads)
            q, k, v = (
                torch.stack([self.used_projection(layer, kind, head, {}) for head in heads]) for kind in ATTENTION_SLOTS
            )
            need = int(self.cone.needs[self.cone.heads(layer)][0])
            self.unscaled[layer] = self.components.attend(layer, q, k, v, self.at[need], list(heads))
        return self.unscaled[layer]

    def slot(self, layer: int, kind: ReaderKind, head: int) -> int:
        """The slot that a head takes its query, key or value from."""
        group = self.graph.group_at[layer, kind]
        return self.graph.reader_index[group.readers[head * len(group.readers) // self.graph.anatomy.n_heads]]

    def removal(self, writers: Sequence[int], reader: int) -> Tensor:
        """How a slot's input changes when these senders are removed, one after the other: [senders, N, Q, d]."""
        at = self.at[self.need(reader)]
        prompt = self._clean.residuals[0].shape[1]
        values = self.ablated.values
        changes = (
            at.take(values[w].expand(len(self.answers), prompt, -1)) - at.take(self._clean_output(w)) for w in writers
        )
        return torch.stack(list(changes)).cumsum(0)

    def _clean_input(self, reader: int) -> Tensor:
        slot, shape = self.graph.readers[reader], self.graph.anatomy
        residual = self._clean.residuals[self.layer(reader)]
        if slot.kind is not ReaderKind.MLP or shape.parallel:
            return residual
        bias = self.components.attention_bias(slot.layer)
        written = self._clean.blocks[1 + 2 * slot.layer].sum(0)
        return residual + (written if bias is None else written + bias)

    def _clean_output(self, writer: int) -> Tensor:
        return self._of(self._clean, writer)

    def _of(self, trace: Trace, writer: int) -> Tensor:
        """What a component writes in a run, [N, positions, d]."""
        block = int(np.searchsorted(self._starts, writer, side="right")) - 1
        return trace.blocks[block][writer - self._starts[block]]

    def refresh(self, removed: np.ndarray, layer: int) -> None:
        """Compute everything from a layer on anew, in a run of its own, so that rounding cannot add up.

        `removed` is boolean [edges]; nothing below the layer may be removed.
        """
        self._forget()
        recorder = _Recorder(self, removed)
        trace = self._executor.resume(self._clean, layer, 1, self.answers, recorder)
        for writer, need in enumerate(self.cone.needs.tolist()):
            if need and self.graph.writers[writer].layer >= layer:
                self.outputs[writer] = self.at[need].take(self._of(trace, writer))


class _Recorder(RemovedEdges):
    """Takes down what the slots of needed components read."""

    def __init__(self, state: CircuitState, removed: np.ndarray):
        super().__init__(state.graph, removed[None], state.ablated, len(state.answers))
        self.state = state

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        read = super().read(group, residual, blocks)
        for row, slot in enumerate(group.readers):
            reader = self.graph.reader_index[slot]
            if group.kind is ReaderKind.LOGITS or self.state.owners(reader):
                taken = self.state.at[self.state.need(reader)].take(read[row if len(read) > 1 else 0])
                self.state.inputs[reader] = taken.clone()
        return read
