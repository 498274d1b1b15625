"""Turn raw rows into rows of token ids, and refuse what a model would silently misread."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from acdc.errors import InputError
from acdc.graph import Anatomy
from acdc.task.readers import RawRow
from acdc.task.rows import Row
from acdc.words import count_of, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PromptTokenizer:
    """A model's tokenizer with the rules for special tokens of one task.

    `prepend_bos`: None adds the special tokens that the tokenizer adds by default, True a BOS token alone, False none.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase | None", prepend_bos: bool | None = None):
        self.tokenizer = tokenizer
        self.prepend_bos = prepend_bos
        if prepend_bos and tokenizer is not None and tokenizer.bos_token_id is None:
            raise InputError("the task asks for prepend_bos, but the model's tokenizer has no BOS token")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Prompts as token ids, with special tokens."""
        if self.tokenizer is None:
            raise InputError("this model has no tokenizer: give prompts and answers as token ids")
        ids = self.tokenizer(list(texts), add_special_tokens=self.prepend_bos is None)["input_ids"]
        return [[self.tokenizer.bos_token_id, *row] for row in ids] if self.prepend_bos else ids

    @property
    def unknown(self) -> int | None:
        return getattr(self.tokenizer, "unk_token_id", None)

    def is_unknown(self, ids: Sequence[int]) -> bool:
        """Whether a token stands for something the vocabulary lacks (GPT-2's unk is a real token, and its EOS)."""
        if self.tokenizer is None or self.unknown is None:
            return False
        return self.unknown != self.tokenizer.eos_token_id and self.unknown in ids

    def unknown_word(self, text: str) -> str:
        """The first word of a text with an unknown token; the text where none has by itself."""
        return next((word for word in text.split() if self.is_unknown(self.encode_plain(word))), text)

    def continuations(self, prompt: str, encoded: Sequence[int], answers: Sequence[str]) -> list[int | None]:
        """The one token that each answer adds to a prompt; None where it adds several, or changes the prompt's own."""
        out = []
        for ids in self.encode([prompt + answer for answer in answers]) if answers else []:
            single = len(ids) == len(encoded) + 1 and list(ids[:-1]) == list(encoded) and not self.is_unknown(ids[-1:])
            out.append(ids[-1] if single else None)
        return out

    def added(self, prompt: str, answers: Sequence[str]) -> list[int | None]:
        """`continuations` of a prompt that is yet to be encoded."""
        (encoded,) = self.encode([prompt])
        return self.continuations(prompt, encoded, answers)

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of a text without special tokens."""
        if self.tokenizer is None:
            raise InputError("this model has no tokenizer: give prompts and answers as token ids")
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def single(self, text: str) -> int | None:
        """The token of a text by itself, None when it is not exactly one."""
        ids = self.encode_plain(text)
        return ids[0] if len(ids) == 1 and not self.is_unknown(ids) else None


def tokenize_rows(
    raw: Sequence[RawRow], places: Sequence[str], tokenizer: PromptTokenizer, anatomy: Anatomy
) -> tuple[Row, ...]:
    """Rows of token ids. Raises InputError naming the place of the first row that cannot be used as it is."""
    rows: list[Row] = []
    seen: dict[str, str] = {}
    for number, (row, place) in enumerate(zip(raw, places, strict=True)):
        made = _tokenize_row(row, place, number, tokenizer, anatomy)
        if made.id in seen:
            raise InputError(f"{place}: id {made.id!r} was used before, at {seen[made.id]}")
        seen[made.id] = place
        rows.append(made)
    return tuple(rows)


def _tokenize_row(row: RawRow, place: str, number: int, tokenizer: PromptTokenizer, anatomy: Anatomy) -> Row:
    clean = _prompt(row.clean, "clean", place, tokenizer, anatomy)
    corrupted = _prompt(row.corrupted, "corrupted", place, tokenizer, anatomy)
    if len(clean) != len(corrupted):
        raise InputError(
            f"{place}: clean has {count_of(len(clean), 'token')} and corrupted {len(corrupted)}; they must be equally "
            "long"
        )
    last = len(clean) - 1
    position = last if row.answer_position is None else row.answer_position
    if position > last:
        raise InputError(f"{place}: answer_position {position} is past the last token, {last}")
    at_end = row.clean if isinstance(row.clean, str) and position == last else None
    correct = _answers(row.correct, "correct", place, tokenizer, anatomy, at_end, clean)
    incorrect = _answers(row.incorrect, "incorrect", place, tokenizer, anatomy, at_end, clean)
    if both := set(correct) & set(incorrect):
        raise InputError(f"{place}: token {min(both)} is both a correct and an incorrect answer")
    return Row(
        id=str(row.id) if row.id is not None else str(number),
        clean=clean,
        corrupted=corrupted,
        correct=correct,
        incorrect=incorrect,
        answer_position=position,
        group=str(row.group) if row.group is not None else None,
    )


def _prompt(
    prompt: str | list[int], name: str, place: str, tokenizer: PromptTokenizer, anatomy: Anatomy
) -> tuple[int, ...]:
    if isinstance(prompt, str):
        try:
            (ids,) = tokenizer.encode([prompt])
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        if tokenizer.is_unknown(ids):
            word = tokenizer.unknown_word(prompt)
            raise InputError(f"{place}: {name} has a word that the model's tokenizer does not know: {shortened(word)}")
        if not ids:
            raise InputError(f"{place}: {name} has no tokens: {shortened(prompt)}")
    else:
        ids = prompt
    if max(ids) >= anatomy.d_vocab:
        raise InputError(
            f"{place}: {name} has token id {max(ids)}; the model's vocabulary ends at {anatomy.d_vocab - 1}"
        )
    if len(ids) > anatomy.n_ctx:
        raise InputError(
            f"{place}: {name} has {count_of(len(ids), 'token')}; the model's context ends at {anatomy.n_ctx}"
        )
    return tuple(ids)


def _answers(
    answers: Sequence[str | int],
    name: str,
    place: str,
    tokenizer: PromptTokenizer,
    anatomy: Anatomy,
    prompt: str | None,
    encoded: tuple[int, ...],
) -> tuple[int, ...]:
    """Answer ids in order, without repeats. Text is tokenized as it would continue `prompt`, or else by itself."""
    texts = [answer for answer in answers if isinstance(answer, str)]
    try:
        found = (
            tokenizer.continuations(prompt, encoded, texts)
            if prompt is not None
            else [tokenizer.single(text) for text in texts]
        )
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    tokens = dict(zip(texts, found, strict=True))
    ids = []
    for answer in answers:
        token = tokens[answer] if isinstance(answer, str) else answer
        if token is None:
            raise InputError(
                f"{place}: {name} answer {shortened(str(answer))} is not a single token here{_hint(answer, prompt)}"
            )
        if token >= anatomy.d_vocab_out:
            raise InputError(
                f"{place}: {name} has token id {token}; the model's outputs end at {anatomy.d_vocab_out - 1}"
            )
        ids.append(token)
    return tuple(dict.fromkeys(ids))


def _hint(answer: str | int, prompt: str | None) -> str:
    if prompt is not None and isinstance(answer, str) and not answer.startswith(" "):
        return f"; did you mean {' ' + answer!r} with a leading space?"
    return "; multi-token answers are not supported: give the id of the token that decides"
