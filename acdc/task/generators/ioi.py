"""Indirect object identification (Wang et al. 2022, arXiv 2211.00593).

"When Mary and John went to the store, John gave a drink to" is completed by the name that occurs once. The corrupted
prompt replaces the three mentions by three other names, so that nothing tells which name comes next.

Spans are the paper's: the indirect object `IO`, the subject's mentions `S1` and `S2`, and `S1+1`, the word after `S1`.
"""

import random
from collections.abc import Sequence

from acdc.task.generators.corpus import NAMES, OBJECTS, PLACES
from acdc.task.generators.example import Characters, Example, fill, next_word
from acdc.task.generators.words import whole_words
from acdc.task.prompt_tokenizer import PromptTokenizer

# {A} and {B} are the two names of the first clause in their order of mention, {S} the repeated one.
TEMPLATES = (
    "When {A} and {B} went to the {place}, {S} gave a {object} to",
    "After {A} and {B} met at the {place}, {S} handed a {object} to",
    "Then, {A} and {B} had a long talk at the {place}, and {S} gave a {object} to",
    "While {A} and {B} were walking to the {place}, {S} passed a {object} to",
)


def prompt(
    template: str, indirect_object: str, subject: str, third: str, place: str, thing: str, swap: bool
) -> tuple[str, dict[str, Characters]]:
    """(a filled template, its spans); `swap` puts the indirect object second; `third` is the name after the comma."""
    first, second = (subject, indirect_object) if swap else (indirect_object, subject)
    text, at = fill(template, A=first, B=second, S=third, place=place, object=thing)
    io, s1 = (at["B"], at["A"]) if swap else (at["A"], at["B"])
    return text, {"IO": io, "S1": s1, "S1+1": next_word(text, s1), "S2": at["S"]}


def example(template: int, indirect_object: str, subject: str, names: Sequence[str], rng: random.Random) -> Example:
    """One row for a given pair of names; place, object, order and the corrupted names are drawn."""
    others = [name for name in names if name not in (indirect_object, subject)]
    other_object, other_subject, third = rng.sample(others, 3)
    place, thing, swap = rng.choice(PLACES), rng.choice(OBJECTS), rng.random() < 0.5
    text = TEMPLATES[template]
    clean, spans = prompt(text, indirect_object, subject, subject, place, thing, swap)
    corrupted, _ = prompt(text, other_object, other_subject, third, place, thing, swap)
    return Example(
        clean=clean,
        corrupted=corrupted,
        correct=(indirect_object,),
        incorrect=(subject,),
        group=f"template-{template}",
        spans=spans,
    )


def generate(rows: int, seed: int, names: Sequence[str] = NAMES) -> list[Example]:
    """`rows` examples over all templates in turn, with names drawn from `names`."""
    rng = random.Random(seed)
    pairs = [rng.sample(list(names), 2) for _ in range(rows)]
    return [example(i % len(TEMPLATES), io, s, names, rng) for i, (io, s) in enumerate(pairs)]


def prepare(tokenizer: PromptTokenizer, rows: int, seed: int) -> list[Example]:
    """The task with names that are one token. Raises InputError where a tokenizer has too few."""
    return generate(rows, seed, whole_words(tokenizer, NAMES, "names"))
