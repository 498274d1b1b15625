"""What a generator yields: a pair of prompts as text with its answers, before any tokenizer has seen it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter

Characters = tuple[int, int]  # of a text: the first, and the one after the last


@dataclass(frozen=True)
class Example:
    """A clean and a corrupted prompt of equal word count, with the answers that the clean prompt calls for.

    Answers are words by themselves; `separator` is what stands between a prompt and its answer. `spans` are where in
    the clean prompt something stands, by its characters; the corrupted prompt has its own in the same tokens. Where
    there are any, the last token is one more, called `end`.
    """

    clean: str
    corrupted: str
    correct: tuple[str, ...]
    incorrect: tuple[str, ...]
    group: str
    separator: str = " "
    spans: Mapping[str, Characters] = field(default_factory=dict)
    end: str = "end"


def fill(template: str, **fields: str) -> tuple[str, dict[str, Characters]]:
    """(a template's text, where each of its fields stands)."""
    text, places = "", {}
    for before, name, _, _ in Formatter().parse(template):
        text += before
        if name is not None:
            places[name] = (len(text), len(text) + len(fields[name]))
            text += fields[name]
    return text, places


def next_word(text: str, place: Characters) -> Characters:
    """The word after a stretch of a text."""
    found = re.compile(r"\w+").search(text, place[1])
    assert found, f"nothing comes after {text[slice(*place)]!r}"
    return found.span()
