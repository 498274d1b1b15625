"""Where something is patched: at the spans of a task, or at each position, counted from the last answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.task.rows import Row
from acdc.task.spans import REST

EVERYWHERE = "all"  # what all positions together are called
MOST_PLACES = 512


@dataclass(frozen=True)
class Places:
    """Names of places, and for each position of each row the number of its place, -1 where it is in none.

    `kind` says what the places are: `span` or `position`. `corrupted`: the numbers for corrupted prompts, where these
    are paired with the clean ones by spans.
    """

    kind: str
    names: tuple[str, ...]
    numbers: tuple[tuple[int, ...], ...]
    corrupted: tuple[tuple[int, ...], ...] | None = None

    def masks(self, rows: Sequence[int], length: int, device: torch.device, corrupted: bool = False) -> list[Tensor]:
        """For each place, boolean [rows, length]: which positions of the clean or the corrupted prompt are in it."""
        every = self.corrupted if corrupted and self.corrupted is not None else self.numbers
        padded = [(*every[row], *(-1,) * length)[:length] for row in rows]
        numbers = torch.tensor(padded, device=device)
        return [numbers == place for place in range(len(self.names))]


def everywhere(rows: Sequence[Row]) -> Places:
    """All positions of a prompt together."""
    clean, corrupted = zip(*(row.lengths for row in rows), strict=True)
    return Places("position", (EVERYWHERE,), *(tuple((0,) * length for length in side) for side in (clean, corrupted)))


def by_span(rows: Sequence[Row], names: Sequence[str]) -> Places:
    """The spans, all positions of one together, and the rest."""
    numbers = tuple(tuple(row.spans.numbers(len(row.clean))) for row in rows if row.spans is not None)
    others = ((row.corrupted_spans or row.spans, row.lengths[1]) for row in rows)
    corrupted = tuple(tuple(spans.numbers(length)) for spans, length in others if spans is not None)
    return Places("span", (*names, REST), numbers, corrupted)


def by_position(rows: Sequence[Row], whole: bool) -> Places:
    """Single positions. Where all rows have the last answer at the same one they are counted from the first token, else
    from that answer: -1 is the one before. `whole`: those after it too, which can matter to no other model.

    A row that is too short for a place has no share in what is measured there.
    """
    answers, lengths = [row.last_answer for row in rows], [len(row.clean) for row in rows]
    before = max(answers)
    after = max(length - answer - 1 for length, answer in zip(lengths, answers, strict=True)) if whole else 0
    alike = len(set(answers)) == 1
    names = tuple(str(offset + before if alike else offset) for offset in range(-before, after + 1))
    numbers = tuple(
        tuple(place - answer + before if whole or place <= answer else -1 for place in range(length))
        for answer, length in zip(answers, lengths, strict=True)
    )
    return Places("position", names, numbers)
