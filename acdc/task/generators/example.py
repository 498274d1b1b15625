"""What a generator yields: a pair of prompts as text with its answers, before any tokenizer has seen it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A clean and a corrupted prompt of equal word count, with the answers that the clean prompt calls for.

    Answers are words by themselves; `separator` is what stands between a prompt and its answer.
    """

    clean: str
    corrupted: str
    correct: tuple[str, ...]
    incorrect: tuple[str, ...]
    group: str
    separator: str = " "
