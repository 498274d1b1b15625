"""Prompts and logits as a user gives them: as text, or as token ids."""

import warnings
from collections.abc import Sequence

from acdc.errors import AcdcWarning, InputError
from acdc.model.load import Model
from acdc.task.tokenize import PromptTokenizer
from acdc.words import are, count_of, shortened


def prompt_tokens(
    model: Model, prompt: str | Sequence[int], prepend_bos: bool = False, told: bool = False
) -> tuple[int, ...]:
    """Token ids of a prompt: of text, with the special tokens that the model's tokenizer adds, or with `prepend_bos` a
    BOS token alone. For a model without a tokenizer, text is token ids, separated by spaces or commas.

    Raises InputError for text that a model without a tokenizer cannot take; warns of words that the tokenizer does not
    know, unless that has been `told`.
    """
    if not isinstance(prompt, str):
        return tuple(int(token) for token in prompt)
    if model.tokenizer is None:
        return tuple(_as_id(word, "the prompt", model) for word in prompt.replace(",", " ").split())
    tokenizer = PromptTokenizer(model.tokenizer, True if prepend_bos else None)
    tokens = tuple(tokenizer.encode([prompt])[0])
    if tokenizer.is_unknown(tokens) and not told:
        warnings.warn(_unknown(model, tokenizer, prompt, tokens), AcdcWarning, stacklevel=2)
    return tokens


def _unknown(model: Model, tokenizer: PromptTokenizer, prompt: str, tokens: Sequence[int]) -> str:
    """What of a prompt the model does not see, in a sentence without its full stop."""
    count, word = sum(tokenizer.is_unknown([token]) for token in tokens), shortened(tokenizer.unknown_word(prompt))
    lost = f"{count} of the prompt's {count_of(len(tokens), 'token')}"
    return f"{model.name} does not know {word}: {lost} {are(count)} the unknown token, which stands for any such word"


def logit_token(model: Model, prompt: str | Sequence[int], token: str | int) -> int:
    """The id of the token that is to follow a prompt. Raises InputError for text that is not one token."""
    if isinstance(token, int):
        return token
    if model.tokenizer is None:
        return _as_id(token, "the logit", model)
    tokenizer = PromptTokenizer(model.tokenizer)
    found = tokenizer.added(prompt, [token])[0] if isinstance(prompt, str) else None
    found = tokenizer.single(token) if found is None else found
    if found is None:
        spaced = "" if token.startswith(" ") else f"; with a space before it, {' ' + token!r}, it may be one"
        raise InputError(f"--logit {shortened(token)} is not one token of {model.name!r}{spaced}")
    return found


def _as_id(word: str, what: str, model: Model) -> int:
    if not word.isdecimal() or len(word) > 9:
        raise InputError(f"model {model.name!r} has no tokenizer: give {what} as token ids, not {shortened(word)}")
    return int(word)
