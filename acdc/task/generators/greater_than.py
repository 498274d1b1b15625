"""Greater-than on years (Hanna et al. 2023, arXiv 2305.00586).

"The war lasted from the year 1743 to the year 17" is completed by two digits above 43. The corrupted prompt starts in
the year 1701, for which almost every completion is right.

The question is the last year's next token, and what that is depends on how a tokenizer splits years:

    split      the prompt ends in  next token  corrupted start  tokenizers
    17 43      to the year 17      43          1701             GPT-2
    1 7 4 3    to the year 17      4           1701             Llama 2, Qwen, Gemma, SmolLM2
    174 3      to the year 174     3           1741             Llama 3
    1743       to the year         1743        1701             those that keep numbers whole

Candidates are the years of the same century, and an answer stands for all that begin with it. It is correct where every
one of them is later than the first year, and incorrect where none is, so the first year itself is incorrect. Where some
are later and some are not, as with the 4 of 1743 when tens are asked, the answer is neither.

Spans are the `noun`, the first year `start`, and the prompt's `end`.
"""

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from acdc.errors import InputError
from acdc.task.generators.corpus import CENTURIES, EVENTS, YEARS
from acdc.task.generators.example import Characters, Example, fill
from acdc.task.generators.words import FEWEST
from acdc.task.prompt_tokenizer import PromptTokenizer

TEMPLATE = "The {event} lasted from the year {start} to the year{end}"
CENTURY, YEAR = 2, 4  # digits
FIRST, LAST = 2, 98  # so that both sides of the answer are never empty and the corrupted year 01 is smaller


@dataclass(frozen=True)
class Form:
    """How many digits of the last year the prompt shows, and how many its next token has."""

    shown: int
    asked: int

    def stem(self, year: str) -> str:
        """The digits that the first and the last year share: those shown, and always the century."""
        return year[: max(self.shown, CENTURY)]

    def ending(self, stem: str) -> str:
        """What the prompt shows of the last year, with the space before it."""
        return f" {stem[: self.shown]}" if self.shown else ""

    @property
    def separator(self) -> str:
        """What stands between the prompt and its answer."""
        return "" if self.shown else " "

    def answers(self, stem: str) -> tuple[str, ...]:
        """All candidates for the next token, in their order."""
        known = stem[self.shown :]
        digits = self.asked - len(known)
        return tuple(f"{known}{number:0{digits}d}" for number in range(10**digits))

    def corrupted(self, stem: str) -> str:
        """The second year that begins with a stem."""
        return str(int(f"{stem:0<{YEAR}}") + 1)


TWO_DIGITS = Form(shown=2, asked=2)
# In this order, as a tokenizer of single digits also continues three digits by one.
FORMS = (TWO_DIGITS, Form(shown=2, asked=1), Form(shown=3, asked=1), Form(shown=0, asked=4))


@dataclass(frozen=True)
class Questions:
    """What a tokenizer can be asked: a form, the first years, and the candidates for the next token of each stem."""

    form: Form
    starts: tuple[str, ...]
    answers: Mapping[str, tuple[str, ...]]

    def judge(self, start: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(correct, incorrect) answers to a first year."""
        answers = self.answers[self.form.stem(start)]
        begun = [(answer, start[: self.form.shown] + answer) for answer in answers]
        correct = tuple(answer for answer, digits in begun if f"{digits:0<{YEAR}}" > start)
        incorrect = tuple(answer for answer, digits in begun if f"{digits:9<{YEAR}}" <= start)
        return correct, incorrect


ALL = Questions(
    TWO_DIGITS,
    tuple(century + year for century in CENTURIES for year in YEARS[FIRST : LAST + 1]),
    {century: TWO_DIGITS.answers(century) for century in CENTURIES},
)


def example(event: str, century: str, year: int, questions: Questions = ALL) -> Example:
    """One row: what comes after `year` of `century`."""
    start, form = f"{century}{year:02d}", questions.form
    stem = form.stem(start)
    correct, incorrect = questions.judge(start)

    def prompt(start: str) -> tuple[str, dict[str, Characters]]:
        return fill(TEMPLATE, event=event, start=start, end=form.ending(stem))

    clean, at = prompt(start)
    return Example(
        clean=clean,
        corrupted=prompt(form.corrupted(stem))[0],
        correct=correct,
        incorrect=incorrect,
        group=f"century-{century}",
        separator=form.separator,
        spans={"noun": at["event"], "start": at["start"]},
    )


def generate(rows: int, seed: int, questions: Questions = ALL) -> list[Example]:
    """`rows` examples of an event and a first year.

    They are all different, but for one repetition where all questions can be asked: artefacts record those rows so.
    """
    rng, starts = random.Random(seed), questions.starts
    if questions == ALL:
        drawn = [(rng.choice(EVENTS), rng.choice(starts)) for _ in range(rows)]
    else:
        drawn = rng.sample(list(itertools.product(EVENTS, starts)), rows)
    return [example(event, start[:CENTURY], int(start[CENTURY:]), questions) for event, start in drawn]


def prepare(tokenizer: PromptTokenizer, rows: int, seed: int) -> list[Example]:
    """The task in the form that fits how the tokenizer splits years. Raises InputError where none does."""
    for form in FORMS:
        questions = ask(tokenizer, form)
        if len(questions.starts) >= FEWEST:
            return generate(rows, seed, questions)
    raise InputError(
        "the model's tokenizer splits years in a way that the task has no question for; it has one for years that are "
        "whole, that split as 17 43 or 174 3, or into single digits"
    )


def ask(tokenizer: PromptTokenizer, form: Form) -> Questions:
    """The questions of a form whose answers are one token after what the prompt shows.

    First years have answers of both kinds, split as the last year does, and have as many tokens as the corrupted one.
    """
    years = [century + year for century in CENTURIES for year in YEARS]
    lengths = dict(zip(years, map(len, tokenizer.encode([f"the year {year} to" for year in years])), strict=True))
    answers = {stem: _single_tokens(tokenizer, form, stem) for stem in dict.fromkeys(map(form.stem, years))}
    questions = Questions(form, (), answers)

    def splits(year: str) -> bool:
        return year[form.shown : form.shown + form.asked] in answers[form.stem(year)]

    def usable(year: str) -> bool:
        corrupted = form.corrupted(form.stem(year))
        alike = splits(year) and splits(corrupted) and lengths[year] == lengths[corrupted]
        return alike and year > corrupted and all(questions.judge(year))

    return replace(questions, starts=tuple(filter(usable, years)))


def _single_tokens(tokenizer: PromptTokenizer, form: Form, stem: str) -> tuple[str, ...]:
    answers = form.answers(stem)
    tokens = tokenizer.added(f"the year{form.ending(stem)}", [form.separator + answer for answer in answers])
    return tuple(answer for answer, token in zip(answers, tokens, strict=True) if token is not None)
