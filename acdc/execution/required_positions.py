"""Which components of a subgraph can reach the logits, and at which positions their outputs are needed.

The logits are read at the answer position, or at those of several answers. So are the inputs of an MLP, and of a
query, whose own output is needed nowhere else; keys and values are needed at every position that attention can see.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from acdc.graph import ComponentGraph, ReaderGroup, ReaderKind, Writer, WriterKind


class Required(IntEnum):
    """Where an output is needed; ordered, so that the larger of two needs serves both."""

    NOWHERE = 0
    ANSWER = 1
    EVERYWHERE = 2


@dataclass(frozen=True)
class RequiredPositions:
    """The `Required` of every writer's output, int8 [writers]."""

    graph: ComponentGraph
    needs: np.ndarray

    @classmethod
    def of(cls, graph: ComponentGraph, kept: np.ndarray) -> "RequiredPositions":
        """The required positions of a subgraph given as a boolean vector [edges], or of several by their union."""
        required = cls(graph, np.zeros(len(graph.writers), dtype=np.int8))
        for group in reversed(graph.groups):
            if group.kind is ReaderKind.V:
                for writer in range(required.heads(group.layer).start, required.heads(group.layer).stop):
                    alike = required.sharing_scale(writer)
                    required.needs[alike] = required.needs[alike].max()
            block = kept[group.start : group.stop].reshape(len(group.readers), group.senders)
            reached = (block * required.reader_needs(group, kept)[:, None]).max(axis=0)
            np.maximum(required.needs[: group.senders], reached, out=required.needs[: group.senders])
        return required

    def heads(self, layer: int) -> slice:
        """Where a layer's heads stand among the writers."""
        first = self.graph.writer_index[Writer(WriterKind.HEAD, layer, 0)]
        return slice(first, first + self.graph.anatomy.n_heads)

    def sharing_scale(self, writer: int) -> slice:
        """The writers that are needed alike: under post-norms all heads of a layer, as all have a part in its scale."""
        head = self.graph.writers[writer]
        if self.graph.anatomy.post_norms and head.kind is WriterKind.HEAD:
            return self.heads(head.layer)
        return slice(writer, writer + 1)

    def mlp(self, layer: int) -> int:
        """Where a layer's MLP stands among the writers."""
        return self.graph.writer_index[Writer(WriterKind.MLP, layer)]

    def reader_needs(self, group: ReaderGroup, kept: np.ndarray) -> np.ndarray:
        """The need of each of a group's inputs, int8 [readers]."""
        if group.kind is ReaderKind.LOGITS:
            return np.array([Required.ANSWER], dtype=np.int8)
        if group.kind is ReaderKind.MLP:
            return self.needs[[self.mlp(group.layer)]]
        needs = self.needs[self.heads(group.layer)]
        if self.graph.direct_edges:
            start = self.graph.within_head_start(group.layer, group.kind)
            needs = needs * kept[start : start + len(needs)]
        needs = needs.reshape(len(group.readers), -1).max(axis=1)
        return needs if group.kind is ReaderKind.Q else np.where(needs > 0, np.int8(Required.EVERYWHERE), needs)

    @property
    def complete(self) -> bool:
        """Whether every component is needed."""
        return bool(self.needs[len(self.graph.embeddings) :].all())
