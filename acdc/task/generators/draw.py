"""Draw rows without repeating any."""

import random
from collections.abc import Sequence
from typing import TypeVar

G = TypeVar("G")
M = TypeVar("M")


def in_turn(groups: Sequence[G], members: Sequence[Sequence[M]], rows: int, rng: random.Random) -> list[tuple[G, M]]:
    """`rows` different pairs of a group and one of its members, the groups in turn.

    `members[i]` are those of `groups[i]`; each needs its share of the rows, `per_group`.
    """
    share = per_group(rows, len(groups))
    drawn = [rng.sample(list(own), share) for own in members]
    return [(groups[i % len(groups)], drawn[i % len(groups)][i // len(groups)]) for i in range(rows)]


def per_group(rows: int, groups: int) -> int:
    """How many rows the largest of equal groups has."""
    return -(-rows // groups)
