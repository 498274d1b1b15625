"""Subject-verb agreement across a prepositional phrase (Linzen et al. 2016, arXiv 1611.01368), with the pairs of
prompts that Finlayson et al. 2021 (arXiv 2106.06087) and Marks et al. 2024 (arXiv 2403.19647) intervene with.

"The doctors near the car" is completed by "are". The corrupted prompt has the subject in the other number. The noun in
between, which does not decide, has the number of the subject in half of the rows and the other one in the rest; groups
are named by template, then by which of the two it is. After an opening a verb is the likeliest next word; in the bare
form it is often a comma or a full stop.

Spans are the `subject`, the `preposition`, and the prompt's `end`, which is the other noun.
"""

import random
from collections.abc import Sequence
from itertools import product

from acdc.task.generators.draw import in_turn
from acdc.task.generators.example import Example, fill
from acdc.task.generators.words import check_answers, whole_sets
from acdc.task.prompt_tokenizer import PromptTokenizer

TEMPLATES = {
    "bare": "The {subject} {preposition} the {noun}",
    "say": "They say that the {subject} {preposition} the {noun}",
    "photo": "In the photo, the {subject} {preposition} the {noun}",
}
PREPOSITIONS = ("near", "behind", "beside", "next to")
VERBS = ("is", "are")
SINGULAR, PLURAL = 0, 1
GROUPS = tuple(product(TEMPLATES, (SINGULAR, PLURAL), ("same", "other")))  # template, subject's number, noun's number

SUBJECTS = (
    ("boy", "boys"), ("girl", "girls"), ("man", "men"), ("woman", "women"), ("doctor", "doctors"),
    ("teacher", "teachers"), ("singer", "singers"), ("lawyer", "lawyers"), ("farmer", "farmers"),
    ("athlete", "athletes"), ("poet", "poets"), ("guy", "guys"), ("kid", "kids"), ("friend", "friends"),
    ("father", "fathers"), ("mother", "mothers"), ("student", "students"), ("writer", "writers"), ("actor", "actors"),
    ("driver", "drivers"), ("author", "authors"), ("officer", "officers"), ("manager", "managers"),
    ("worker", "workers"), ("soldier", "soldiers"), ("player", "players"), ("artist", "artists"),
)  # fmt: skip

NOUNS = (
    ("table", "tables"), ("chair", "chairs"), ("car", "cars"), ("truck", "trucks"), ("tree", "trees"), ("dog", "dogs"),
    ("cat", "cats"), ("bike", "bikes"), ("window", "windows"), ("door", "doors"), ("house", "houses"),
    ("box", "boxes"), ("book", "books"), ("wall", "walls"), ("boat", "boats"), ("train", "trains"), ("horse", "horses"),
    ("tower", "towers"), ("shop", "shops"), ("bridge", "bridges"), ("tent", "tents"), ("statue", "statues"),
)  # fmt: skip


def generate(
    rows: int,
    seed: int,
    subjects: Sequence[tuple[str, ...]] = SUBJECTS,
    nouns: Sequence[tuple[str, ...]] = NOUNS,
) -> list[Example]:
    """`rows` different examples over all groups in turn; words are pairs (singular, plural)."""
    rng = random.Random(seed)
    phrases = list(product(subjects, PREPOSITIONS, nouns))
    found = []
    for (template, number, agrees), (subject, preposition, noun) in in_turn(GROUPS, [phrases] * len(GROUPS), rows, rng):
        text, between = TEMPLATES[template], noun[number if agrees == "same" else 1 - number]
        clean, at = fill(text, subject=subject[number], preposition=preposition, noun=between)
        found.append(
            Example(
                clean=clean,
                corrupted=text.format(subject=subject[1 - number], preposition=preposition, noun=between),
                correct=(VERBS[number],),
                incorrect=(VERBS[1 - number],),
                group=f"{template}-{agrees}",
                spans={name: at[name] for name in ("subject", "preposition")},
            )
        )
    return found


def prepare(tokenizer: PromptTokenizer, rows: int, seed: int) -> list[Example]:
    """The task with words that are one token in both numbers. Raises InputError where a tokenizer has too few."""
    check_answers(tokenizer, VERBS)
    subjects = whole_sets(tokenizer, SUBJECTS, "subjects in singular and plural")
    return generate(rows, seed, subjects, whole_sets(tokenizer, NOUNS, "nouns in singular and plural"))
