"""What generators ask a tokenizer: which words are one token where a prompt has them, in its middle, after a space."""

from collections.abc import Sequence
from itertools import chain

from acdc.errors import InputError
from acdc.task.prompt_tokenizer import PromptTokenizer

FEWEST = 16  # fewer would make a task of a handful of words
BEFORE = "the"  # what the words follow when the tokenizer is asked; any word would do
LARGE_ENOUGH = "GPT-2, Llama 3, Qwen or Gemma"


def middle_tokens(tokenizer: PromptTokenizer, words: Sequence[str]) -> list[int | None]:
    """The token of each word in the middle of a prompt; None for a word that is split or unknown."""
    return tokenizer.added(BEFORE, [f" {word}" for word in words])


def whole_words(tokenizer: PromptTokenizer, words: Sequence[str], what: str, fewest: int = FEWEST) -> tuple[str, ...]:
    """The words that are one token, in their order; `what` names them. Raises InputError where they are too few."""
    return tuple(word for (word,) in whole_sets(tokenizer, [(word,) for word in words], what, fewest))


def whole_sets(
    tokenizer: PromptTokenizer, sets: Sequence[tuple[str, ...]], what: str, fewest: int = FEWEST
) -> tuple[tuple[str, ...], ...]:
    """The same for words that are only of use together, such as a country and its capital."""
    words = tuple(dict.fromkeys(chain.from_iterable(sets)))
    tokens = dict(zip(words, middle_tokens(tokenizer, words), strict=True))
    kept = tuple(together for together in sets if all(tokens[word] is not None for word in together))
    if len(kept) < fewest:
        raise InputError(
            f"only {len(kept)} of {len(sets)} {what} are single tokens of the model's tokenizer, and {fewest} are "
            f"needed; a model with a larger vocabulary would do, such as {LARGE_ENOUGH}"
        )
    return kept


def check_answers(tokenizer: PromptTokenizer, answers: Sequence[str]) -> None:
    """Raises InputError unless each answer is one token."""
    if None in middle_tokens(tokenizer, answers):
        raise InputError(
            f"the answers {', '.join(map(repr, answers))} are not single tokens of the model's tokenizer; a model with "
            f"a larger vocabulary would do, such as {LARGE_ENOUGH}"
        )
