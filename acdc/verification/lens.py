"""The logit lens (nostalgebraist 2020): what each layer's residual stream says next, in the full model's clean run.

The final norm and the unembedding read the residual stream after every layer, as they read the last one. Early layers
were not trained for that, so what it says of them is a hint, no measurement.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from acdc.artefacts.verification.examples import Lens
from acdc.behaviour.behaviour import Batch, Behaviour

MOST_DEPTHS = 33
"""Of a deeper model, so many depths are read, evenly spread: the lens of a row is so many texts per token at most."""
SHARES = 1000


def depths_of(layers: int) -> list[int]:
    """After how many layers the stream is read, from 0 (the embeddings) to all of them."""
    return np.linspace(0, layers, min(layers + 1, MOST_DEPTHS)).round().astype(int).tolist()


@torch.no_grad()
def logit_lens(behaviour: Behaviour, shown: Sequence[slice], text: Callable[[int], str]) -> list[Lens | None]:
    """By row, at the positions `shown` of each; None for a model whose output is a number. `text`: of a token id.

    Costs one unembedding for each depth and position that is shown.
    """
    found: list[Lens | None] = [None] * len(behaviour.rows)
    if behaviour.model.anatomy.d_vocab_out > 1:
        for batch in behaviour.batches:
            for place, index in enumerate(batch.index):
                found[index] = _of_row(behaviour, batch, place, shown[index], text)
    return found


def _of_row(behaviour: Behaviour, batch: Batch, place: int, shown: slice, text: Callable[[int], str]) -> Lens:
    row, residuals = behaviour.rows[batch.index[place]], batch.clean.residuals
    depths = depths_of(len(residuals) - 1)
    tokens: dict[str, int] = {}
    top, shares, right = [], [], []
    for depth in depths:
        logits = behaviour.model.components.unembed(residuals[depth][place, shown]).double()
        found = logits.softmax(-1)
        best = found.max(-1)
        top.append([tokens.setdefault(text(token), len(tokens)) for token in best.indices.tolist()])
        shares.append([round(SHARES * share) for share in best.values.tolist()])
        right.append(round(SHARES * float(found[row.answer_position - shown.start, list(row.correct)].sum())))
    return Lens(depths=depths, tokens=list(tokens), top=top, shares=shares, right=right)
