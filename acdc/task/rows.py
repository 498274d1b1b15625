"""Prompt pairs as token ids, and how they are batched."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from acdc.artefacts.frames import frame
from acdc.display import show
from acdc.errors import InputError
from acdc.task.pairing import Prompt, pair
from acdc.task.spans import Spans
from acdc.words import count_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Answers:
    """What a prompt calls for after the token at a position, as token ids."""

    position: int
    correct: tuple[int, ...] = ()
    incorrect: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of prompts with the answers that the clean prompt calls for, all as token ids.

    `corrupted`: None where there is none. `answer_position` is the index of the token whose next-token logits are
    measured; `later`: what is called for at further positions, ascending, each of which counts as much as the first;
    `group` names a template. `spans` are of the clean prompt. Without `corrupted_spans` they are also those
    of the corrupted prompt, which is as long and corresponds to the clean one position by position; with them, spans of
    the same names correspond (`acdc.task.pairing`).
    """

    id: str
    clean: tuple[int, ...]
    corrupted: tuple[int, ...] | None
    correct: tuple[int, ...]
    incorrect: tuple[int, ...]
    answer_position: int
    group: str | None = None
    spans: Spans | None = None
    corrupted_spans: Spans | None = None
    later: tuple[Answers, ...] = ()

    @property
    def answers(self) -> tuple[Answers, ...]:
        """All that it calls for, by position."""
        return Answers(self.answer_position, self.correct, self.incorrect), *self.later

    @property
    def last_answer(self) -> int:
        """The last position at which it calls for something."""
        return self.later[-1].position if self.later else self.answer_position

    @property
    def single(self) -> "tuple[Row, ...]":
        """Rows of one answer each that say the same."""
        if not self.later:
            return (self,)
        return tuple(
            replace(self, answer_position=one.position, correct=one.correct, incorrect=one.incorrect, later=())
            for one in self.answers
        )

    def has(self, kind: str) -> bool:
        """Whether it has correct, or incorrect, answers wherever it calls for something."""
        return all(getattr(answers, kind) for answers in self.answers)

    @property
    def pairing(self) -> tuple[tuple[int, ...], ...] | None:
        """For each position of the clean prompt, those of the corrupted one that stand for it; None where it is the
        same one."""
        if self.corrupted is None or self.spans is None or self.corrupted_spans is None:
            return None
        return pair(Prompt(len(self.clean), self.spans), Prompt(len(self.corrupted), self.corrupted_spans))

    @property
    def pairing_back(self) -> tuple[tuple[int, ...], ...] | None:
        """The same the other way round: for each position of the corrupted prompt, those of the clean one. Raises
        InputError where the spans tell only in one direction."""
        if self.corrupted is None or self.spans is None or self.corrupted_spans is None:
            return None
        return pair(Prompt(len(self.corrupted), self.corrupted_spans), Prompt(len(self.clean), self.spans))

    @property
    def corrupted_positions(self) -> tuple[int, ...]:
        """Where the corrupted prompt has the tokens that correspond to those at the positions of the answers."""
        paired, positions = self.pairing, [answers.position for answers in self.answers]
        return tuple(positions if paired is None else [paired[position][0] for position in positions])

    @property
    def counterparts(self) -> tuple[int | None, ...] | None:
        """The corrupted prompt's token that corresponds to each of the clean one's, None for one without; None where
        there is no corrupted prompt."""
        if self.corrupted is None or (paired := self.pairing) is None:
            return self.corrupted
        return tuple(self.corrupted[places[0]] if len(places) == 1 else None for places in paired)

    @property
    def unchanged(self) -> int:
        """At how many positions from the start both prompts have the same tokens, and no answer is yet called for: 0
        without a corrupted prompt, and where spans say which positions correspond."""
        if self.corrupted is None or self.pairing is not None:
            return 0
        pairs = enumerate(zip(self.clean, self.corrupted, strict=False))
        different = (place for place, (one, other) in pairs if one != other)
        return min([self.answer_position, len(self.corrupted), *different])

    @property
    def lengths(self) -> tuple[int, int]:
        """Of the clean and of the corrupted prompt, the same where there is none."""
        return len(self.clean), len(self.clean if self.corrupted is None else self.corrupted)


