"""The order in which ACDC visits the edges of a graph: receivers from the logits backwards, at each its senders."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from acdc.graph import ComponentGraph, ReaderGroup, ReaderKind, WriterKind
from acdc.graph.positional_graph import PositionalGraph
from acdc.graph.units import NeuronUnits
from acdc.options import SenderOrder

_ATTENTION = (ReaderKind.V, ReaderKind.K, ReaderKind.Q)


@dataclass(frozen=True)
class ReceiverStep:
    """One receiver: the places of its edges in the vector in the order of their tests, and by writer index which
    components use it, each with the place of the within-head edge in between (None where within-head edges are no
    edges); for the logits none. Over nodes there is one step, of writer indices."""

    layer: int
    candidates: np.ndarray
    users: tuple[tuple[int, int | None], ...] = ()


def receiver_steps(graph: ComponentGraph, order: SenderOrder = SenderOrder.descending) -> Iterator[ReceiverStep]:
    """Logits first; then from the last layer its MLP, with direct edges its within-head edges (v, k, q), and its v, k
    and q slots, each from the last head to the first. Senders latest first: the MLP of a layer before its heads, the
    input last."""
    yield ReceiverStep(graph.anatomy.n_layers, _senders(graph, graph.groups[-1], 0, order))
    for layer in reversed(range(graph.anatomy.n_layers)):
        if group := graph.group_at.get((layer, ReaderKind.MLP)):
            yield _slot(graph, group, 0, order)
        if graph.direct_edges:
            yield from _within_heads(graph, layer)
        for kind in _ATTENTION:
            group = graph.group_at[layer, kind]
            yield from (_slot(graph, group, row, order) for row in reversed(range(len(group.readers))))


def positional_steps(graph: PositionalGraph, order: SenderOrder = SenderOrder.descending) -> Iterator[ReceiverStep]:
    """The same at spans: each slot from the last span that reads it to the first, and of keys and values what is read
    of the last span first. `users` are components at a span, as writer * spans + span."""
    for step in receiver_steps(graph.graph, order):
        group, row, senders = _block_of(graph, step)
        positional = graph.group_at[group.layer, group.kind]
        for span in reversed(range(len(graph.spans))):
            places = [positional.place[pair] for pair in reversed(positional.pairs) if pair[1] == span]
            if places:
                starts = positional.start + (row * len(positional.pairs) + np.array(places)) * group.senders
                users = tuple((writer * len(graph.spans) + span, None) for writer, _ in step.users)
                yield ReceiverStep(step.layer, (starts[:, None] + senders).reshape(-1), users)


def _block_of(graph: PositionalGraph, step: ReceiverStep) -> tuple[ReaderGroup, int, np.ndarray]:
    """(the group of a step's receiver, which of its readers, its senders in their order)."""
    group = next(group for group in graph.graph.groups if step.candidates[0] < group.stop)
    rows, senders = np.divmod(step.candidates - group.start, group.senders)
    return group, int(rows[0]), senders


def node_step(graph: ComponentGraph, order: SenderOrder = SenderOrder.descending) -> ReceiverStep:
    """All components but the embeddings, latest first: the MLP of a layer before its heads."""
    senders = _latest_first(graph, len(graph.writers), order)
    return ReceiverStep(graph.anatomy.n_layers, senders[senders >= len(graph.embeddings)])


def neuron_step(units: NeuronUnits, order: SenderOrder = SenderOrder.descending) -> ReceiverStep:
    """All candidates, latest first: the neurons of a layer before its heads."""
    heads, layers = units.graph.anatomy.n_heads, []
    for own in reversed(units.by_layer(np.arange(units.shape[0]) - units.unscored)):
        layers += [own[heads:][::-1], own[:heads] if order is SenderOrder.ascending else own[:heads][::-1]]
    return ReceiverStep(units.graph.anatomy.n_layers, np.concatenate(layers))


def _slot(graph: ComponentGraph, group: ReaderGroup, row: int, order: SenderOrder) -> ReceiverStep:
    users = []
    for owner in graph.owners(group.readers[row]):
        within = graph.direct_edges and owner.kind is WriterKind.HEAD
        users.append(
            (
                graph.writer_index[owner],
                graph.within_head_start(group.layer, group.kind) + owner.head if within else None,
            )
        )
    return ReceiverStep(group.layer, _senders(graph, group, row, order), tuple(users))


def _within_heads(graph: ComponentGraph, layer: int) -> Iterator[ReceiverStep]:
    for kind in _ATTENTION:
        start = graph.within_head_start(layer, kind)
        for head in reversed(range(graph.anatomy.n_heads)):
            owner = graph.within_heads[start - len(graph.edges) + head].owner
            yield ReceiverStep(layer, np.array([start + head]), ((graph.writer_index[owner], None),))


def _senders(graph: ComponentGraph, group: ReaderGroup, row: int, order: SenderOrder) -> np.ndarray:
    """Edges into one slot, in the order of their tests."""
    return group.start + row * group.senders + _latest_first(graph, group.senders, order)


def _latest_first(graph: ComponentGraph, senders: int, order: SenderOrder) -> np.ndarray:
    """The first so many writers by index, in the order of their tests."""
    latest_first = np.arange(senders)[::-1]
    if order is SenderOrder.descending:
        return latest_first
    writers = [graph.writers[w] for w in latest_first]
    depths = np.array([2 * writer.layer + (writer.kind is WriterKind.MLP) for writer in writers])
    heads = np.array([writer.head for writer in writers])
    return latest_first[np.lexsort((heads, -depths))]
