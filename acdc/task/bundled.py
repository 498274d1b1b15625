"""The tasks that come with acdc, posed for whatever tokenizer a model has.

They are generated, not stored: 128 rows from a fixed seed, with names, years and words that are single tokens for the
model at hand. Raises InputError where a tokenizer leaves too few of them.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acdc.errors import InputError
from acdc.task.generators import docstring, greater_than, induction, ioi
from acdc.task.generators.corpus import CENTURIES, NAMES, THINGS, YEARS
from acdc.task.generators.example import Example
from acdc.task.readers import RawRow
from acdc.task.tokenize import PromptTokenizer

ROWS = 128
SEED = 20_221_101
FEWEST_WORDS = 16


@dataclass(frozen=True)
class BundledTask:
    """A named generator with the metric that the behaviour was published with."""

    name: str
    metric: str
    summary: str
    examples: Callable[[PromptTokenizer], list[Example]]
    answer_prefix: str

    def raw_rows(self, tokenizer: PromptTokenizer) -> list[RawRow]:
        """The task's rows as text, answers with the space that separates them from the prompt."""
        return [
            RawRow(
                id=f"{self.name}-{number:03d}",
                clean=e.clean,
                corrupted=e.corrupted,
                correct=[self.answer_prefix + answer for answer in e.correct],
                incorrect=[self.answer_prefix + answer for answer in e.incorrect],
                group=e.group,
            )
            for number, e in enumerate(self.examples(tokenizer))
        ]


def _single_words(tokenizer: PromptTokenizer, words: Sequence[str], what: str, task: str) -> tuple[str, ...]:
    kept = tuple(word for word in words if tokenizer.single(" " + word) is not None)
    if len(kept) < FEWEST_WORDS:
        raise InputError(
            f"task {task!r}: the model's tokenizer keeps only {len(kept)} of {len(words)} {what} whole; "
            f"{FEWEST_WORDS} are needed"
        )
    return kept


def _ioi(tokenizer: PromptTokenizer) -> list[Example]:
    return ioi.generate(ROWS, SEED, _single_words(tokenizer, NAMES, "names", "ioi"))


def _induction(tokenizer: PromptTokenizer) -> list[Example]:
    return induction.generate(ROWS, SEED, _single_words(tokenizer, THINGS, "words", "induction"))


def _docstring(tokenizer: PromptTokenizer) -> list[Example]:
    """A tokenizer of code, which leaves more words whole than a row has."""
    words = _single_words(tokenizer, THINGS, "words", "docstring")
    examples = docstring.generate(ROWS, SEED, words) if len(words) >= docstring.WORDS else []
    if not examples or tokenizer.is_unknown(tokenizer.encode_plain(examples[0].clean)):
        raise InputError("task 'docstring': the model's tokenizer does not know what code is made of")
    return examples


def _greater_than(tokenizer: PromptTokenizer) -> list[Example]:
    """Years must split into century and two digits, as in GPT-2's ' 17' '43'."""
    two_digits = {year: tokenizer.single(year) for year in YEARS}
    whole = {
        (century, year)
        for century, year in itertools.product(CENTURIES, YEARS)
        if (prefix := tokenizer.single(f" {century}")) is not None
        and two_digits[year] is not None
        and tokenizer.encode_plain(f" {century}{year}") == [prefix, two_digits[year]]
    }
    centuries = [c for c in CENTURIES if (c, "01") in whole]
    starts = [(c, y) for c, y in sorted(whole) if c in centuries and greater_than.FIRST <= int(y) <= greater_than.LAST]
    if len(starts) < FEWEST_WORDS:
        raise InputError("task 'greater_than': the model's tokenizer does not split years into century and two digits")
    years = [year for year in YEARS if two_digits[year] is not None]
    return greater_than.generate(ROWS, SEED, starts, years)


BUNDLED_TASKS = {
    task.name: task
    for task in (
        BundledTask("ioi", "logit_diff", "indirect object identification: which name occurs once", _ioi, " "),
        BundledTask("greater_than", "prob_diff", "a later year of the same century", _greater_than, ""),
        BundledTask("docstring", "logit_diff", "the argument that a docstring lists next", _docstring, " "),
        BundledTask("induction", "logit_diff", "what followed this word before", _induction, " "),
    )
}
