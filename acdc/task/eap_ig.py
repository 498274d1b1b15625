"""What the columns of EAP-IG's data sets say (Hanna et al. 2024, arXiv 2403.17806), by the sets of columns that it has.

| columns | its data sets | what they hold |
|---|---|---|
| `correct_idx`, `incorrect_idx` | ioi, colored-objects | token ids |
| `clean_answer_idx`, `corrupted_answer_idx` | gender-bias | token ids; `label` is a class, no answer |
| `country_idx`, `corrupted_country_idx` | fact-retrieval | token ids |
| `answers_idx`, `corrupted_answers_idx` | hypernymy | lists of token ids |
| `plural` | sva | 0 or 1; the answers are the verbs of `combined_verb_list.csv` beside it |
| `correct_idx` alone, or `label` | greater-than | the last two digits of a year: the later ones are right |
| `label`, text | | the answer |

A number in `correct_idx` alone, or in `label`, is taken for a year only where the prompt has that year and ends in its
first two digits. Otherwise the user must say what it is.
"""

import ast
import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from acdc.errors import InputError
from acdc.task.raw_rows import AnswerTokens, Kind, Single

TOKEN_COLUMNS = {  # of the correct answers: the column of the incorrect ones
    "correct_idx": "incorrect_idx",
    "clean_answer_idx": "corrupted_answer_idx",
    "country_idx": "corrupted_country_idx",
    "answers_idx": "corrupted_answers_idx",
}
PLURAL, LABEL, VERBS = "plural", "label", "combined_verb_list.csv"
ANSWER_COLUMNS = (*TOKEN_COLUMNS, PLURAL, LABEL)
_PAIRED = ("clean", "corrupted")
_YEAR, _CENTURY = re.compile(r"\b\d{4}\b"), re.compile(r"\b(\d{2})\s*$")


class Meaning(StrEnum):
    """What a column of numbers can hold."""

    token = "token"
    year = "year"
    text = "text"
    none = "none"


@dataclass(frozen=True)
class Said:
    """What the user says of a column."""

    column: str
    meaning: Meaning

    @classmethod
    def parse(cls, text: str) -> "Said":
        """Of COLUMN=MEANING. Raises InputError for a column or a meaning that is not known."""
        column, _, meaning = text.partition("=")
        if meaning not in set(Meaning):
            raise InputError(f"{text!r}: a column can be {', '.join(Meaning)}, not {meaning!r}")
        return cls(column, Meaning(meaning))

    def __str__(self) -> str:
        return f"{self.column}={self.meaning}"


@dataclass(frozen=True)
class LaterYears:
    """Of the two-digit numbers those above a year's are correct, the others not."""

    year: int

    def tokens(self, single: Single) -> Mapping[Kind, list[int]]:
        found = [single(f"{number:02d}") for number in range(100)]
        ids = [token for token in found if token is not None]
        if len(ids) < len(found):
            raise InputError(
                f"its answers are two-digit numbers, and {found.index(None):02d} is not a single token of this model's "
                "tokenizer; the bundled task greater_than adapts to every tokenizer"
            )
        return {"correct": ids[self.year + 1 :], "incorrect": ids[: self.year + 1]}


@dataclass(frozen=True)
class Verbs:
    """Verbs in the third person, singular and plural."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, path: Path) -> "Verbs":
        """Raises InputError where a file is not EAP-IG's list."""
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                return cls(tuple((row["sing"], row["plur"]) for row in csv.DictReader(file, strict=True)))
        except (KeyError, TypeError, csv.Error, UnicodeDecodeError):
            raise InputError(f"{path} is not EAP-IG's list of verbs, with columns sing and plur") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None

    @cached_property
    def _by_tokenizer(self) -> dict[Single, tuple[list[int], list[int]]]:
        return {}

    def tokens(self, single: Single) -> tuple[list[int], list[int]]:
        """(singular, plural) as EAP-IG takes them: single tokens after a space, plurals only if the singular is one."""
        if single not in self._by_tokenizer:
            ids = [(single(f" {one}"), single(f" {many}")) for one, many in self.pairs]
            singular = [one for one, _ in ids if one is not None]
            plural = [many for one, many in ids if one is not None and many is not None]
            if not singular or not plural:
                raise InputError(f"no verb of {VERBS} is a single token of this model's tokenizer")
            self._by_tokenizer[single] = [*dict.fromkeys(singular)], [*dict.fromkeys(plural)]
        return self._by_tokenizer[single]


@dataclass(frozen=True)
class Number:
    """Verbs in one number are correct, in the other not."""

    verbs: Verbs
    plural: bool

    def tokens(self, single: Single) -> Mapping[Kind, list[int]]:
        singular, plural = self.verbs.tokens(single)
        return {"correct": plural, "incorrect": singular} if self.plural else {"correct": singular, "incorrect": plural}


