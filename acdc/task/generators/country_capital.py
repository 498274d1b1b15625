"""Country and capital, the recall of a fact (Merullo et al. 2024, arXiv 2305.16130).

"The capital of France is the city of" is completed by "Paris". The corrupted prompt names another country, whose
capital is the incorrect answer. Hanna et al. 2024 (arXiv 2403.17806) pair prompts in the same way, and ask for the
country. Spans are the `country` and the prompt's `end`.
"""

import random
from collections.abc import Sequence

from acdc.task.generators.draw import in_turn, per_group
from acdc.task.generators.example import Example, fill
from acdc.task.generators.words import whole_sets
from acdc.task.prompt_tokenizer import PromptTokenizer

TEMPLATES = {
    "city-of": "The capital of {country} is the city of",
    "called": "The capital city of {country} is called",
    "visited": "I visited {country} and its capital,",
    "museum": "The biggest museum in {country} is in its capital,",
    "lives": "She lives in the capital of {country}, the city of",
}

CAPITALS = (
    ("France", "Paris"), ("Germany", "Berlin"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Portugal", "Lisbon"),
    ("England", "London"), ("Ireland", "Dublin"), ("Scotland", "Edinburgh"), ("Austria", "Vienna"),
    ("Hungary", "Budapest"), ("Poland", "Warsaw"), ("Russia", "Moscow"), ("Greece", "Athens"), ("Turkey", "Ankara"),
    ("Egypt", "Cairo"), ("Iraq", "Baghdad"), ("Iran", "Tehran"), ("Syria", "Damascus"), ("Lebanon", "Beirut"),
    ("Japan", "Tokyo"), ("China", "Beijing"), ("Thailand", "Bangkok"), ("Vietnam", "Hanoi"), ("Indonesia", "Jakarta"),
    ("Australia", "Canberra"), ("Canada", "Ottawa"), ("Cuba", "Havana"), ("Peru", "Lima"), ("Chile", "Santiago"),
    ("Kenya", "Nairobi"), ("Libya", "Tripoli"), ("Norway", "Oslo"), ("Sweden", "Stockholm"),
    ("Denmark", "Copenhagen"), ("Finland", "Helsinki"), ("Belgium", "Brussels"), ("Switzerland", "Bern"),
    ("Romania", "Bucharest"), ("Bulgaria", "Sofia"), ("Serbia", "Belgrade"), ("Croatia", "Zagreb"),
    ("Afghanistan", "Kabul"), ("Venezuela", "Caracas"),
)  # fmt: skip


def generate(rows: int, seed: int, capitals: Sequence[tuple[str, ...]] = CAPITALS) -> list[Example]:
    """`rows` different examples over all templates in turn; at least `per_group` pairs (country, capital)."""
    rng = random.Random(seed)
    drawn = in_turn(tuple(TEMPLATES), [capitals] * len(TEMPLATES), rows, rng)
    found = []
    for template, (country, capital) in drawn:
        other, its_capital = rng.choice([pair for pair in capitals if pair[0] != country])
        clean, spans = fill(TEMPLATES[template], country=country)
        found.append(
            Example(
                clean=clean,
                corrupted=TEMPLATES[template].format(country=other),
                correct=(capital,),
                incorrect=(its_capital,),
                group=template,
                spans=spans,
            )
        )
    return found


def prepare(tokenizer: PromptTokenizer, rows: int, seed: int) -> list[Example]:
    """The task with countries and capitals that are one token. Raises InputError where a tokenizer has too few."""
    fewest = per_group(rows, len(TEMPLATES))
    return generate(rows, seed, whole_sets(tokenizer, CAPITALS, "countries with their capitals", fewest))
