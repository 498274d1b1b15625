"""Random prompts for random models."""

from dataclasses import replace

import torch
from families import VOCABULARY

from acdc.task.rows import Answers, Row, Task


def noise(rows: int = 4, lengths: tuple[int, ...] = (6, 7), seed: int = 5) -> Task:
    """Random prompts of mixed lengths, with answers at the last or at an earlier position."""
    generator = torch.Generator().manual_seed(seed)

    def prompt(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCABULARY, (length,), generator=generator).tolist())

    def row(i: int) -> Row:
        length = lengths[i % len(lengths)]
        return Row(str(i), prompt(length), prompt(length), (i,), (i + 10, i + 11), length - 1 - i % 3)

    return Task("noise", tuple(row(i) for i in range(rows)), "logit_diff")


def several(rows: int = 4, lengths: tuple[int, ...] = (6, 7), counts: tuple[int, ...] = (3,), seed: int = 5) -> Task:
    """The same with so many answers in each row, at positions drawn for it."""
    generator = torch.Generator().manual_seed(seed + 1)

    def answered(place: int, row: Row) -> Row:
        chosen = torch.randperm(len(row.clean), generator=generator)[: counts[place % len(counts)]].sort().values
        first, *later = (Answers(at, (place + at,), (place + at + 10, at + 25)) for at in chosen.tolist())
        return replace(
            row, answer_position=first.position, correct=first.correct, incorrect=first.incorrect, later=tuple(later)
        )

    plain = noise(rows, lengths, seed)
    return replace(plain, rows=tuple(answered(place, row) for place, row in enumerate(plain.rows)))


def apart(task: Task) -> Task:
    """The same answers, each in a row of its own."""
    rows = (replace(one, id=f"{row.id}-{at}") for row in task.rows for at, one in enumerate(row.single))
    return replace(task, rows=tuple(rows))
