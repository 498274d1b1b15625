"""Docstring completion (Heimersheim and Janiak 2023): the next argument of a function, as its docstring lists them.

A function has four arguments; its docstring describes the first two, and the third is asked for. In the corrupted
prompt the arguments of the definition and of the docstring are all drawn anew, and apart, so that nothing tells what
comes next.

Spans are named as in the paper: `A_def` to `D_def` are the arguments in the definition, `A_doc` and `B_doc` those that
the docstring lists.
"""

import random
from collections.abc import Sequence

from acdc.task.generators.corpus import THINGS
from acdc.task.generators.example import Characters, Example, fill
from acdc.task.generators.words import whole_words
from acdc.task.prompt_tokenizer import PromptTokenizer

FRAME = '''
def {name}(self, {a}, {b}, {c}, {d}):
    """ {summary}

    :param {first}: {about_first}
    :param {second}: {about_second}
    :param'''
SPANS = {"A_def": "a", "B_def": "b", "C_def": "c", "D_def": "d", "A_doc": "first", "B_doc": "second"}
WORDS = 18  # of a row: four arguments and as many others, two more that are listed, and eight of text


def example(words: Sequence[str], rng: random.Random) -> Example:
    """One row; all its words are different."""
    used = rng.sample(list(words), WORDS)
    clean, others, listed, rest = used[:4], used[4:8], used[8:10], used[10:]
    fixed = {"name": rest[0], "summary": " ".join(rest[1:4])}
    fixed |= {"about_first": " ".join(rest[4:6]), "about_second": " ".join(rest[6:8])}

    def prompt(defined: Sequence[str], described: Sequence[str]) -> tuple[str, dict[str, Characters]]:
        a, b, c, d = defined
        first, second = described
        return fill(FRAME, a=a, b=b, c=c, d=d, first=first, second=second, **fixed)

    text, at = prompt(clean, clean[:2])
    return Example(
        clean=text,
        corrupted=prompt(others, listed)[0],
        correct=(clean[2],),
        incorrect=(clean[0], clean[1], clean[3]),
        group="four-arguments",
        spans={name: at[field] for name, field in SPANS.items()},
    )


def generate(rows: int, seed: int, words: Sequence[str] = THINGS) -> list[Example]:
    """`rows` examples with arguments and descriptions drawn from `words`."""
    rng = random.Random(seed)
    return [example(words, rng) for _ in range(rows)]


def prepare(tokenizer: PromptTokenizer, rows: int, seed: int) -> list[Example]:
    """The task with words that are one token. Raises InputError where a tokenizer has too few."""
    return generate(rows, seed, whole_words(tokenizer, THINGS, "words", fewest=WORDS))
