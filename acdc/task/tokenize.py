"""Turn raw rows into rows of token ids, and refuse what a model would silently misread."""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from acdc.errors import AcdcWarning, InputError
from acdc.graph import Anatomy
from acdc.task.prompt_tokenizer import NO_TOKENIZER, PromptTokenizer
from acdc.task.raw_rows import KINDS, Answer, Kind, PlacedRow, Prompt
from acdc.task.rows import Row
from acdc.task.span_places import SpanError, place_spans
from acdc.task.spans import Spans
from acdc.words import count_of, shortened

TOGETHER = 512  # rows whose texts are given to the tokenizer at once


def tokenize_rows(raw: Iterable[PlacedRow], tokenizer: PromptTokenizer, anatomy: Anatomy) -> tuple[Row, ...]:
    """Rows of token ids, made of some hundred raw ones at a time. Raises InputError naming the place of the first row
    that cannot be used as it is; warns of special tokens that were typed, and of padding that is not masked."""
    rows: list[Row] = []
    seen: dict[str, str] = {}
    padded: list[str] = []
    shared: dict[int, int] = {}  # one object for each token id
    for some in _chunks(raw):
        drafts = [_Draft.of(one, tokenizer) for one in some]
        encoded = _encode(itertools.chain.from_iterable(draft.texts for draft in drafts), tokenizer)
        for draft in drafts:
            row = _Maker(draft, encoded, tokenizer, anatomy, shared).row(len(rows))
            if row.id in seen:
                raise InputError(f"{draft.place}: id {row.id!r} was used before, at {seen[row.id]}")
            seen[row.id] = draft.place
            rows.append(_named_alike(row, rows[0], draft.place) if rows else row)
            padded += [draft.place] if draft.is_padded(tokenizer) else []
    _warn(tokenizer, padded)
    return tuple(rows)


def _named_alike(row: Row, first: Row, place: str) -> Row:
    """A row with its spans in the order of the first row's. Raises InputError where it has others."""
    own, wanted = (set() if one.spans is None else set(one.spans.names) for one in (row, first))
    if own != wanted:
        have = f"has the spans {', '.join(sorted(own))}" if own else "has no spans"
        others = f"those of the first row are {', '.join(sorted(wanted))}" if wanted else "the first row has none"
        raise InputError(f"{place}: {have}, and {others}; all rows need the same")
    if row.spans is None or first.spans is None or row.spans.names == first.spans.names:
        return row
    bounds = dict(zip(row.spans.names, row.spans.bounds, strict=True))
    return replace(row, spans=Spans(first.spans.names, tuple(bounds[name] for name in first.spans.names)))


def _chunks(raw: Iterable[PlacedRow]) -> Iterator[list[PlacedRow]]:
    rows = iter(raw)
    while some := list(itertools.islice(rows, TOGETHER)):
        yield some


def _warn(tokenizer: PromptTokenizer, padded: Sequence[str]) -> None:
    if tokenizer.repeated:
        warnings.warn(
            "prompts begin or end with a special token that the tokenizer would add: they get no second one",
            AcdcWarning,
            stacklevel=4,
        )
    if padded:
        others = f" and {len(padded) - 1} more" if len(padded) > 1 else ""
        warnings.warn(
            f"{padded[0]}{others}: begins or ends with the tokenizer's pad token, to which the model attends like to "
            "any other: leave it out, or give the row a mask",
            AcdcWarning,
            stacklevel=4,
        )


@dataclass(frozen=True)
class _Text:
    """A prompt as text; `rendered` where it is that of a chat template."""

    text: str
    rendered: bool = False

    def __add__(self, answer: str) -> "_Text":
        return _Text(self.text + answer, self.rendered)


def _encode(texts: Iterable[_Text], tokenizer: PromptTokenizer) -> dict[_Text, list[int]]:
    """Token ids by text, each text encoded once."""
    found: dict[_Text, list[int]] = {}
    distinct = dict.fromkeys(texts)
    for rendered in (False, True):
        some = [text for text in distinct if text.rendered is rendered]
        found |= zip(some, tokenizer.encode([text.text for text in some], rendered), strict=True)
    return found


