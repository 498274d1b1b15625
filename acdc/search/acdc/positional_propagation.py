"""Follow a change of the present circuit at spans down to the logits, over kept edges alone: see
`acdc.search.acdc.propagation` for the same without."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from acdc.graph import ATTENTION_SLOTS, ReaderKind
from acdc.search.acdc.positional_state import Node, PositionalState, Slot

Read = tuple[int, int, int]  # a slot, and the source of which it is read


class PositionalPropagation:
    """One change of a `PositionalState`, for C candidates: it starts with new inputs of one slot."""

    def __init__(self, state: PositionalState, candidates: int):
        self.state, self.candidates = state, candidates
        self._given: dict[Read, Tensor] = {}
        self._changes: dict[Node, Tensor] = {}
        self._projections: dict[Read, Tensor] = {}
        self._touched: dict[tuple[int, ReaderKind], set[Read]] = defaultdict(set)
        self._opened: set[Node] = set()

    def run(self, slot: Slot, inputs: Mapping[int, Tensor]) -> Tensor:
        """A slot reads by source `inputs` [C, T, d], and else what it reads now: what the logits read at the answers
        then, [C * answers, d]."""
        return self.from_reads({(*slot, source): new for source, new in inputs.items()}, [slot])

    def from_reads(self, given: Mapping[Read, Tensor], slots: Sequence[Slot]) -> Tensor:
        """The same for several slots of one layer and kind."""
        state = self.state
        self._given = dict(given)
        for read in self._given:
            self._touched[state.layer(read[0]), state.kind(read[0])].add(read)
        # computed anew though nothing of what they read may be new
        self._opened = {node for slot in slots for node in state.owners(slot)}
        for layer in range(state.layer(slots[0][0]), state.plain.anatomy.n_layers):
            self._attention(layer)
            if not state.plain.anatomy.attn_only:
                self._mlp(layer)
        return self._final().flatten(0, 1)

    def commit(self) -> None:
        """Make a change of one candidate the state's present."""
        changes = {node: x[0] for node, x in self._changes.items()}
        self.state.adopt(changes, {read: x[0] for read, x in self._projections.items()})

    def _changed(self, node: Node, written: Tensor) -> None:
        """Record that a node now writes `written` [C, T, d]."""
        self._changes[node] = written - self.state.ablated(node)
        _, source = node
        for reader, span in self.state.readers[node]:
            self._touched[self.state.layer(reader), self.state.kind(reader)].add((reader, span, source))

    def _input(self, read: Read) -> Tensor:
        """What a slot reads of a source now, [C or 1, T, d]."""
        if read in self._given:
            return self._given[read]
        reader, span, source = read
        total = self.state.stream(reader, source)[None]
        for node in self.state.senders[reader, span]:
            if node[1] == source:
                total = total + (self._changes[node] if node in self._changes else self.state.change(node))
        return total

    def _attention(self, layer: int) -> None:
        """Compute the heads of a layer, at the spans, that the change reaches."""
        nodes = {node for node in self._opened if self._is_head(node, layer)}
        for kind in ATTENTION_SLOTS:
            reads = sorted(self._touched.pop((layer, kind), ()))
            used = [read for read in reads if self.state.owners(read[:2])]
            nodes |= {node for read in used for node in self.state.owners(read[:2])}
            self._project(layer, kind, used)
        by_span: dict[int, list[int]] = defaultdict(list)
        for writer, span in sorted(nodes):
            by_span[span].append(writer)
        for span, writers in by_span.items():
            self._heads(layer, span, writers)

    def _is_head(self, node: Node, layer: int) -> bool:
        writer = self.state.plain.writers[node[0]]
        return writer.layer == layer and writer.head >= 0

    def _project(self, layer: int, kind: ReaderKind, reads: list[Read]) -> None:
        """What slots make of what they read, by sources, each in one product."""
        by_source: dict[int, list[Read]] = defaultdict(list)
        for read in reads:
            by_source[read[2]].append(read)
        for some in by_source.values():
            x = torch.stack([self._input(read).expand(self.candidates, -1, -1) for read in some])
            heads = [self.state.plain.readers[reader].head for reader, _, _ in some]
            projected = self.state.components.project(layer, kind, x, heads)
            self._projections.update(zip(some, projected, strict=True))

    def _heads(self, layer: int, span: int, writers: list[int]) -> None:
        state, tokens = self.state, self.state.tokens[span]
        if not tokens.count:
            return
        heads = [state.plain.writers[writer].head for writer in writers]
        q = torch.stack([self._queries(state.slot(layer, ReaderKind.Q, head), span) for head in heads])
        k, v = (
            torch.stack([self._whole(state.slot(layer, kind, head), span) for head in heads])
            for kind in (ReaderKind.K, ReaderKind.V)
        )
        written = state.components.attend(layer, tokens.spread(q), k, v, tokens.at.repeat(self.candidates), heads)
        for writer, out in zip(writers, tokens.gather(written, self.candidates), strict=True):
            self._changed((writer, span), out)

    def _queries(self, reader: int, span: int) -> Tensor:
        """[C, T, e]"""
        found = self._projections.get((reader, span, span))
        return self.state.projection(reader, span, span).expand(self.candidates, -1, -1) if found is None else found

    def _whole(self, reader: int, span: int) -> Tensor:
        """The keys or values of all positions that the queries at a span see, [C * N, P, e]."""
        state = self.state
        whole = state.clean_projection(reader).flatten(0, 1).repeat(self.candidates, 1, 1)
        for source in state.graph.spans.sources[span]:
            read = (reader, span, source)
            if read in self._projections:
                whole[:, state.tokens[source].flat] = self._projections[read]
            elif state.is_changed(*read):
                whole[:, state.tokens[source].flat] = state.projection(*read)
        return whole.unflatten(1, (state.rows, state.length)).flatten(0, 1)

    def _mlp(self, layer: int) -> None:
        """Compute a layer's MLP at the spans that the change reaches."""
        state = self.state
        reads = self._touched.pop((layer, ReaderKind.MLP), set())
        opened = [node for node in self._opened if state.plain.writers[node[0]].layer == layer]
        reads |= {(state.plain.reader_index[r], s, s) for r, s in self._mlp_slots(layer, opened)}
        for reader, span, source in sorted(reads):
            for node in state.owners((reader, span)):
                read = self._input((reader, span, source)).expand(self.candidates, -1, -1)
                self._changed(node, state.components.mlp(layer, read))

    def _mlp_slots(self, layer: int, nodes: list[Node]) -> list[tuple]:
        group = self.state.plain.group_at[layer, ReaderKind.MLP]
        return [(group.readers[0], span) for writer, span in nodes if self.state.plain.writers[writer].head < 0]

    def _final(self) -> Tensor:
        state, reader = self.state, len(self.state.plain.readers) - 1
        return state.answers({span: self._logits(reader, span) for span in state.answered}, self.candidates)

    def _logits(self, reader: int, span: int) -> Tensor:
        if (reader, span) not in self.state.senders and (reader, span, span) not in self._given:
            return self.state.clean_final(span)
        return self._input((reader, span, span))
