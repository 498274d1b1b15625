"""Greater-than on years (Hanna et al. 2023, arXiv 2305.00586).

"The war lasted from the year 1743 to the year 17" is completed by two digits above 43. The corrupted prompt starts in
the year 01 of the same century, for which almost every completion is right.
"""

import random
from collections.abc import Sequence

from acdc.task.generators.corpus import CENTURIES, EVENTS, YEARS
from acdc.task.generators.example import Example

TEMPLATE = "The {event} lasted from the year {century}{year} to the year {century}"
FIRST, LAST = 2, 98  # so that both sides of the answer are never empty and the corrupted year 01 is smaller
STARTS = tuple((century, year) for century in CENTURIES for year in YEARS[FIRST : LAST + 1])


def example(event: str, century: str, year: int, years: Sequence[str] = YEARS) -> Example:
    """One row: every year of `years` above `year` is correct, every other one incorrect."""
    return Example(
        clean=TEMPLATE.format(event=event, century=century, year=f"{year:02d}"),
        corrupted=TEMPLATE.format(event=event, century=century, year="01"),
        correct=tuple(y for y in years if int(y) > year),
        incorrect=tuple(y for y in years if int(y) <= year),
        group=f"century-{century}",
    )


def generate(
    rows: int,
    seed: int,
    starts: Sequence[tuple[str, str]] = STARTS,
    years: Sequence[str] = YEARS,
) -> list[Example]:
    """`rows` examples with event and (century, starting year) drawn independently."""
    rng = random.Random(seed)
    drawn = [(rng.choice(EVENTS), *rng.choice(starts)) for _ in range(rows)]
    return [example(event, century, int(year), years) for event, century, year in drawn]