@dataclass(frozen=True)
class Task:
    """A named list of rows; `metric` is the one the task was prepared for. `of` makes one of texts."""

    name: str
    rows: tuple[Row, ...]
    metric: str

    def __post_init__(self) -> None:
        """Raises InputError for rows that were not made for a model."""
        object.__setattr__(self, "rows", tuple(self.rows))
        if wrong := next((row for row in self.rows if not isinstance(row, Row)), None):
            raise InputError(
                f"a Task holds rows of token ids, not a {type(wrong).__name__}: acdc.Task.of(model, rows) makes them"
            )

    @classmethod
    def of(
        cls, model: Any, rows: Any, metric: str | None = None, *, name: str = "task", prepend_bos: bool | None = None
    ) -> "Task":
        """A task of rows that are at hand: dictionaries, a data frame, or a data set of the library `datasets`.

        They have the keys of a task file, or the columns of AutoCircuit, EAP-IG or MIB, and are checked as a file's;
        what is None or NaN is not there. `metric` and `prepend_bos` are what a file's header says. Raises InputError
        naming the row, counted from 0, that cannot be used.
        """
        made = show("task of rows", model, rows, metric, name, prepend_bos)
        assert isinstance(made, cls)
        return made

    def to_dataframe(self, model: Any = None) -> "pd.DataFrame":
        """A row for each: `id`, `clean`, `corrupted`, `correct`, `incorrect`, `answer_position` and `group`; as texts
        by the tokenizer of a `model`, else as token ids. Raises InputError without pandas."""
        tokenizer = getattr(model, "tokenizer", None)

        def said(ids: Sequence[int] | None, each: bool = False) -> Any:
            if ids is None or tokenizer is None:
                return ids
            return [tokenizer.decode([one]) for one in ids] if each else tokenizer.decode(list(ids))

        return frame(
            {
                "id": row.id,
                "clean": said(row.clean),
                "corrupted": said(row.corrupted),
                "correct": said(row.correct, each=True),
                "incorrect": said(row.incorrect, each=True),
                "answer_position": row.answer_position,
                "group": row.group,
            }
            for row in self.rows
        )

    def __repr__(self) -> str:
        return f"<Task: {self.name}, {count_of(len(self.rows), 'row')}, {self.metric}>"

    def content_hash(self) -> str:
        """SHA-256 of the rows as token ids: equal for equal data, wherever it was read from. Spans are a part of it
        only where they say which tokens correspond: else what is measured without asking for them does not depend on
        them."""
        names = [one.name for one in fields(Row) if one.name not in ("spans", "corrupted_spans", "later")]
        return _hash(
            {name: getattr(row, name) for name in names} | _paired_by(row) | _answered_later(row) for row in self.rows
        )

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


def _paired_by(row: Row) -> dict[str, object]:
    """What a row's hash has of spans by which its prompts are paired."""
    pairs = {"spans": row.spans, "corrupted_spans": row.corrupted_spans} if row.corrupted_spans else {}
    return {name: (spans.names, spans.bounds) for name, spans in pairs.items() if spans}


def _answered_later(row: Row) -> dict[str, object]:
    """What a row's hash has of further answers."""
    return {"later": [(one.position, one.correct, one.incorrect) for one in row.later]} if row.later else {}


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

    All rows of a batch have as many answers. Its longest row is at most `stretch` times its shortest, so by default all
    are of one length; so with corrupted prompts. With `tokens`, a batch of several rows has at most so many, padding
    included.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(rows)), key=lambda i: (len(rows[i].later), rows[i].lengths)):
        lengths, last = rows[index].lengths, batches[-1] if batches else []
        fits = len(last) < size and (tokens is None or (len(last) + 1) * max(lengths) <= tokens)
        asked = bool(last) and len(rows[last[0]].later) == len(rows[index].later)
        if asked and fits and _alike(lengths, [rows[i].lengths for i in last], stretch):
            last.append(index)
        else:
            batches.append([index])
    return batches


def _alike(lengths: tuple[int, int], others: Sequence[tuple[int, int]], stretch: float) -> bool:
    """Whether neither prompt of a row is more than so many times as long as, or shorter than, those of other rows."""
    sides = zip(lengths, zip(*others, strict=True), strict=True)
    return all(max(length, *of_side) <= stretch * min(length, *of_side) for length, of_side in sides)
