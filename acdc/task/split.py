"""Which rows discover and which verify. Rows that say the same thing must not stand on both sides."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from acdc.errors import InputError
from acdc.task.rows import Row
from acdc.words import count_of


@dataclass(frozen=True)
class Split:
    """Row indices of both sides, in the order of the task; `rule` says how they were chosen.

    `duplicates`: verification rows that duplicate or mirror a discovery row (only a limit can leave any).
    """

    discovery: tuple[int, ...]
    verification: tuple[int, ...]
    rule: str
    duplicates: int = 0


def split_rows(rows: Sequence[Row], seed: int, limit: int | None = None) -> Split:
    """A seeded random half of the rows for discovery, or the first `limit`; the others verify.

    Rows with the same clean prompt, or with the same pair of prompts either way round, stay together in the random
    half. Raises InputError for a limit below 1 or above the number of rows.
    """
    families = _families(rows)
    if limit is not None:
        if not 1 <= limit <= len(rows):
            raise InputError(f"--limit {limit} must be between 1 and the task's {count_of(len(rows), 'row')}")
        seen = {families[i] for i in range(limit)}
        rest = tuple(range(limit, len(rows)))
        return Split(tuple(range(limit)), rest, f"first {limit} rows", sum(families[i] in seen for i in rest))
    sizes = Counter(families)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    half, chosen = (len(rows) + 1) // 2, set()
    taken = 0
    for family in order:
        if taken >= half:
            break
        chosen.add(family)
        taken += sizes[family]
    discovery = tuple(i for i, family in enumerate(families) if family in chosen)
    verification = tuple(i for i, family in enumerate(families) if family not in chosen)
    return Split(discovery, verification, f"random half, seed {seed}")


def _families(rows: Sequence[Row]) -> list[int]:
    """For each row the index of the first row that it duplicates or mirrors (itself if none)."""
    first: dict[object, int] = {}
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, row in enumerate(rows):
        keys: list[object] = [("clean", row.clean)]
        if row.corrupted is not None:
            keys.append(("pair", *sorted((row.clean, row.corrupted))))
        for key in keys:
            j = first.setdefault(key, i)
            a, b = sorted((root(i), root(j)))
            parent[b] = a
    return [root(i) for i in range(len(rows))]
