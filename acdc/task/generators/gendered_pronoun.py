"""Gendered pronouns (Mathwin et al. 2023, "Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2
Small").

"So Mary is a really great friend, isn't" is completed by "she". The corrupted prompt has a name of the other gender, as
Nanda proposed for that work, so that the two prompts differ in gender alone. Besides their tag questions there are
clauses whose subject is the pronoun. Spans are the `name` and the prompt's `end`.
"""

import random
from collections.abc import Sequence
from itertools import product

from acdc.task.generators.corpus import FEMALE_NAMES, MALE_NAMES
from acdc.task.generators.draw import in_turn, per_group
from acdc.task.generators.example import Example, fill
from acdc.task.generators.words import check_answers, whole_words
from acdc.task.prompt_tokenizer import PromptTokenizer

TEMPLATES = {
    "tag-friend": "So {name} is a really great friend, isn't",
    "tag-person": "So {name} is a really kind person, isn't",
    "because": "Yesterday {name} went to the park because",
    "when": "When {name} came home,",
}
PRONOUNS = ("she", "he")
GROUPS = tuple(product(TEMPLATES, (0, 1)))  # template, and which of the pronouns


def generate(
    rows: int, seed: int, female: Sequence[str] = FEMALE_NAMES, male: Sequence[str] = MALE_NAMES
) -> list[Example]:
    """`rows` different examples, templates and genders in turn; at least `per_group` names of each gender."""
    rng = random.Random(seed)
    names = (female, male)
    drawn = in_turn(GROUPS, [names[gender] for _, gender in GROUPS], rows, rng)
    found = []
    for (template, gender), name in drawn:
        clean, spans = fill(TEMPLATES[template], name=name)
        found.append(
            Example(
                clean=clean,
                corrupted=TEMPLATES[template].format(name=rng.choice(names[1 - gender])),
                correct=(PRONOUNS[gender],),
                incorrect=(PRONOUNS[1 - gender],),
                group=template,
                spans=spans,
            )
        )
    return found


def prepare(tokenizer: PromptTokenizer, rows: int, seed: int) -> list[Example]:
    """The task with names that are one token. Raises InputError where a tokenizer has too few."""
    check_answers(tokenizer, PRONOUNS)
    fewest = per_group(rows, len(GROUPS))
    female = whole_words(tokenizer, FEMALE_NAMES, "female names", fewest)
    male = whole_words(tokenizer, MALE_NAMES, "male names", fewest)
    return generate(rows, seed, female, male)
