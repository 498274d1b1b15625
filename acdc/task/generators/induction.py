"""Induction: a token that was followed by another one before is followed by it again (Olsson et al. 2022).

"... A B ... C D ... A" is completed by B. The corrupted prompt exchanges the earlier A and C, so that the same last
token calls for D: the two prompts differ only in which token precedes which, the thing that a previous-token head
writes and an induction head reads.

Where a tokenizer would write the first word of a prompt as another token than the same word further on, or as several,
the list begins with "Words:". That also leaves the first position, which models without a BOS token use as one, to a
word that is not part of the list.

Spans are `first`, where A stands first, and `first+1`, the B after it; `other` and `other+1`, C and D; and `second`,
the A at the end.
"""

import random
from collections.abc import Sequence

from acdc.errors import InputError
from acdc.task.generators.corpus import THINGS
from acdc.task.generators.example import Characters, Example
from acdc.task.generators.words import LARGE_ENOUGH, middle_tokens, whole_words
from acdc.task.prompt_tokenizer import PromptTokenizer

LENGTHS = (9, 13)  # words before the repeated one
LEAD = "Words:"


def example(first: str, second: str, words: Sequence[str], length: int, rng: random.Random, lead: str = "") -> Example:
    """One row in which `first second` occurs and `first` is repeated at the end; the rest is drawn without repeats.

    `lead` stands before the first word.
    """
    others = [word for word in words if word not in (first, second)]
    context = rng.sample(others, length - 2)
    filler, (other_first, other_second) = context[:-2], context[-2:]
    places = sorted(rng.sample(range(len(filler) + 1), 2))
    pairs = [[first, second], [other_first, other_second]]
    rng.shuffle(pairs)
    sequence = filler[: places[0]] + pairs[0] + filler[places[0] : places[1]] + pairs[1] + filler[places[1] :]
    exchanged = {first: other_first, other_first: first}
    return Example(
        clean=lead + " ".join([*sequence, first]),
        corrupted=lead + " ".join([*(exchanged.get(word, word) for word in sequence), first]),
        correct=(second,),
        incorrect=(other_second,),
        group=f"length-{length}",
        spans={
            "first": _place(sequence, first, lead),
            "first+1": _place(sequence, second, lead),
            "other": _place(sequence, other_first, lead),
            "other+1": _place(sequence, other_second, lead),
        },
        end="second",
    )


def _place(sequence: Sequence[str], word: str, lead: str) -> Characters:
    """Where a word of a list stands in its text."""
    start = len(lead) + sum(len(before) + 1 for before in sequence[: sequence.index(word)])
    return start, start + len(word)


def generate(rows: int, seed: int, words: Sequence[str] = THINGS, lead: str = "") -> list[Example]:
    """`rows` examples over all lengths in turn."""
    rng = random.Random(seed)
    drawn = [rng.sample(list(words), 2) for _ in range(rows)]
    return [example(a, b, words, LENGTHS[i % len(LENGTHS)], rng, lead) for i, (a, b) in enumerate(drawn)]


def prepare(tokenizer: PromptTokenizer, rows: int, seed: int) -> list[Example]:
    """The task with words that are one and the same token wherever they stand. Raises InputError where there are too
    few."""
    words = whole_words(tokenizer, THINGS, "words")
    return generate(rows, seed, words, _lead(tokenizer, words))


def _lead(tokenizer: PromptTokenizer, words: Sequence[str]) -> str:
    """What goes before the list so that its first word is the same token as in the middle."""
    in_the_middle = middle_tokens(tokenizer, words)
    if tokenizer.added("", words) == in_the_middle:
        return ""
    if tokenizer.added(LEAD, [f" {word}" for word in words]) == in_the_middle:
        return f"{LEAD} "
    raise InputError(
        f"the model's tokenizer splits words differently at the start of a prompt, in its middle and after {LEAD!r}; a "
        f"model whose tokenizer does not would do, such as {LARGE_ENOUGH}"
    )
