"""Hints at what the heads of a circuit do, with the numbers they rest on: evidence, not facts.

A head's direct effect is what it adds to the metric along its edge to the logits alone: the full model's metric minus
that with the edge ablated, in the metric's own sign. So a name mover's effect on logit_diff is positive, as it is of
any head that makes a metric larger. Where heads attend is said by `acdc.verification.attention`, and what they are
labelled as by `acdc.verification.head_labels`.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.verification.mechanism import Attention, Composition, HeadHint
from acdc.behaviour.behaviour import Behaviour
from acdc.graph import ATTENTION_SLOTS, ReaderKind, Writer, WriterKind
from acdc.model.layers import Attention as AttentionWeights
from acdc.progress import Advance
from acdc.verification.attention import COLUMNS, Shares, attention_shares
from acdc.verification.head_labels import evidence_for
from acdc.verification.intervals import Bootstrap, mean


def hint(
    behaviour: Behaviour, heads: Sequence[Writer], bootstrap: Bootstrap, advance: Advance
) -> list[HeadHint] | None:
    """Of heads; None where a model's patterns cannot be had, as it is run by its own modules."""
    if not heads:
        return []
    if not hasattr(behaviour.model.components, "patterns"):
        return None
    graph, every = behaviour.graph, np.arange(behaviour.graph.n_edges)
    edges = np.array([graph.index[f"{head.id}->logits"] for head in heads])
    added = behaviour.full() - behaviour.measure(every == edges[:, None], advance=advance)[0]
    shares = attention_shares(behaviour)
    return [_hint(head, values, shares, bootstrap) for head, values in zip(heads, added, strict=True)]


def _hint(head: Writer, added: np.ndarray, shares: Shares, bootstrap: Bootstrap) -> HeadHint:
    evidence = evidence_for(head, shares)
    everywhere, answer = (
        {name: _known(share) for name, share in zip(COLUMNS, values.tolist(), strict=True)}
        for values in shares.whole[head.layer, head.head]
    )
    return HeadHint(
        id=head.id,
        adds=bootstrap.of(mean, added),
        attention=Attention(everywhere=everywhere, answer=answer),
        label=None if evidence is None else evidence.label,
        evidence=evidence,
    )


def _known(share: float) -> float | None:
    return share if np.isfinite(share) else None


def compose(behaviour: Behaviour, edges: np.ndarray) -> list[Composition] | None:
    """Of all edges, boolean [edges], from heads into attention slots; None where weights cannot be read."""
    weights = getattr(behaviour.model.components, "weights", None)
    if weights is None:
        return None
    scores = _composition([layer.attention for layer in weights.layers])
    graph, found, every = behaviour.graph, [], defaultdict(list)
    for edge, kept in zip(graph.edges, edges, strict=False):
        writer, reader = edge.writer, edge.reader
        if writer.kind is WriterKind.HEAD and reader.kind in ATTENTION_SLOTS:
            score = float(scores[writer.layer, reader.layer, reader.kind][writer.head, reader.head])
            every[reader.kind].append(score)
            if kept:
                found.append((edge.id, reader.kind, score))
    usual = {kind: float(np.mean(scores)) for kind, scores in every.items()}
    return [Composition(edge=name, score=score, usual=usual[kind]) for name, kind, score in found]


def _composition(attention: Sequence[AttentionWeights]) -> dict[tuple[int, int, ReaderKind], Tensor]:
    """Scores [heads, slots] by the layers of both and the kind of slot."""
    norm, found = torch.linalg.matrix_norm, {}
    written = [layer.out.weight.double() for layer in attention]
    for later, layer in enumerate(attention):
        for kind in ATTENTION_SLOTS:
            read = getattr(layer, kind.value).weight.double()
            for earlier in range(later):
                together = torch.stack([norm(head @ read) for head in written[earlier]])
                found[earlier, later, kind] = together / (norm(written[earlier])[:, None] * norm(read))
    return found