@dataclass(frozen=True)
class _Draft:
    """A row whose chats are rendered: its prompts are texts or token ids."""

    placed: PlacedRow
    clean: _Text | list[int]
    corrupted: _Text | list[int] | None

    @classmethod
    def of(cls, placed: PlacedRow, tokenizer: PromptTokenizer) -> "_Draft":
        def rendered(prompt: Prompt) -> _Text | list[int]:
            if isinstance(prompt, list):
                return prompt
            if tokenizer.tokenizer is None:
                raise InputError(f"{placed.place}: {NO_TOKENIZER}")
            if isinstance(prompt, str):
                return _Text(prompt)
            try:
                return _Text(tokenizer.render(prompt), rendered=True)
            except InputError as error:
                raise InputError(f"{placed.place}: {error}") from None

        row = placed.row
        return cls(placed, rendered(row.clean), None if row.corrupted is None else rendered(row.corrupted))

    @property
    def place(self) -> str:
        return self.placed.place

    @property
    def texts(self) -> list[_Text]:
        """All that is to be encoded: prompts, and the clean one with each answer."""
        prompts = [prompt for prompt in (self.clean, self.corrupted) if isinstance(prompt, _Text)]
        if not isinstance(self.clean, _Text) or self.placed.answers is not None:
            return prompts
        row, clean = self.placed.row, self.clean
        return prompts + [clean + answer for answer in (*row.correct, *row.incorrect) if isinstance(answer, str)]

    def is_padded(self, tokenizer: PromptTokenizer) -> bool:
        """Whether a prompt of token ids begins or ends with pad tokens that no mask hides: one, or where the pad token
        has another use, several."""
        known = tokenizer.tokenizer
        if known is None or known.pad_token_id is None or self.placed.row.mask is not None:
            return False
        fewest = 2 if known.pad_token_id in (known.bos_token_id, known.eos_token_id) else 1
        pads = [known.pad_token_id] * fewest
        prompts = [ids for ids in (self.clean, self.corrupted) if isinstance(ids, list)]
        return any(ids[:fewest] == pads or ids[-fewest:] == pads for ids in prompts)


