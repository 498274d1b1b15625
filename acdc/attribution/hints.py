"""What a unit says by itself: the tokens whose logits its own output raises and lowers most ("logit lens")."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from acdc.artefacts.attribution.graph import TokenHints
from acdc.artefacts.attribution.nodes import Node
from acdc.attribution.trace import Traced, token_texts

COUNT = 4


def with_hints(traced: Traced) -> Traced:
    """The same, with hints of the units that its graph keeps."""
    graph = traced.graph
    kept = [node for node in graph.kept(graph.prune()) if node.is_unit]
    return replace(traced, graph=replace(graph, hints=token_hints(traced, kept)))


@torch.no_grad()
def token_hints(traced: Traced, nodes: Sequence[Node], count: int = COUNT) -> dict[str, TokenHints]:
    """By node's id: the most raised and the most lowered tokens, with the change of their logits less the mean.

    A unit's output, at its activation and through its post-norm, is read as the last position's norm and the
    unembedding would read it; what attention would make of it on the way from another position is left out.
    """
    run, dictionary = traced.run, traced.sources.dictionary
    found = {}
    unembed = run.weights.unembed
    for node in nodes:
        units, which = dictionary.layers[node.layer], torch.tensor([node.index], device=unembed.device)
        assert units is not None  # else it has no nodes
        wrote = torch.zeros_like(run.final[0])
        for layer in units.targets:
            part, scale = units.writes(which, layer)[0] * node.value, traced.sources.scale(layer)
            wrote = wrote + (part if scale is None else part * scale[node.position])
        norm = run.final_norm
        if norm.norm is not None and norm.inverse is not None:
            wrote = wrote - wrote.mean() if norm.norm.centred else wrote
            wrote = wrote * norm.inverse[-1] * (1.0 if norm.norm.weight is None else norm.norm.weight)
        change = wrote @ unembed
        change = change - change.mean()
        most = min(count, len(change))
        high, low = change.topk(most), change.topk(most, largest=False)
        texts = [token_texts(run.model, ends.indices.tolist()) for ends in (high, low)]
        found[node.id] = TokenHints(
            raises=tuple(zip(texts[0], high.values.tolist(), strict=True)),
            lowers=tuple(zip(texts[1], low.values.tolist(), strict=True)),
        )
    return found
