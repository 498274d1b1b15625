"""The present circuit of an ACDC run over one batch of rows: what its slots read and what its components write.

ACDC decides receivers from the logits backwards. When it tests an edge into a slot, everything upstream of the slot
still has its clean value, and everything downstream is pruned to kept edges already: so most values are those of the
full model's run, and only what a decision changed is stored here. What a slot reads is summed up anew whenever it is
asked for, the ablated stream plus what its senders change of it: so rounding cannot add up over the decisions, and
nothing has to cancel. Everything is held only where it is needed (`Required`).

Shapes: N rows, Q the positions where something is needed (those of a `Suffix`, or the answers alone), d the residual
width, e the head width. Readers and writers are named by their index in the graph.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import as_index, at_places
from acdc.execution.executor import Executor, Trace
from acdc.execution.required_positions import Required, RequiredPositions
from acdc.execution.subgraph import Prompts
from acdc.graph import ATTENTION_SLOTS, ReaderGroup, ReaderKind

ALONG = 32  # components whose outputs are multiplied with a gradient at a time


class CircuitState:
    """Changes, projections and outputs of the present circuit; whatever was never changed is read from the clean run.

    A component's change is what it writes now minus what ablation leaves of it.
    """

    def __init__(self, executor: Executor, clean: Callable[[], Trace], prompts: Callable[[], Prompts], kind: str):
        """`clean` gives the full model's run of the prompts, which have a stream; neither is held here, so that
        whoever gives them decides what stays in memory. `kind`: of the device, `cpu` or `cuda`."""
        self.kind = kind
        self.components, self.graph = executor.components, executor.graph
        self._make_clean, self._make_prompts = clean, prompts
        self.suffix = self.prompts.suffix(self.components)
        self.rows, self.at = self.suffix.rows, self.suffix.at
        self.required = RequiredPositions(self.graph, np.zeros(len(self.graph.writers), dtype=np.int8))
        self.cut_within_head: set[tuple[int, int]] = set()  # (reader index, head)
        self._decided: set[int] = set()  # slots that have only kept edges left
        self.senders: dict[int, list[int]] = defaultdict(list)  # of a reader, over kept edges
        self.readers: dict[int, list[int]] = defaultdict(list)  # of a writer, over kept edges
        self._changes: dict[int, Tensor] = {}
        self._projections: dict[int, Tensor] = {}
        self._unscaled: dict[int, Tensor] = {}  # by layer, heads before their post-norm [H, N, Q, d]
        self._sums: dict[tuple[int, tuple[int, ...]], Tensor] = {}  # see `input`

    @property
    def prompts(self) -> Prompts:
        return self._make_prompts()

    @property
    def device(self) -> torch.device:
        return self.prompts.embedded.device

    @property
    def _clean(self) -> Trace:
        return self._make_clean()

    # what the present circuit consists of

    def fork(self) -> "CircuitState":
        """A copy to change in another way; tensors are shared, as none is ever changed in place."""
        other = copy.copy(self)
        other.required = RequiredPositions(self.graph, self.required.needs.copy())
        other.cut_within_head, other._decided = set(self.cut_within_head), set(self._decided)
        for name in ("senders", "readers"):
            kept = {key: list(value) for key, value in getattr(self, name).items()}
            setattr(other, name, defaultdict(list, kept))
        for name in ("_changes", "_projections", "_unscaled", "_sums"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    def keep(self, writer: int, reader: int) -> None:
        """Record that an edge is kept."""
        self.senders[reader].append(writer)
        self.readers[writer].append(reader)
        sharing = self.required.sharing_scale(writer)
        self.required.needs[sharing] = max(self.required.needs[writer], self.need(reader))

    def decide(self, reader: int, changed: bool) -> None:
        """Record that a slot has only kept edges left; `changed`: what it reads now has been adopted.

        Else what was made of its input is forgotten. From now on that is a sum over its senders, which rounds otherwise
        than the clean run: what is made of it must not depend on whether anybody has asked before.
        """
        self._decided.add(reader)
        if not changed and self._projections.pop(reader, None) is not None:
            self._unscaled.pop(self.layer(reader), None)

    def is_read(self, writer: int) -> bool:
        """Whether an edge out of a component is kept."""
        return bool(self.readers[writer])

    def need(self, reader: int) -> Required:
        """Where a slot's input is needed."""
        slot = self.graph.readers[reader]
        match slot.kind:
            case ReaderKind.LOGITS:
                return Required.ANSWER
            case ReaderKind.MLP:
                return Required(int(self.required.needs[self.required.mlp(slot.layer)]))
            case ReaderKind.Q:
                return Required(int(self.required.needs[self.required.heads(slot.layer)][slot.head]))
            case _:
                return Required.EVERYWHERE

    def layer(self, reader: int) -> int:
        """The layer that a slot belongs to; the logits come after the last."""
        slot = self.graph.readers[reader]
        return self.graph.anatomy.n_layers if slot.kind is ReaderKind.LOGITS else slot.layer

    def owners(self, reader: int) -> list[int]:
        """The needed components that a slot is wired to, by writer index."""
        slot = self.graph.readers[reader]
        owners = (self.graph.writer_index[owner] for owner in self.graph.owners(slot))
        heads = self.required.heads(slot.layer).start if slot.kind in ATTENTION_SLOTS else 0
        return [w for w in owners if self.required.needs[w] and (reader, w - heads) not in self.cut_within_head]

    def reached(self, reader: int) -> set[int]:
        """The components that read a slot, and so depend on its input."""
        reached, waiting = set(), self.owners(reader)
        while waiting:
            writer = waiting.pop()
            if writer not in reached:
                reached.add(writer)
                waiting += [owner for r in self.readers[writer] for owner in self.owners(r)]
        return reached

    # its present values

    def group(self, reader: int) -> ReaderGroup:
        """The group that a slot belongs to."""
        return self.graph.group_at[self.layer(reader), self.graph.readers[reader].kind]

    def stream(self, reader: int) -> Tensor:
        """What a slot reads of a circuit without edges, [N, Q, d]."""
        assert self.prompts.stream is not None
        return self.suffix.take(self.prompts.stream.at(self.group(reader)), self.need(reader))

    def input(self, reader: int, without: Sequence[int] = ()) -> Tensor:
        """What a slot reads, [N, Q, d]; `without` the changes of some kept senders. Kept until something changes."""
        if reader not in self._decided:
            return self.suffix.take(self._clean_input(reader), self.need(reader))
        asked = (reader, tuple(without))
        if asked not in self._sums:
            need, total = self.need(reader), self.stream(reader)
            for writer in self.senders[reader]:
                if writer not in without:
                    total = total + self.change(writer, need)
            self._sums[asked] = total
        return self._sums[asked]

    def ablated(self, writer: int, need: Required) -> Tensor:
        """What ablation leaves of a component, [N, Q, d]."""
        return self.suffix.take(self.prompts.ablated.values[writer], need)

    def change(self, writer: int, need: Required) -> Tensor:
        """What a component writes minus what ablation leaves of it, [N, Q, d]."""
        if writer not in self._changes:
            return self.suffix.take(self._clean_output(writer), need) - self.ablated(writer, need)
        narrowed = need == Required.ANSWER and self.required.needs[writer] == Required.EVERYWHERE
        return self.at[need].take(self._changes[writer]) if narrowed else self._changes[writer]

    def changes(self, writers: Sequence[int], need: Required) -> Tensor:
        """The same of several components, [writers, N, Q, d]."""
        if any(writer in self._changes for writer in writers):
            return torch.stack([self.change(writer, need) for writer in writers])
        upwards = sorted(writers)
        both = self._clean.values, self.prompts.ablated.values
        clean, gone = (self.suffix.take(at_places(x, upwards), need) for x in both)
        found = clean - gone
        return found if list(writers) == upwards else at_places(found, [upwards.index(w) for w in writers])

    def along(self, gradient: Tensor, reader: int, writers: Sequence[int]) -> np.ndarray:
        """Each row's inner products of a gradient at what a slot reads, [N, Q, d], with the changes of some components:
        float64 [writers, N]. Outputs that never changed, which are most of them, are multiplied without making the
        changes."""
        need, found = self.need(reader), np.empty((len(writers), self.rows))
        wide = torch.promote_types(gradient.dtype, torch.float32)
        flat, values, ablated = gradient.to(wide).flatten(1), self._clean.values, self.prompts.ablated.values

        def products(written: Tensor) -> Tensor:  # [writers, N, Q, d] -> [writers, N]
            return torch.einsum("wnd,nd->wn", written.to(wide).flatten(2), flat)

        upwards = np.argsort(writers)  # so that most of them lie side by side, and are not copied
        for start in range(0, len(writers), ALONG):
            places = upwards[start : start + ALONG]
            some = as_index([writers[place] for place in places])
            clean, gone = (products(self.suffix.take(x[some], need)) for x in (values, ablated))
            found[places] = (clean - gone).double().cpu().numpy()
        for place, writer in enumerate(writers):
            if writer in self._changes:
                found[place] = products(self.change(writer, need)[None])[0].double().cpu().numpy()
        return found

    def projection(self, reader: int) -> Tensor:
        """What an attention slot makes of its input, [N, Q, e]."""
        if reader not in self._projections:
            slot = self.graph.readers[reader]
            projected = self.components.project(slot.layer, slot.kind, self.input(reader)[None], [slot.head])
            self._projections[reader] = projected[0]
        return self._projections[reader]

    def used_projection(self, layer: int, kind: ReaderKind, head: int, new: dict[int, Tensor]) -> Tensor:
        """What a head uses as query, key or value: [N, Q, e], or of a slot in `new` what stands there."""
        reader = self.slot(layer, kind, head)
        if (reader, head) not in self.cut_within_head:
            return new[reader] if reader in new else self.projection(reader)
        return self.ablated_projection(layer, kind, head)

    def ablated_projection(self, layer: int, kind: ReaderKind, head: int) -> Tensor:
        """What a head uses where its within-head edge is cut, [N, Q, e]."""
        need = self.need(self.slot(layer, kind, head))
        ablated = self.prompts.ablated.projections[3 * layer + ATTENTION_SLOTS.index(kind)]
        return self.suffix.take(ablated[head * len(ablated) // self.graph.anatomy.n_heads], need)

    def unscaled_heads(self, layer: int) -> Tensor:
        """What all heads of a layer write before their post-norm, [H, N, Q, d]."""
        if layer not in self._unscaled:
            heads = range(self.graph.anatomy.n_heads)
            q, k, v = (
                torch.stack([self.used_projection(layer, kind, head, {}) for head in heads]) for kind in ATTENTION_SLOTS
            )
            need = Required(int(self.required.needs[self.required.heads(layer)][0]))
            self._unscaled[layer] = self.attend(layer, q, k, v, need, list(heads))
        return self._unscaled[layer]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, need: Required, heads: Sequence[int]) -> Tensor:
        """What heads write in C runs, before any post-norm, [H, C * N, Q, d]: of q [H, C * N, Q, e] where it is needed,
        and k and v at all positions of the suffix."""
        at = self.suffix.at_in_prompts[need].repeat(q.shape[1] // self.rows)
        slots = [head // self.graph.anatomy.group_size for head in heads]
        earlier = self.prompts.earlier
        keys, values = (earlier.join(layer, kind, slots, x) for kind, x in ((ReaderKind.K, k), (ReaderKind.V, v)))
        return self.components.attend(layer, q, keys, values, at, heads)

    def slot(self, layer: int, kind: ReaderKind, head: int) -> int:
        """The slot that a head takes its query, key or value from."""
        group = self.graph.group_at[layer, kind]
        return self.graph.reader_index[group.readers[head * len(group.readers) // self.graph.anatomy.n_heads]]

    def mlp_slot(self, layer: int) -> int:
        """What the MLP of a layer reads."""
        return self.graph.reader_index[self.graph.group_at[layer, ReaderKind.MLP].readers[0]]

    def adopt(self, changes: dict[int, Tensor], projections: dict[int, Tensor], unscaled: dict[int, Tensor]) -> None:
        """Make new values the present ones."""
        self._changes.update(changes)
        self._projections.update(projections)
        self._unscaled.update(unscaled)
        self._sums.clear()

    def _clean_input(self, reader: int) -> Tensor:
        slot, shape = self.graph.readers[reader], self.graph.anatomy
        residual = self._clean.residuals[self.layer(reader)]
        if slot.kind is not ReaderKind.MLP or shape.parallel:
            return residual
        bias = self.components.attention_bias(slot.layer)
        written = self._clean.blocks[1 + 2 * slot.layer].sum(0)
        return residual + (written if bias is None else written + bias)

    def _clean_output(self, writer: int) -> Tensor:
        """What a component writes in the full model, [N, positions, d]."""
        return self._clean.values[writer]
