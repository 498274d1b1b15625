"""From the spans that a row names, by tokens or by text, to positions in its prompt."""

import re
from collections.abc import Callable, Mapping, Sequence

from acdc.errors import InputError
from acdc.task.raw_rows import RawSpan, TextSpan
from acdc.task.spans import Spans
from acdc.words import count_of, shortened

Characters = tuple[int, int]  # of a text: the first, and the one after the last


class SpanError(InputError):
    """Spans that a prompt does not have."""


def place_spans(
    raw: Mapping[str, RawSpan], length: int, text: str | None, characters: Callable[[], Sequence[Characters]]
) -> Spans:
    """Spans of a prompt with so many tokens.

    `text`: the prompt, None where it is token ids; `characters`: of each token, asked where a span is text. Raises
    SpanError.
    """

    def place(name: str, span: RawSpan) -> tuple[int, int]:
        if isinstance(span, int):
            return _inside(name, (span % length, span % length + 1) if -length <= span < 0 else (span, span + 1), span)
        if isinstance(span, tuple):
            return _inside(name, span, list(span))
        if text is None:
            raise SpanError(f"span {name!r} is text, and the prompt is token ids: give positions as [start, end]")
        wanted = TextSpan(text=span) if isinstance(span, str) else span
        try:
            return tokens_of(find(text, wanted), characters(), text)
        except SpanError as error:
            raise SpanError(f"span {name!r}: {error}") from None

    def _inside(name: str, bounds: tuple[int, int], shown: object) -> tuple[int, int]:
        if bounds[0] < 0 or bounds[1] > length:
            raise SpanError(f"span {name!r} is {shown}, and the prompt has {count_of(length, 'token')}")
        return bounds

    try:
        return Spans.of({name: place(name, span) for name, span in raw.items()})
    except InputError as error:
        raise SpanError(str(error)) from None


def find(text: str, span: TextSpan) -> Characters:
    """Where a text has a span's. Raises SpanError where it does not, and where it has several and none is meant."""
    starts = _starts(span.text, text)
    shown, times = shortened(span.text), count_of(len(starts), "time")
    if not starts:
        raise SpanError(f"{shown} does not occur in the prompt")
    if span.occurrence is None and len(starts) > 1:
        raise SpanError(f'{shown} occurs {times}: say which as {{"text": ..., "occurrence": 1}}')
    number = span.occurrence or 1
    if number > len(starts):
        raise SpanError(f"{shown} occurs {times}, not {number}")
    return starts[number - 1], starts[number - 1] + len(span.text)


def in_text(text: str, place: Characters) -> TextSpan:
    """The span of some characters of a text."""
    words = text[slice(*place)]
    return TextSpan(text=words, occurrence=1 + _starts(words, text).index(place[0]))


def _starts(words: str, text: str) -> list[int]:
    """Where some words occur in a text: as words, or where they never do, inside of others, as in scripts that leave no
    space between words."""
    some, before = re.escape(words), r"(?<!\w)" if _is_word(words[0]) else ""
    after = r"(?!\w)" if _is_word(words[-1]) else ""
    alone = [found.start() for found in re.finditer(f"{before}{some}{after}", text)]
    return alone or [found.start() for found in re.finditer(some, text)]


def _is_word(character: str) -> bool:
    return bool(re.fullmatch(r"\w", character))


def tokens_of(wanted: Characters, characters: Sequence[Characters], text: str) -> tuple[int, int]:
    """The tokens that make up a stretch of a text, spaces at the ends of either left out. Raises SpanError where a
    token is only in part inside it."""
    start, stop = _trimmed(wanted, text)
    own = [_trimmed(found, text) for found in characters]
    inside = [place for place, (first, last) in enumerate(own) if max(first, start) < min(last, stop)]
    if not inside:
        raise SpanError(f"{shortened(text[slice(*wanted)])} has no token of its own")
    for place in inside:
        if own[place][0] < start or own[place][1] > stop:
            raise SpanError(
                f"{shortened(text[start:stop])} does not fall on the borders of tokens: it is only a part of "
                f"{shortened(text[slice(*characters[place])])}"
            )
    return inside[0], inside[-1] + 1


def _trimmed(characters: Characters, text: str) -> Characters:
    """Without the spaces around it; empty where there is nothing else."""
    start, stop = characters
    while start < stop and text[start].isspace():
        start += 1
    while start < stop and text[stop - 1].isspace():
        stop -= 1
    return start, stop
