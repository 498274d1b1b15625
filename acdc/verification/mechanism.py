"""Hints at what the heads of a circuit do, with the numbers they rest on: evidence, not facts.

Attention statistics are of the full model's clean runs: the share of a head's attention that goes to the previous
position, to earlier occurrences of the present token, to what came after those (induction; Olsson et al. 2022, arXiv
2209.11895), to the first position, to the present one, and to where a correct answer stands; means over all positions
but the first, and from the answer position. A position may count for several. The direct effect is that of the edge
from a head to the logits alone.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.verification.mechanism import ANSWER, Attention, Composition, HeadHint
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.execution.components import Positions
from acdc.graph import ATTENTION_SLOTS, ReaderKind, Writer, WriterKind
from acdc.model.placed import patterned
from acdc.model.weights import Attention as AttentionWeights
from acdc.progress import Advance
from acdc.verification.intervals import Bootstrap, mean

TARGETS = ("previous", "same token", "induction", "first", "itself", ANSWER)
MOSTLY = 0.5  # share of attention from which a head is labelled by where it goes


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
    effects = behaviour.measure(every == edges[:, None], advance=advance)[0] - behaviour.full()
    shares = _attention(behaviour, heads)
    return [_hint(head, effect, share, bootstrap) for head, effect, share in zip(heads, effects, shares, strict=True)]


def _hint(head: Writer, effect: np.ndarray, shares: np.ndarray, bootstrap: Bootstrap) -> HeadHint:
    """`shares` [2, targets]: everywhere, and from the answer."""
    everywhere, answer = (dict(zip(TARGETS, values.tolist(), strict=True)) for values in shares)
    most = max(everywhere, key=everywhere.__getitem__)
    place = most if everywhere[most] >= MOSTLY else ANSWER if answer[ANSWER] >= MOSTLY else None
    label = None if place is None else f"attends mostly: {place}"
    return HeadHint(
        id=head.id,
        direct=bootstrap.of(mean, effect),
        attention=Attention(everywhere=everywhere, answer=answer),
        label=label,
    )


@torch.no_grad()
def _attention(behaviour: Behaviour, heads: Sequence[Writer]) -> np.ndarray:
    """Means over rows [heads, 2, targets]."""
    total, rows = np.zeros((len(heads), 2, len(TARGETS))), len(behaviour.rows)
    for batch in behaviour.batches:
        rows_of_tokens = zip(batch.tokens, batch.positions.tolist(), strict=True)
        targets = [
            _targets(tokens[: last + 1], row.correct)
            for row, (tokens, last) in zip(batch.answers.rows, rows_of_tokens, strict=True)
        ]
        for layer in sorted({head.layer for head in heads}):
            patterns = clean_patterns(behaviour, batch, layer)
            for place, head in enumerate(heads):
                if head.layer == layer:
                    for row, (last, there) in enumerate(zip(batch.positions.tolist(), targets, strict=True)):
                        pattern = patterns[head.head, row, : last + 1, : last + 1].double()
                        total[place] += _shares(pattern, there)
    return total / rows


def clean_patterns(behaviour: Behaviour, batch: Batch, layer: int) -> Tensor:
    """What the heads of a layer attend to in the clean run, [heads, rows, positions, positions]."""
    components, residual = behaviour.model.components, batch.clean.residuals[layer][None]
    q, k = (components.project(layer, kind, residual) for kind in (ReaderKind.Q, ReaderKind.K))
    return patterned(components).patterns(layer, q, k, Positions(residual.shape[2]))


def _targets(tokens: Tensor, correct: Sequence[int]) -> Tensor:
    """Boolean [targets, positions, positions]: whether a position (last) is a target of one (before last)."""
    length = len(tokens)
    here, there = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    same = tokens.cpu()[:, None] == tokens.cpu()[None]
    earlier = same & (there < here)
    after = torch.zeros_like(earlier)
    after[:, 1:] = earlier[:, :-1]
    answer = torch.isin(tokens.cpu(), torch.tensor(correct, dtype=tokens.dtype)).expand(length, length)
    return torch.stack(
        [there == here - 1, earlier, after & (there <= here), there == 0, there == here, answer & (there <= here)]
    )


def _shares(pattern: Tensor, targets: Tensor) -> np.ndarray:
    """Shares of attention by target: mean over positions but the first, and from the last; [2, targets]."""
    to = (pattern.cpu()[None] * targets).sum(-1)
    return torch.stack([to[:, 1:].mean(-1) if to.shape[1] > 1 else to[:, 0], to[:, -1]]).numpy()


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
