"""What a generator yields: a pair of prompts as text with its answers, before any tokenizer has seen it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A clean and a corrupted prompt of equal word count, with the answers that the clean prompt calls for.

    Answers are words without a leading space; whoever tokenizes them adds what the tokenizer needs.
    """

    clean: str
    corrupted: str
    correct: tuple[str, ...]
    incorrect: tuple[str, ...]
    group: str