@dataclass(frozen=True)
class _Maker:
    """Makes a row of token ids of a draft."""

    draft: _Draft
    encoded: Mapping[_Text, list[int]]
    tokenizer: PromptTokenizer
    anatomy: Anatomy
    shared: dict[int, int]

    def row(self, number: int) -> Row:
        """`number`: its id, where the file gives it none."""
        raw = self.draft.placed.row
        clean = self._prompt(self.draft.clean, "clean")
        corrupted = None if self.draft.corrupted is None else self._prompt(self.draft.corrupted, "corrupted")
        if corrupted is not None and len(clean) != len(corrupted):
            raise self._refusal(
                f"clean has {count_of(len(clean), 'token')} and corrupted {len(corrupted)}; they must be equally long"
            )
        shown = self._shown(len(clean))
        position = self._answer_position(len(clean), shown)
        at_end = self.draft.clean if isinstance(self.draft.clean, _Text) and position == len(clean) - 1 else None
        listed = self._listed()
        correct, incorrect = (self._answers(listed[kind], kind, at_end) for kind in KINDS)
        if both := set(correct) & set(incorrect):
            raise self._refusal(f"token {min(both)} is both a correct and an incorrect answer")
        return Row(
            id=str(raw.id) if raw.id is not None else str(number),
            clean=self._tokens(clean[shown]),
            corrupted=None if corrupted is None else self._tokens(corrupted[shown]),
            correct=self._tokens(correct),
            incorrect=self._tokens(incorrect),
            answer_position=position - shown.start,
            group=str(raw.group) if raw.group is not None else None,
            spans=self._spans(clean, shown),
        )

    def _refusal(self, what: object) -> InputError:
        return InputError(f"{self.draft.place}: {what}")

    def _tokens(self, ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(self.shared.setdefault(token, token) for token in ids)

    def _prompt(self, prompt: _Text | list[int], name: str) -> list[int]:
        if isinstance(prompt, _Text):
            ids = self.encoded[prompt]
            if self.tokenizer.is_unknown(ids):
                word = self.tokenizer.unknown_word(prompt.text)
                raise self._refusal(f"{name} has a word that the model's tokenizer does not know: {shortened(word)}")
            if not ids:
                raise self._refusal(f"{name} has no tokens: {shortened(prompt.text)}")
        else:
            ids = prompt
        if max(ids) >= self.anatomy.d_vocab:
            raise self._refusal(
                f"{name} has token id {max(ids)}; the model's vocabulary ends at {self.anatomy.d_vocab - 1}"
            )
        if len(ids) > self.anatomy.n_ctx:
            tokens = count_of(len(ids), "token")
            raise self._refusal(f"{name} has {tokens}; the model's context ends at {self.anatomy.n_ctx}")
        return ids

    def _shown(self, length: int) -> slice:
        """The tokens that the mask leaves."""
        mask = self.draft.placed.row.mask
        if mask is None:
            return slice(0, length)
        if not all(isinstance(prompt, list | None) for prompt in (self.draft.clean, self.draft.corrupted)):
            raise self._refusal("a mask goes with token ids, as text is not padded")
        if len(mask) != length:
            raise self._refusal(f"mask has {len(mask)} entries for {length} tokens")
        if 1 not in mask:
            raise self._refusal("mask leaves no token")
        start, stop = mask.index(1), length - mask[::-1].index(1)
        if 0 in mask[start:stop]:
            raise self._refusal("mask has a 0 between ones: it may hide tokens at the beginning and at the end alone")
        return slice(start, stop)

    def _answer_position(self, length: int, shown: slice) -> int:
        """Counted from the first token, hidden or not; by default that of the last that is not hidden."""
        position = self.draft.placed.row.answer_position
        if position is None:
            return shown.stop - 1
        if position >= length:
            raise self._refusal(f"answer_position {position} is past the last token, {length - 1}")
        if not shown.start <= position < shown.stop:
            raise self._refusal(f"answer_position {position} is hidden by the mask")
        return position

    def _spans(self, clean: Sequence[int], shown: slice) -> Spans | None:
        """Counted from the first token that is not hidden."""
        raw, prompt = self.draft.placed.row.spans, self.draft.clean
        if raw is None:
            return None
        text = prompt.text if isinstance(prompt, _Text) else None
        try:
            spans = place_spans(raw, len(clean), text, lambda: self.tokenizer.characters(text or "", clean))
        except SpanError as error:
            raise SpanError(f"{self.draft.place}: {error}") from None
        for name, places in spans:
            if places.start < shown.start or places.stop > shown.stop:
                raise self._refusal(f"span {name!r} is hidden by the mask")
        return spans.shifted(-shown.start)

    def _listed(self) -> Mapping[Kind, Sequence[Answer]]:
        placed = self.draft.placed
        if placed.answers is None:
            return {"correct": placed.row.correct, "incorrect": placed.row.incorrect}
        try:
            return placed.answers.tokens(self.tokenizer.single)
        except InputError as error:
            raise self._refusal(error) from None

    def _answers(self, answers: Sequence[Answer], name: str, prompt: _Text | None) -> list[int]:
        """Answer ids in order, without repeats."""
        ids = []
        for answer in answers:
            token = self._token(answer, prompt) if isinstance(answer, str) else answer
            if token is None:
                shown = shortened(str(answer))
                raise self._refusal(f"{name} answer {shown} is not a single token here{_hint(answer, prompt)}")
            if token >= self.anatomy.d_vocab_out:
                raise self._refusal(
                    f"{name} has token id {token}; the model's outputs end at {self.anatomy.d_vocab_out - 1}"
                )
            ids.append(token)
        return list(dict.fromkeys(ids))

    def _token(self, answer: str, prompt: _Text | None) -> int | None:
        """The token of a text as it would continue `prompt`, or else by itself."""
        if prompt is not None:
            return self.tokenizer.continuation(self.encoded[prompt], self.encoded[prompt + answer])
        try:
            return self.tokenizer.single(answer)
        except InputError as error:
            raise self._refusal(error) from None


def _hint(answer: str | int, prompt: _Text | None) -> str:
    if prompt is not None and not prompt.rendered and isinstance(answer, str) and not answer.startswith(" "):
        return f"; did you mean {' ' + answer!r} with a leading space?"
    return "; multi-token answers are not supported: give the id of the token that decides"