@dataclass(frozen=True)
class Read:
    """The fields of a row, the answers that depend on the tokenizer, and what the user should know of them."""

    fields: dict[str, Any]
    answers: AnswerTokens | None = None
    note: str | None = None


Columns = Mapping[str, Any]


def row_reader(
    columns: Sequence[str], where: str, said: Said | None, verbs: Path | None
) -> Callable[[Columns, str], Read]:
    """How rows with these columns are read; `verbs`: where the list of verbs would be.

    Raises InputError for columns that say no answer, or several.
    """
    found = [name for name in (*TOKEN_COLUMNS, PLURAL) if name in columns]
    if said is not None:
        if said.column not in columns:
            raise InputError(f"{where} has no column {said.column!r}; it has {', '.join(columns)}")
        read_column = _said(said)
    elif len(found) > 1:
        raise InputError(
            f"{where}: both {found[0]} and {found[1]} could be the answers: leave out one, or add @{found[0]}=token"
        )
    elif found == [PLURAL]:
        read_column = _read_number(where, verbs)
    elif found and (found != ["correct_idx"] or "incorrect_idx" in columns):
        read_column = _tokens_of(found[0])
    else:
        read_column = _unclear(found[0] if found else LABEL)

    def read(record: Columns, place: str) -> Read:
        own = {name: record[name] for name in (*_PAIRED, "group") if record.get(name) is not None}
        answered = read_column(record, place)
        return Read(own | answered.fields, answered.answers, answered.note)

    return read


def _said(said: Said) -> Callable[[Columns, str], Read]:
    column = said.column
    if said.meaning is Meaning.token:
        return _tokens_of(column)
    if said.meaning is Meaning.text:
        return lambda record, place: Read({"correct": [str(record[column])]})
    if said.meaning is Meaning.none:
        return lambda record, place: Read({})

    def read(record: Columns, place: str) -> Read:
        number = _number(record[column])
        if number is None or not number.is_integer() or not 0 <= number <= 9999:
            raise InputError(f"{place}: {column}: expected a year, got {record[column]!r}")
        return Read({}, LaterYears(int(number) % 100))

    return read


def _tokens_of(column: str) -> Callable[[Columns, str], Read]:
    other = TOKEN_COLUMNS.get(column)

    def read(record: Columns, place: str) -> Read:
        fields = {"correct": _ids(record[column], column, place)}
        if other is not None and record.get(other) not in (None, ""):
            fields["incorrect"] = _ids(record[other], other, place)
        return Read(fields)

    return read


def _read_number(where: str, verbs: Path | None) -> Callable[[Columns, str], Read]:
    if verbs is None or not verbs.is_file():
        raise InputError(
            f"{where}: column {PLURAL} says the number of the verb alone: put EAP-IG's {VERBS}, which lists the verbs, "
            "beside it"
        )
    known = Verbs.read(verbs)

    def read(record: Columns, place: str) -> Read:
        number = _number(record[PLURAL])
        if number not in (0, 1):
            raise InputError(f"{place}: {PLURAL}: expected 0 or 1, got {record[PLURAL]!r}")
        return Read({}, Number(known, number == 1))

    return read


def _unclear(column: str) -> Callable[[Columns, str], Read]:
    """Text is the answer; a number is a year where the prompt says so."""

    def read(record: Columns, place: str) -> Read:
        value = record[column]
        number = _number(value)
        if number is None:
            return Read({"correct": [value] if column == LABEL else _ids(value, column, place)})
        if not _is_year(number, record.get("clean")):
            raise InputError(
                f"{place}: {column} is {number:g}, which could be a token, a class or a year: add @{column}=token, "
                f"@{column}=year, @{column}=text or @{column}=none to the task's name"
            )
        note = f"{column} is taken for the year that the prompt names: later years are right"
        return Read({}, LaterYears(int(number) % 100), note)

    return read


def _is_year(number: float, prompt: Any) -> bool:
    """Whether the last year of a prompt is this, or ends in it, and the prompt goes on with that year's century."""
    if not isinstance(prompt, str) or not (years := _YEAR.findall(prompt)) or not (end := _CENTURY.search(prompt)):
        return False
    return years[-1].startswith(end[1]) and number in (int(years[-1]), int(years[-1][2:]))


def _number(value: Any) -> float | None:
    """The number that a cell holds, if it does."""
    if isinstance(value, str):
        return float(value) if re.fullmatch(r"\s*[-+]?\d+(\.\d*)?\s*", value, re.ASCII) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _ids(value: Any, column: str, place: str) -> list[Any]:
    """Token ids of a cell, which holds one or a list of them."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise InputError(f"{place}: {column}: expected a token id or a list of them, got {value[:40]!r}") from None
    ids = value if isinstance(value, list) else [value]
    if not all(isinstance(one, int) for one in ids):
        raise InputError(f"{place}: {column}: expected a token id or a list of them, got {str(value)[:40]}")
    return ids
