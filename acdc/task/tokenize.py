"""Turn raw rows into rows of token ids, and refuse what a model would silently misread."""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from acdc.errors import AcdcWarning, InputError, refusal
from acdc.graph import Anatomy
from acdc.task.prompt_tokenizer import NO_TOKENIZER, PromptTokenizer
from acdc.task.raw_rows import KINDS, Answer, Kind, PlacedRow, Prompt, RawAnswers
from acdc.task.rows import Answers, Row
from acdc.task.span_places import SpanError, place_spans
from acdc.task.spans import Spans
from acdc.words import count_of, shortened

TOGETHER = 512  # rows whose texts are given to the tokenizer at once


def tokenize_rows(raw: Iterable[PlacedRow], tokenizer: PromptTokenizer, anatomy: Anatomy) -> tuple[Row, ...]:
    """Rows of token ids, made of some hundred raw ones at a time. Raises InputError naming the places of the first rows
    that cannot be used as they are, and how many more there are; warns of special tokens that were typed, and of
    padding that is not masked."""
    rows: list[Row] = []
    seen: dict[str, str] = {}
    padded: list[str] = []
    shared: dict[int, int] = {}  # one object for each token id
    problems: list[InputError] = []
    for some in _chunks(raw):
        drafts = [_Draft.of(one, tokenizer) for one in some]
        encoded = _encode(itertools.chain.from_iterable(draft.texts for draft in drafts), tokenizer)
        for draft in drafts:
            try:
                row = _Maker(draft, encoded, tokenizer, anatomy, shared).row(len(rows))
                if row.id in seen:
                    raise InputError(f"{draft.place}: id {row.id!r} was used before, at {seen[row.id]}")
                rows.append(_named_alike(row, rows[0], draft.place) if rows else row)
            except SpanError:
                raise
            except InputError as error:
                problems.append(error)
                continue
            seen[row.id] = draft.place
            padded += [draft.place] if draft.is_padded(tokenizer) else []
    if problems:
        raise refusal(problems)
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
    names, other = first.spans.names, row.corrupted_spans
    return replace(row, spans=row.spans.in_order(names), corrupted_spans=other and other.in_order(names))


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
        at_end = [row] if row.answers is None else _perhaps_at_end(row.answers)
        answers = [answer for one in at_end for answer in (*one.correct, *one.incorrect) if isinstance(answer, str)]
        return prompts + [clean + answer for answer in answers]

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


