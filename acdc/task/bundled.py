"""The tasks that come with acdc, prepared for whatever tokenizer a model has.

They are generated, not stored: 128 rows from a fixed seed, in words, names and years that are single tokens for the
model at hand. A task is a module of `acdc.task.generators`, whose `prepare` adapts it to a tokenizer, and a line below.
"""

from collections.abc import Callable
from dataclasses import dataclass

from acdc.errors import InputError
from acdc.task.generators import (
    country_capital,
    docstring,
    gendered_pronoun,
    greater_than,
    induction,
    ioi,
    subject_verb_agreement,
)
from acdc.task.generators.example import Example
from acdc.task.generators.words import LARGE_ENOUGH
from acdc.task.prompt_tokenizer import PromptTokenizer
from acdc.task.raw_rows import RawRow, RawSpan
from acdc.task.span_places import in_text

ROWS = 128
SEED = 20_221_101


@dataclass(frozen=True)
class BundledTask:
    """A named generator with the metric that the behaviour was published with.

    `prepare` makes examples for a tokenizer, so many of them, from a seed.
    """

    name: str
    metric: str
    summary: str
    prepare: Callable[[PromptTokenizer, int, int], list[Example]]

    def raw_rows(self, tokenizer: PromptTokenizer) -> list[RawRow]:
        """The task's rows as text, answers with what separates them from the prompt.

        Raises InputError for a tokenizer that cannot serve the task.
        """
        try:
            examples = self.prepare(tokenizer, ROWS, SEED)
        except InputError as error:
            raise InputError(f"task {self.name!r}: {error}") from None
        if any(map(tokenizer.is_unknown, tokenizer.encode([e.clean for e in examples]))):
            raise InputError(
                f"task {self.name!r}: the model's tokenizer has no tokens for parts of its prompts; a model that can "
                f"read any text would do, such as {LARGE_ENOUGH}"
            )
        return [
            RawRow(
                id=f"{self.name}-{number:03d}",
                clean=e.clean,
                corrupted=e.corrupted,
                correct=[e.separator + answer for answer in e.correct],
                incorrect=[e.separator + answer for answer in e.incorrect],
                group=e.group,
                spans=_spans(e) if tokenizer.tells_characters else None,
            )
            for number, e in enumerate(examples)
        ]


def _spans(example: Example) -> dict[str, RawSpan] | None:
    """An example's spans by their texts, and its last token; None where it names none."""
    found: dict[str, RawSpan] = {name: in_text(example.clean, place) for name, place in example.spans.items()}
    return found | {example.end: -1} if found else None


BUNDLED_TASKS = {
    task.name: task
    for task in (
        BundledTask("ioi", "logit_diff", "indirect object identification: which name occurs once", ioi.prepare),
        BundledTask("greater_than", "prob_diff", "a later year of the same century", greater_than.prepare),
        BundledTask("docstring", "logit_diff", "the argument that a docstring lists next", docstring.prepare),
        BundledTask("induction", "logit_diff", "what followed this word before", induction.prepare),
        BundledTask(
            "subject_verb_agreement", "logit_diff", "is or are, across another noun", subject_verb_agreement.prepare
        ),
        BundledTask("gendered_pronoun", "logit_diff", "she or he, by a name", gendered_pronoun.prepare),
        BundledTask("country_capital", "logit_diff", "the capital of a country", country_capital.prepare),
    )
}
