"""Prompt pairs as token ids, and how they are batched."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of prompts of equal length with the answers that the clean prompt calls for, all as token ids.

    `corrupted`: None where there is none. `answer_position` is the index of the token whose next-token logits are
    measured; `group` names a template.
    """

    id: str
    clean: tuple[int, ...]
    corrupted: tuple[int, ...] | None
    correct: tuple[int, ...]
    incorrect: tuple[int, ...]
    answer_position: int
    group: str | None = None


@dataclass(frozen=True)
class Task:
    """A named list of rows; `metric` is the one the task was prepared for."""

    name: str
    rows: tuple[Row, ...]
    metric: str

    def content_hash(self) -> str:
        """SHA-256 of the rows as token ids: equal for equal data, wherever it was read from."""
        names, found = [one.name for one in fields(Row)], hashlib.sha256(b"[")
        for number, row in enumerate(self.rows):
            text = json.dumps({name: getattr(row, name) for name in names}, sort_keys=True, separators=(",", ":"))
            found.update(f"{',' if number else ''}{text}".encode())
        found.update(b"]")
        return found.hexdigest()

    def select(self, indices: Iterable[int]) -> tuple[Row, ...]:
        return tuple(self.rows[i] for i in indices)


def bucket(rows: Sequence[Row], size: int, stretch: float = 1.0, tokens: int | None = None) -> list[list[int]]:
    """Indices of rows in batches of at most `size`: shortest first, rows of one length in their order.

    A batch's longest row is at most `stretch` times its shortest, so by default all are of one length. With `tokens`, a
    batch of several rows has at most so many, padding included.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(rows)), key=lambda i: len(rows[i].clean)):
        length, last = len(rows[index].clean), batches[-1] if batches else []
        fits = len(last) < size and (tokens is None or (len(last) + 1) * length <= tokens)
        if last and fits and length <= stretch * len(rows[last[0]].clean):
            last.append(index)
        else:
            batches.append([index])
    return batches
