"""Answers that lack the space between them and their prompt: "the city of" + "Paris" reads "the city ofParis".

Such an answer may be one token, and another one than " Paris". Whether it was meant, the model says best: a slip makes
the token with the space the likelier one.
"""

import warnings
from collections.abc import Sequence

import torch

from acdc.errors import AcdcWarning
from acdc.model.load import Model
from acdc.task.prompt_tokenizer import Unspaced
from acdc.task.rows import Row
from acdc.words import count_of


@torch.no_grad()
def warn_of_missing_spaces(model: Model, rows: Sequence[Row], suspects: Sequence[Unspaced], place: str) -> None:
    """Warn where, of most `suspects`, the token with a space is likelier after the clean prompt. A model without
    weights is not asked."""
    if not suspects or any(one.is_meta for one in model.bridge.original_model.parameters()):
        return
    likelier = []
    for one in suspects:
        tokens = torch.tensor([rows[one.row].clean], device=model.device)
        logits = model.bridge(tokens)[0, rows[one.row].answer_position]
        if logits[one.spaced] > logits[one.token]:
            likelier.append(one)
    if 2 * len(likelier) > len(suspects):
        first = likelier[0]
        warnings.warn(
            f"{place}, row {rows[first.row].id!r}: correct answer {first.answer!r} goes on in the prompt's last word; "
            f"{' ' + first.answer!r}, with a leading space, is one token too, and likelier (so in {len(likelier)} of "
            f"{count_of(len(suspects), 'such row')} that were looked at): is the space missing?",
            AcdcWarning,
            stacklevel=4,
        )
