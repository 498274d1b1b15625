"""Random prompts for random models."""

import torch
from families import VOCABULARY

from acdc.task.rows import Row, Task


def noise(rows: int = 4, lengths: tuple[int, ...] = (6, 7), seed: int = 5) -> Task:
    """Random prompts of mixed lengths, with answers at the last or at an earlier position."""
    generator = torch.Generator().manual_seed(seed)

    def prompt(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCABULARY, (length,), generator=generator).tolist())

    def row(i: int) -> Row:
        length = lengths[i % len(lengths)]
        return Row(str(i), prompt(length), prompt(length), (i,), (i + 10, i + 11), length - 1 - i % 3)

    return Task("noise", tuple(row(i) for i in range(rows)), "logit_diff")
