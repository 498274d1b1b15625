"""Prompts and logits as a user gives them: as text, or as token ids."""

from collections.abc import Sequence

from acdc.errors import InputError
from acdc.model.load import Model
from acdc.task.tokenize import PromptTokenizer
from acdc.words import shortened


def prompt_tokens(model: Model, prompt: str | Sequence[int], prepend_bos: bool = False) -> tuple[int, ...]:
    """Token ids of a prompt: of text, with the special tokens that the model's tokenizer adds, or with `prepend_bos` a
    BOS token alone. For a model without a tokenizer, text is token ids, separated by spaces or commas.

    Raises InputError for text that a model without a tokenizer cannot take.
    """
    if not isinstance(prompt, str):
        return tuple(int(token) for token in prompt)
    if model.tokenizer is None:
        return tuple(_as_id(word, "the prompt", model) for word in prompt.replace(",", " ").split())
    return tuple(PromptTokenizer(model.tokenizer, True if prepend_bos else None).encode([prompt])[0])


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
