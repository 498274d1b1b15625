"""Rows as a file has them, before tokenization: what each key may hold, and what is refused."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from acdc.errors import InputError, without_prefix

M = TypeVar("M", bound=BaseModel)
TokenId = Annotated[StrictInt, Field(ge=0)]
Answer = TokenId | Annotated[StrictStr, Field(min_length=1)]
AnswerList = Annotated[list[Answer], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)]
AUTOCIRCUIT_NAMES = {"corrupt": "corrupted", "answers": "correct", "wrong_answers": "incorrect"}
OTHER_NAMES = AUTOCIRCUIT_NAMES | {"correct_idx": "correct", "incorrect_idx": "incorrect", "attention_mask": "mask"}
OWN_NAMES = ("answer",)  # that many data sets have for columns of their own, though they look like a key
ALIKE = 0.85  # of two names, as `difflib` has it: one of them is taken for a slip


class Message(BaseModel):
    """What somebody says in a chat."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Annotated[StrictStr, Field(min_length=1)]
    content: StrictStr


class Chat(BaseModel):
    """A prompt for the model's chat template."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: Annotated[list[Message], Field(min_length=1)]


Prompt = Annotated[StrictStr, Field(min_length=1)] | Annotated[list[TokenId], Field(min_length=1)] | Chat


class TextSpan(BaseModel):
    """A stretch of a prompt by its text; `occurrence` counts from 1, and may be left out where there is only one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[StrictStr, Field(min_length=1)]
    occurrence: Annotated[StrictInt, Field(ge=1)] | None = None


# One position, from the end where negative; the first and the one after the last; or text.
RawSpan = StrictInt | tuple[TokenId, TokenId] | Annotated[StrictStr, Field(min_length=1)] | TextSpan
RawSpans = Annotated[dict[StrictStr, RawSpan], Field(min_length=1)]


class RawAnswers(BaseModel):
    """What a prompt calls for after the token at a position, or after the last token of a span; a negative position
    counts from the end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    position: StrictInt | Annotated[StrictStr, Field(min_length=1)]
    correct: AnswerList = []
    incorrect: AnswerList = []


class RawRow(BaseModel):
    """One row as its file has it; unknown keys are ignored, unless they look like a slip (`check_keys`). `answers` take
    the place of `correct`, `incorrect` and `answer_position`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    clean: Prompt
    corrupted: Prompt | None = None
    correct: AnswerList = []
    incorrect: AnswerList = []
    answer_position: TokenId | None = None
    answers: Annotated[list[RawAnswers], Field(min_length=1)] | None = None
    mask: list[Annotated[StrictInt, Field(ge=0, le=1)]] | None = None
    spans: RawSpans | None = None
    corrupted_spans: RawSpans | None = None
    id: StrictStr | StrictInt | None = None
    group: StrictStr | StrictInt | None = None


class Header(BaseModel):
    """Optional first line of a JSONL task."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    task: StrictStr | None = None
    metric: StrictStr | None = None
    prepend_bos: StrictBool | None = None


Single = Callable[[str], int | None]  # the token of a text by itself, None where it is not exactly one
Kind = Literal["correct", "incorrect"]
KINDS: tuple[Kind, Kind] = ("correct", "incorrect")


class AnswerTokens(Protocol):
    """Answers that depend on the tokenizer, so that no file can list them."""

    def tokens(self, single: Single) -> Mapping[Kind, list[int]]:
        """Raises InputError for a tokenizer that has no tokens for them."""


@dataclass(frozen=True)
class PlacedRow:
    """A row and where it stands, for messages; `answers` take the place of those in the row."""

    place: str
    row: RawRow
    answers: AnswerTokens | None = None


@dataclass(frozen=True)
class RawTask:
    """A task as its file has it; the rows are read when they are asked for, once."""

    header: Header
    rows: Iterator[PlacedRow]


def validate(model: type[M], record: dict, place: str) -> M:
    """Raises InputError naming the place and the field that is not as it should be."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
        return model.model_validate(record)
    except UnicodeEncodeError:
        raise InputError(f"{place}: its text is not valid Unicode") from None
    except ValidationError as error:
        first = error.errors()[0]
        # Of a union pydantic reports every branch; the field's own name is the first part of the location.
        raise InputError(f"{place}: {first['loc'][0]!r}: {_describe(first, record)}") from None


def check_keys(model: type[BaseModel], keys: Iterable[str], place: str) -> None:
    """Raises InputError for an unknown key that looks like a known one, or is what another tool calls it."""
    known = tuple(model.model_fields)
    for key in keys:
        if key not in model.model_fields and (meant := meant_by(key, known)):
            raise InputError(f"{place}: {key!r} is no key of a task: did you mean {meant!r}? If not, rename it")


@lru_cache(maxsize=4096)
def meant_by(key: str, known: tuple[str, ...]) -> str | None:
    """The known name that an unknown one looks like; None for one of its own, such as `clean2`."""
    plain = key.strip().lower().replace("-", "_").replace(" ", "_")
    if plain in known or OTHER_NAMES.get(plain) in known:
        return plain if plain in known else OTHER_NAMES[plain]
    if plain.rstrip("0123456789") != plain or plain in OWN_NAMES:
        return None
    return next(iter(get_close_matches(plain, known, 1, ALIKE)), None)


_PROMPT = 'non-empty text, a list of token ids, or {"messages": [{"role": ..., "content": ...}, ...]}'
_WANTED = {
    "clean": _PROMPT,
    "corrupted": _PROMPT,
    "correct": "a text, or a list of texts or token ids",
    "incorrect": "a text, or a list of texts or token ids",
    "answer_position": "a position from 0",
    "answers": 'a list of {"position": ..., "correct": [...], "incorrect": [...]}',
    "mask": "a list of 0 and 1",
    "spans": 'names with [start, end], a position, text, or {"text": ..., "occurrence": ...}',
    "corrupted_spans": 'names with [start, end], a position, text, or {"text": ..., "occurrence": ...}',
    "prepend_bos": "true or false",
}


def _describe(problem: Mapping[str, Any], record: dict) -> str:
    name = problem["loc"][0]
    if problem["type"] == "missing" and name not in record:
        return "missing"
    shown, wanted = json.dumps(record[name]), _WANTED.get(name, without_prefix(problem["msg"]))
    return f"expected {wanted}, got {shown if len(shown) <= 40 else shown[:37] + '...'}"
