"""What units say of tokens by their weights alone: tokens that they raise and lower, and that excite them.

Both are of a unit by itself: what other components make of its output, or add to its input, is left out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.attribution.trace import token_texts
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.run import check_sites
from acdc.explanation.units import FeatureUnit, HeadUnit, NeuronUnit
from acdc.model.load import Model
from acdc.model.norms import Norm

COUNT = 10
MOST_TOKENS = 4096  # of a vocabulary that are looked at in pairs
Weighted = tuple[tuple[str, float], ...]  # tokens with numbers, the largest first


def output_tokens(unit: FeatureUnit | NeuronUnit, count: int = COUNT) -> tuple[Weighted, Weighted] | None:
    """(raised most, lowered most): the change of logits, less the mean, by what a unit writes at an activation of 1,
    through the last norm's weight but not its scale. None where it writes elsewhere than the residual stream."""
    components = check_sites(unit.model)
    written = unit.written
    if len(written) != unit.model.anatomy.d_model:
        return None
    logits = _weighed(components.weights.final_norm, written) @ components.weights.unembed
    return ends(unit.model, logits - logits.mean(), count)


def input_tokens(unit: FeatureUnit | NeuronUnit, count: int = COUNT) -> tuple[Weighted, Weighted] | None:
    """(tokens that excite it most, least): its encoder's product with their embeddings, through the weight but not the
    scale of the norm before it, less the mean. None where it reads what no embedding reaches as it is."""
    model, vector = unit.model, unit.read_vector
    hook = Hook(unit.layer, Site.mlp_in) if isinstance(unit, NeuronUnit) else unit.features.reads
    stream = (Site.embed, Site.resid_pre, Site.resid_mid, Site.resid_post)
    if hook.site not in (Site.mlp_in, Site.mlp_normed, *stream):
        return None
    norm = check_sites(model).weights.layers[hook.layer].mlp_norm if hook.site is Site.mlp_in else None
    score = embeddings(model) @ _read_through(norm, vector)
    return ends(model, score - score.mean(), count)


def ov_pairs(unit: HeadUnit, sources: Sequence[int], count: int = COUNT) -> Weighted:
    """What attending to a token would say: the logit of another token, less the mean of all, for the strongest pairs of
    some source tokens with any output."""
    components, model = check_sites(unit.model), unit.model
    weights = components.weights.layers[unit.layer]
    value = weights.attention.v.weight[unit.index // model.anatomy.group_size]
    written = _normed(weights.attention_norm, embeddings(model)[list(sources)]) @ value
    written = written @ weights.attention.out.weight[unit.index]
    logits = _weighed(components.weights.final_norm, written) @ components.weights.unembed
    return _pairs(model, logits - logits.mean(1, keepdim=True), sources, None, count)


def qk_pairs(unit: HeadUnit, tokens: Sequence[int], count: int = COUNT) -> Weighted:
    """Which token attends to which by its embedding alone, positions left out: query and key with the largest scores,
    less the mean over keys."""
    model = unit.model
    weights = check_sites(model).weights.layers[unit.layer]
    x = _normed(weights.attention_norm, embeddings(model)[list(tokens)])
    attention = weights.attention
    query, key = x @ attention.q.weight[unit.index], x @ attention.k.weight[unit.index // model.anatomy.group_size]
    if attention.q.bias is not None:
        query = query + attention.q.bias[unit.index]
    query = attention.q_norm(query) if attention.q_norm else query
    key = attention.k_norm(key) if attention.k_norm else key
    scores = query @ key.T * attention.scale
    return _pairs(model, scores - scores.mean(1, keepdim=True), tokens, tokens, count)


def ends(model: Model, values: Tensor, count: int) -> tuple[Weighted, Weighted]:
    """Tokens with the largest and with the smallest of values [V]."""
    order = values.double().sort(descending=True, stable=True).indices
    places = (order[:count].tolist(), order.flip(0)[:count].tolist())
    high, low = (tuple(zip(token_texts(model, some), values[some].double().tolist(), strict=True)) for some in places)
    return high, low


def embeddings(model: Model) -> Tensor:
    """[V, d]"""
    components = check_sites(model)
    ids = torch.arange(model.anatomy.d_vocab, device=model.device)
    with torch.no_grad():
        return components.weights.embed(ids[None])[0]


def _pairs(model: Model, values: Tensor, rows: Sequence[int], columns: Sequence[int] | None, count: int) -> Weighted:
    flat = values.double().flatten()
    order = flat.sort(descending=True, stable=True).indices[:count].tolist()
    found = []
    for place in order:
        row, column = divmod(place, values.shape[1])
        texts = token_texts(model, [rows[row], column if columns is None else columns[column]])
        found.append((" -> ".join(map(repr, texts)), float(flat[place])))
    return tuple(found)


def _normed(norm: Norm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


def _weighed(norm: Norm | None, x: Tensor) -> Tensor:
    """Through a norm's centring and weight, without its scale and bias."""
    if norm is None:
        return x
    x = x - x.mean(-1, keepdim=True) if norm.centred else x
    return x if norm.weight is None else x * norm.weight.to(x)


def _read_through(norm: Norm | None, vector: Tensor) -> Tensor:
    """What a vector behind a norm reads before it, the scale aside."""
    if norm is None:
        return vector
    vector = vector if norm.weight is None else vector * norm.weight.to(vector)
    return vector - vector.mean() if norm.centred else vector
