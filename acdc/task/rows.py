"""Prompt pairs as token ids, and how they are batched."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from acdc.errors import InputError
from acdc.task.spans import Spans


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of prompts of equal length with the answers that the clean prompt calls for, all as token ids.

    `corrupted`: None where there is none. `answer_position` is the index of the token whose next-token logits are
    measured; `group` names a template. `spans` are of the clean prompt, and of the corrupted one, with which it agrees
    position by position.
    """

    id: str
    clean: tuple[int, ...]
    corrupted: tuple[int, ...] | None
    correct: tuple[int, ...]
    incorrect: tuple[int, ...]
    answer_position: int
    group: str | None = None
    spans: Spans | None = None


@dataclass(frozen=True)
class Task:
    """A named list of rows; `metric` is the one the task was prepared for."""

    name: str
    rows: tuple[Row, ...]
    metric: str

    def content_hash(self) -> str:
        """SHA-256 of the rows as token ids: equal for equal data, wherever it was read from. Spans are no part of it:
        what is measured without asking for them does not depend on them."""
        names = [one.name for one in fields(Row) if one.name != "spans"]
        return _hash({name: getattr(row, name) for name in names} for row in self.rows)

    def spans_hash(self) -> str:
        """SHA-256 of the rows' spans, for what is measured by them. Raises InputError for rows without."""
        self.check_spans()
        return _hash((row.spans.names, row.spans.bounds) for row in self.rows if row.spans)

    @property
    def span_names(self) -> tuple[str, ...]:
        """What the rows call their spans, in the first row's order; none where they have none."""
        first = self.rows[0].spans if self.rows else None
        return () if first is None else first.names

    def check_spans(self) -> None:
        """Raises InputError where the rows have no spans."""
        if not self.span_names:
            raise InputError(
                f'task {self.name!r} has no spans: give each of its rows "spans", such as {{"subject": [2, 4]}}'
            )

    def select(self, indices: Iterable[int]) -> tuple[Row, ...]:
        return tuple(self.rows[i] for i in indices)


def _hash(records: Iterable[object]) -> str:
    """SHA-256 of a list as JSON, which is never held as a whole."""
    found = hashlib.sha256(b"[")
    for number, record in enumerate(records):
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        found.update(f"{',' if number else ''}{text}".encode())
    found.update(b"]")
    return found.hexdigest()


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