def _perhaps_at_end(answers: Sequence[RawAnswers]) -> list[RawAnswers]:
    """Those that may belong to the last token of a prompt whose length is not known yet."""
    last = max((one.position for one in answers if isinstance(one.position, int)), default=-1)
    return [one for one in answers if isinstance(one.position, str) or one.position in (-1, last)]


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
        self._check_lengths(clean, corrupted)
        shown = self._shown(len(clean))
        own = self._tokens(clean[shown])
        other = None if corrupted is None else self._tokens(corrupted if raw.mask is None else corrupted[shown])
        spans = self._spans("spans", self.draft.clean, clean, shown)
        corrupted_spans = self._spans("corrupted_spans", self.draft.corrupted, corrupted, shown)
        if spans and corrupted_spans and set(spans.names) == set(corrupted_spans.names):
            corrupted_spans = corrupted_spans.in_order(spans.names)
        same = corrupted_spans == spans and len(own) == len(other or own)
        first, *later = self._all_answers(len(clean), shown, spans)
        self._note_unspaced(number)
        row = Row(
            id=str(raw.id) if raw.id is not None else str(number),
            clean=own,
            corrupted=other,
            correct=first.correct,
            incorrect=first.incorrect,
            answer_position=first.position,
            group=str(raw.group) if raw.group is not None else None,
            spans=spans,
            corrupted_spans=None if same else corrupted_spans,
            later=tuple(later),
        )
        self._check_pairing(row)
        return row

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

    def _all_answers(self, length: int, shown: slice, spans: Spans | None) -> list[Answers]:
        """By position, which counts from the first token that is not hidden."""
        raw = self.draft.placed.row
        if raw.answers is None:
            position = shown.stop - 1 if raw.answer_position is None else raw.answer_position
            return [self._answers_at(self._checked(position, "answer_position", length, shown), shown, self._listed())]
        if raw.correct or raw.incorrect or raw.answer_position is not None:
            raise self._refusal(
                "answers take the place of correct, incorrect and answer_position: leave out the others"
            )
        found: dict[int, Answers] = {}
        for one in raw.answers:
            position = self._position(one.position, length, shown, spans)
            self._checked(position, "answers: position", length, shown)
            if position in found:
                raise self._refusal(f"answers: position {one.position!r} is there twice")
            listed: Mapping[Kind, Sequence[Answer]] = {"correct": one.correct, "incorrect": one.incorrect}
            found[position] = self._answers_at(position, shown, listed)
        return [found[position] for position in sorted(found)]

    def _position(self, position: int | str, length: int, shown: slice, spans: Spans | None) -> int:
        """Counted from the first token, hidden or not."""
        if isinstance(position, int):
            return position + length if -length <= position < 0 else position
        places = dict(spans or ())
        if position not in places:
            raise self._refusal(f"answers: position {position!r} is no span of its clean prompt")
        return places[position][-1] + shown.start

    def _checked(self, position: int, name: str, length: int, shown: slice) -> int:
        if not 0 <= position < length:
            where = "past the last token" if position >= 0 else "before the first token: the last is"
            raise self._refusal(f"{name} {position} is {where}, {length - 1}")
        if not shown.start <= position < shown.stop:
            raise self._refusal(f"{name} {position} is hidden by the mask")
        return position

    def _answers_at(self, position: int, shown: slice, listed: Mapping[Kind, Sequence[Answer]]) -> Answers:
        prompt = self.draft.clean
        at_end = prompt if isinstance(prompt, _Text) and position == len(self.encoded[prompt]) - 1 else None
        correct, incorrect = (self._answers(listed[kind], kind, at_end) for kind in KINDS)
        if both := set(correct) & set(incorrect):
            raise self._refusal(f"token {min(both)} is both a correct and an incorrect answer")
        return Answers(position - shown.start, self._tokens(correct), self._tokens(incorrect))

    def _note_unspaced(self, number: int) -> None:
        prompt, raw = self.draft.clean, self.draft.placed.row
        if not isinstance(prompt, _Text) or prompt.rendered or raw.answer_position is not None:
            return
        for answer in raw.correct[:1]:
            token = self._token(answer, prompt) if isinstance(answer, str) else None
            if token is not None and isinstance(answer, str):
                self.tokenizer.note_unspaced(number, prompt.text, answer, token)

    def _check_lengths(self, clean: Sequence[int], corrupted: Sequence[int] | None) -> None:
        raw = self.draft.placed.row
        if raw.corrupted_spans is not None and (raw.spans is None or corrupted is None):
            raise self._refusal("corrupted_spans go with spans and a corrupted prompt")
        if corrupted is None or len(clean) == len(corrupted) or (raw.corrupted_spans is not None and raw.mask is None):
            return
        how = (
            "they must be equally long where there is a mask"
            if raw.mask is not None
            else 'they must be equally long, or have "spans" and "corrupted_spans" of the same names, which say what '
            "corresponds"
        )
        raise self._refusal(f"clean has {count_of(len(clean), 'token')} and corrupted {len(corrupted)}; {how}")

    def _spans(
        self, key: str, prompt: _Text | list[int] | None, ids: Sequence[int] | None, shown: slice
    ) -> Spans | None:
        """Those of a prompt, counted from the first token that is not hidden."""
        raw = getattr(self.draft.placed.row, key)
        if raw is None or ids is None:
            return None
        text = prompt.text if isinstance(prompt, _Text) else None
        try:
            spans = place_spans(raw, len(ids), text, lambda: self.tokenizer.characters(text or "", ids))
        except SpanError as error:
            raise SpanError(f"{self.draft.place}: {error}") from None
        for name, places in spans if self.draft.placed.row.mask else ():
            if places.start < shown.start or places.stop > shown.stop:
                raise self._refusal(f"span {name!r} is hidden by the mask")
        return spans.shifted(-shown.start)

    def _check_pairing(self, row: Row) -> None:
        """Raises InputError where a row's spans do not say which tokens correspond."""
        try:
            paired = row.pairing
        except InputError as error:
            raise self._refusal(error) from None
        for position in [answers.position for answers in row.answers]:
            if paired is not None and len(paired[position]) > 1:
                raise self._refusal(
                    f"the token at the answer position, {position}, has no counterpart in the corrupted prompt: make "
                    "it a span of both"
                )

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
