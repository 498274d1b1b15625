"""What a head attends to on a corpus, in shares of its attention."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.dictionaries.corpus import Corpus
from acdc.dictionaries.quality import batches
from acdc.explanation.examples import batched, limited
from acdc.explanation.units import HeadUnit
from acdc.model.load import Model


@dataclass(frozen=True)
class PatternShares:
    """Means over query tokens but the first of each prompt, of the attention to: the first token, the token itself, the
    one before, earlier ones that are the same (`same`), those that follow such (`after_same`, as induction heads do);
    and the mean `entropy` in nats. `expected_*`: the same for attention spread evenly over what is seen."""

    first: float
    itself: float
    previous: float
    same: float
    after_same: float
    entropy: float
    expected_same: float
    expected_after_same: float


@torch.no_grad()
def pattern_shares(unit: HeadUnit, model: Model, corpus: Corpus, most_tokens: int) -> tuple[PatternShares, list[int]]:
    """(shares, the tokens that the corpus has most often)."""
    sums, queries, seen = torch.zeros(8, dtype=torch.float64), 0, Counter[int]()
    for some in batched(limited(corpus, most_tokens)):
        for tokens, there in batches(model, some):
            pattern = unit.run(tokens)[0].double()
            asked = there.clone()
            asked[:, 0] = False
            masks = _masks(tokens)
            spread = (
                torch.ones_like(pattern).tril() / torch.arange(1, tokens.shape[1] + 1, device=tokens.device)[:, None]
            )
            parts = [(pattern * mask).sum(-1) for mask in masks]
            parts.append(-torch.special.xlogy(pattern, pattern).sum(-1))
            parts += [(spread * mask).sum(-1) for mask in masks[3:]]
            sums += torch.stack([part[asked].sum() for part in parts]).cpu()
            queries += int(asked.sum())
            seen.update(tokens[there].tolist())
    means = (sums / max(1, queries)).tolist()
    common = sorted(seen, key=lambda token: (-seen[token], token))
    return PatternShares(*means), common


def _masks(tokens: Tensor) -> list[Tensor]:
    """Boolean [B or 1, P, P] for queries and keys: first, itself, previous, same earlier, after the same."""
    length = tokens.shape[1]
    place = torch.arange(length, device=tokens.device)
    query, key = place[:, None], place[None, :]
    same = tokens[:, :, None] == tokens[:, None, :]
    earlier = same & (key < query)
    after = torch.zeros_like(earlier)
    after[:, :, 1:] = earlier[:, :, :-1]
    fixed = [(key == 0) & (query > 0), key == query, (key == query - 1) & (key > 0)]
    return [*(mask[None] for mask in fixed), earlier & (key > 0), after & (key <= query)]
