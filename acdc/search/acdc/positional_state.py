"""The present circuit of an ACDC run at spans, over one batch of rows; `acdc.search.acdc.state` is the same without.

A node is a component at a span, and a slot a query, key, value or MLP at one, or the logits. Everything is held at the
tokens of its span alone, so the positions where something is needed are a set of spans instead of the answer, all, or
none. Whatever was never changed is read from the clean run.

Shapes: T the tokens of a span in all rows, one after the other; N rows of P positions; d the residual width, e the head
width. A node is (writer, span), a slot (reader, span), writers and readers being named by their index in the graph.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import Positions, as_index
from acdc.execution.executor import Executor, Trace
from acdc.execution.subgraph import Prompts
from acdc.graph import ReaderKind
from acdc.graph.positional_graph import PositionalGraph

Node = tuple[int, int]
Slot = tuple[int, int]


class SpanTokens:
    """Where the tokens of a span are: `flat` [T] among all of a batch, by `row` and `position`; its queries `at` [N,
    n], of which a row with fewer tokens has other positions of its own; which token each of these is, `padded` [N * n],
    and which of these each token is, `real` [T]."""

    def __init__(self, where: np.ndarray, span: int, device: torch.device):
        own = where == span
        rows, length = where.shape
        most = max(1, int(own.sum(1).max()))
        chosen = np.argsort(~own, axis=1, kind="stable")[:, :most]
        real = np.take_along_axis(own, chosen, 1).reshape(-1)
        padded = np.where(real, real.cumsum() - 1, 0)
        self.count = int(own.sum())
        self.flat, self.padded, self.real, self.row, self.position = (
            torch.from_numpy(found).to(device)
            for found in (np.flatnonzero(own), padded, np.flatnonzero(real), *np.nonzero(own))
        )
        self.at = Positions(length, torch.from_numpy(chosen).to(device))
        self.width, self.rows = most, rows

    def spread(self, x: Tensor) -> Tensor:
        """[..., C, T, e] -> [..., C * N, n, e], row by row."""
        return x.index_select(-2, self.padded).unflatten(-2, (self.rows, self.width)).flatten(-4, -3)

    def of(self, x: Tensor) -> Tensor:
        """[..., rows or 1, positions or 1, d] -> [..., T, d]."""
        row, position = (
            index if size > 1 else 0 * index
            for index, size in zip((self.row, self.position), x.shape[-3:-1], strict=True)
        )
        return x[..., row, position, :]

    def gather(self, x: Tensor, candidates: int) -> Tensor:
        """[..., C * N, n, d] -> [..., C, T, d]."""
        return x.unflatten(-3, (candidates, self.rows)).flatten(-3, -2).index_select(-2, self.real)


class PositionalState:
    """Changes and projections of the present circuit. A node's change is what it writes now minus what ablation leaves
    of it."""

    def __init__(
        self,
        executor: Executor,
        graph: PositionalGraph,
        where: np.ndarray,
        answers: Sequence[Sequence[int]],
        clean: Callable[[], Trace],
        prompts: Callable[[], Prompts],
    ):
        """`where` [N, P]: the span of every position; `answers`: the positions at which the logits are read, by row.
        `clean` gives the full model's run of the prompts, which have a stream; neither is held here."""
        self.components, self.graph, self.plain = executor.components, graph, executor.graph
        self._make_clean, self._make_prompts = clean, prompts
        self.rows, self.length = where.shape
        device = prompts().embedded.device
        self.tokens = [SpanTokens(where, span, device) for span in range(len(graph.spans))]
        self._answers = _answers_by_span(where, answers, device)
        self.senders: dict[Slot, list[Node]] = {}  # of a slot that is being decided, or was
        self.readers: dict[Node, list[Slot]] = defaultdict(list)  # over kept edges
        self._changes: dict[Node, Tensor] = {}
        self._projections: dict[tuple[int, int, int], Tensor] = {}  # by slot and source
        self._clean_projections: dict[int, Tensor] = {}
        self._stacked: tuple[Slot, int, list[Node], Tensor] | None = None

    def fork(self) -> "PositionalState":
        """A copy to change in another way; tensors are shared, as none is ever changed in place."""
        other = copy.copy(self)
        other.senders = {slot: list(nodes) for slot, nodes in self.senders.items()}
        other.readers = defaultdict(list, {node: list(slots) for node, slots in self.readers.items()})
        for name in ("_changes", "_projections"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    # what it consists of

    def layer(self, reader: int) -> int:
        """The layer that a slot belongs to; the logits come after the last."""
        slot = self.plain.readers[reader]
        return self.plain.anatomy.n_layers if slot.kind is ReaderKind.LOGITS else slot.layer

    def kind(self, reader: int) -> ReaderKind:
        return self.plain.readers[reader].kind

    def owners(self, slot: Slot) -> list[Node]:
        """The nodes that a slot belongs to, of those that anything reads."""
        reader, span = slot
        nodes = ((self.plain.writer_index[owner], span) for owner in self.plain.owners(self.plain.readers[reader]))
        return [node for node in nodes if self.readers[node]]

    def slot(self, layer: int, kind: ReaderKind, head: int) -> int:
        """The slot that a head takes its query, key or value from."""
        group = self.plain.group_at[layer, kind]
        return self.plain.reader_index[group.readers[head * len(group.readers) // self.plain.anatomy.n_heads]]

    # its present values

    def stream(self, reader: int, span: int) -> Tensor:
        """What a slot reads at a span of a circuit without edges, [T, d]."""
        stream = self._make_prompts().stream
        assert stream is not None
        slot = self.plain.readers[reader]
        group = self.plain.group_at[self.layer(reader), slot.kind]
        return self.tokens[span].of(stream.at(group))

    def change(self, node: Node) -> Tensor:
        """What a component writes at a span minus what ablation leaves of it, [T, d]."""
        if node in self._changes:
            return self._changes[node]
        writer, span = node
        return self.tokens[span].of(self._make_clean().values[writer]) - self.ablated(node)

    def ablated(self, node: Node) -> Tensor:
        """What ablation leaves of a component at a span, [T, d]."""
        writer, span = node
        return self.tokens[span].of(self._make_prompts().ablated.values[writer])

    def undecided(self, slot: Slot, source: int) -> tuple[list[Node], Tensor]:
        """The senders of a slot that is being decided, at a source, and their changes [senders, T, d]: those of the
        full model, as nothing before the slot has been decided."""
        if self._stacked is None or self._stacked[:2] != (slot, source):
            self._stacked = None
            nodes = [node for node in self.senders[slot] if node[1] == source]
            writers, at = as_index([writer for writer, _ in nodes]), self.tokens[source]
            changes = at.of(self._make_clean().values[writers]) - at.of(self._make_prompts().ablated.values[writers])
            self._stacked = (slot, source, nodes, changes)
        return self._stacked[2:]

    def sources(self, slot: Slot) -> list[int]:
        """The spans of which a slot reads something."""
        reader, span = slot
        pairs = self.graph.group_at[self.layer(reader), self.kind(reader)].pairs
        return [source for source, at in pairs if at == span]

    def present(self, read: tuple[int, int, int]) -> Tensor:
        """What a slot at a span that has not been decided reads of a source, [T, d]: all that any sender writes, or of
        a slot that is being decided what those write that are left."""
        reader, span, source = read
        senders = self.senders.get((reader, span))
        if senders is not None:
            left = (self.change(node) for node in senders if node[1] == source)
            return sum(left, self.stream(reader, source))
        group = self.plain.group_at[self.layer(reader), self.kind(reader)]
        clean, ablated = self._make_clean().values, self._make_prompts().ablated.values
        written, gone = (self.tokens[source].of(x[: group.senders].sum(0)) for x in (clean, ablated))
        return self.stream(reader, source) + written - gone

    def along(self, gradient: Tensor, slot: Slot, source: int, senders: Sequence[Node]) -> np.ndarray:
        """Each row's inner products of a gradient at what a slot that is being decided reads of a source, [T, d], with
        the changes of some of its senders: float64 [senders, N]."""
        nodes, changes = self.undecided(slot, source)
        wide = torch.promote_types(gradient.dtype, torch.float32)
        of_tokens = torch.einsum("std,td->st", changes.to(wide), gradient.to(wide)).double()
        found = of_tokens.new_zeros((len(nodes), self.rows)).index_add(1, self.tokens[source].row, of_tokens)
        place = {node: place for place, node in enumerate(nodes)}
        return found[[place[node] for node in senders]].cpu().numpy()

    def renew(self, slot: Slot, sources: Iterable[int]) -> None:
        """After a removal from a slot that is being decided: what it makes of what it still reads of some sources."""
        reader, span = slot
        made = self.plain.readers[reader]
        for source in sources:
            total = self.stream(reader, source)
            for node in self.senders[slot]:
                if node[1] == source:
                    total = total + self.change(node)
            projected = self.components.project(made.layer, made.kind, total[None, None], [made.head])
            self._projections[reader, span, source] = projected[0, 0]

    def clean_final(self, span: int) -> Tensor:
        """What the logits read at a span in the full model, [1, T, d]."""
        return self.tokens[span].of(self._make_clean().residuals[-1])[None]

    def projection(self, reader: int, span: int, source: int) -> Tensor:
        """What an attention slot at a span makes of what it reads at a source, [T, e]."""
        found = self._projections.get((reader, span, source))
        return self.clean_projection(reader).flatten(0, 1)[self.tokens[source].flat] if found is None else found

    def is_changed(self, reader: int, span: int, source: int) -> bool:
        """Whether that is no longer the full model's."""
        return (reader, span, source) in self._projections

    def clean_projection(self, reader: int) -> Tensor:
        """What an attention slot makes of the full model's residual stream, [N, P, e]."""
        if reader not in self._clean_projections:
            slot = self.plain.readers[reader]
            read = self._make_clean().residuals[slot.layer][None]
            self._clean_projections[reader] = self.components.project(slot.layer, slot.kind, read, [slot.head])[0]
        return self._clean_projections[reader]

    def adopt(self, changes: dict[Node, Tensor], projections: dict[tuple[int, int, int], Tensor]) -> None:
        """Make new values the present ones."""
        self._changes.update(changes)
        self._projections.update(projections)

    def answers(self, parts: dict[int, Tensor], candidates: int) -> Tensor:
        """What the logits read at all answers, row by row [C, answers, d], of what they read at spans [C, T, d]."""
        like = next(iter(parts.values()))
        out = like.new_empty((candidates, sum(len(places) for places, _ in self._answers.values()), like.shape[-1]))
        for span, (places, tokens) in self._answers.items():
            out[:, places] = parts[span].expand(candidates, -1, -1).index_select(1, tokens)
        return out

    @property
    def answered(self) -> Sequence[int]:
        """The spans at which the logits are read."""
        return list(self._answers)


def _answers_by_span(
    where: np.ndarray, answers: Sequence[Sequence[int]], device: torch.device
) -> dict[int, tuple[Tensor, Tensor]]:
    """By span: which of all answers, row by row, are there, and which of its tokens these are."""
    found: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for place, (row, at) in enumerate((row, at) for row, positions in enumerate(answers) for at in positions):
        span = int(where[row, at])
        places, tokens = found[span]
        places.append(place)
        tokens.append(int((where[:row] == span).sum() + (where[row, :at] == span).sum()))
    return {s: (torch.tensor(r, device=device), torch.tensor(t, device=device)) for s, (r, t) in found.items()}
