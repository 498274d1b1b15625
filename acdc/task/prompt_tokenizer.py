"""A model's tokenizer with the rules for special tokens of one task."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from acdc.errors import InputError
from acdc.task.raw_rows import Chat
from acdc.task.span_places import Characters, SpanError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOOKED_AT = 8  # answers that may lack a space
NO_TOKENIZER = "this model has no tokenizer: give prompts and answers as token ids"


@dataclass(frozen=True)
class Unspaced:
    """A correct answer that continues a prompt's last word, by the number of its row, and the token that it would be
    after a space."""

    row: int
    answer: str
    token: int
    spaced: int


class PromptTokenizer:
    """A model's tokenizer with the rules for special tokens of one task.

    `prepend_bos`: None adds the special tokens that the tokenizer adds by default, True a BOS token alone, False none.
    A text that begins or ends with such a token gets no second one; `repeated`: whether there was any. `unspaced`: of
    the first rows, answers that may lack a leading space.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase | None", prepend_bos: bool | None = None):
        self.tokenizer = tokenizer
        self.prepend_bos = prepend_bos
        self.repeated = False
        self.unspaced: list[Unspaced] = []
        self.single = cache(self._single)
        if prepend_bos and tokenizer is not None and tokenizer.bos_token_id is None:
            raise InputError("the task asks for prepend_bos, but the model's tokenizer has no BOS token")

    def encode(self, texts: Sequence[str], rendered: bool = False) -> list[list[int]]:
        """Prompts as token ids, with special tokens; those of a `rendered` chat template are in its text."""
        if not texts:
            return []
        if self.tokenizer is None:
            raise InputError(NO_TOKENIZER)
        default = self.prepend_bos is None and not rendered
        ids = self.tokenizer(list(texts), add_special_tokens=default)["input_ids"]
        if self.prepend_bos:
            ids = [[self.tokenizer.bos_token_id, *row] for row in ids]
        return [self._once(row, text) for row, text in zip(ids, texts, strict=True)]

    def _once(self, ids: list[int], text: str) -> list[int]:
        """Token ids without those that were added although the text has them itself."""
        if not any(ids[:k] == ids[k : 2 * k] or ids[-k:] == ids[-2 * k : -k] for k in (1, 2) if len(ids) >= 2 * k):
            return ids
        plain = self.encode_plain(text)
        starts = range(len(ids) - len(plain) + 1)
        start = next((at for at in starts if ids[at : at + len(plain)] == plain), None)
        if start is None or not plain:
            return ids
        before, after = ids[:start], ids[start + len(plain) :]
        before = [] if plain[: len(before)] == before else before
        after = [] if after and plain[-len(after) :] == after else after
        found = before + plain + after
        self.repeated |= len(found) < len(ids)
        return found

    def render(self, chat: Chat) -> str:
        """A chat in the model's own template, up to where the assistant speaks: after the last message, or in it where
        that is the assistant's. Raises InputError for a tokenizer without a template, and a chat that it refuses."""
        if self.tokenizer is None:
            raise InputError(NO_TOKENIZER)
        if self.tokenizer.chat_template is None:
            raise InputError("the model's tokenizer has no chat template: give prompts as text")
        goes_on = chat.messages[-1].role == "assistant"
        messages = [message.model_dump() for message in chat.messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on
                )
            )
        except Exception as error:  # a template may raise whatever it likes
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(f"the model's chat template does not take these messages: {lines[0]}") from None

    @cached_property
    def unknown(self) -> int | None:
        """The token of what the vocabulary lacks; None where there is none, or where, as in GPT-2, it is a real token,
        the EOS."""
        found = getattr(self.tokenizer, "unk_token_id", None)
        return None if self.tokenizer is None or found == self.tokenizer.eos_token_id else found

    def is_unknown(self, ids: Sequence[int]) -> bool:
        """Whether a token stands for something the vocabulary lacks."""
        return self.unknown is not None and self.unknown in ids

    def unknown_word(self, text: str) -> str:
        """The first word of a text with an unknown token; the text where none has by itself."""
        return next((word for word in text.split() if self.is_unknown(self.encode_plain(word))), text)

    def continuation(self, encoded: Sequence[int], longer: Sequence[int]) -> int | None:
        """The one token that a longer prompt has more; None where it has several, or other ones before."""
        single = len(longer) == len(encoded) + 1 and list(longer[:-1]) == list(encoded)
        return longer[-1] if single and not self.is_unknown(longer[-1:]) else None

    def added(self, prompt: str, answers: Sequence[str]) -> list[int | None]:
        """The one token that each answer adds to a prompt; None where it adds several, or changes the prompt's own."""
        encoded, *longer = self.encode([prompt, *(prompt + answer for answer in answers)])
        return [self.continuation(encoded, ids) for ids in longer]

    def note_unspaced(self, row: int, prompt: str, answer: str, token: int) -> None:
        """Note an answer that goes on in the last word of a prompt where it could begin a new one."""
        joins = prompt[-1:].isalnum() and answer[:1].isalnum()
        if not joins or len(self.unspaced) >= LOOKED_AT:
            return
        [spaced] = self.added(prompt, [f" {answer}"])
        if spaced is not None and spaced != token:
            self.unspaced.append(Unspaced(row, answer, token, spaced))

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of a text without special tokens."""
        if self.tokenizer is None:
            raise InputError(NO_TOKENIZER)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @property
    def tells_characters(self) -> bool:
        """Whether it says which characters a token stands for."""
        return bool(getattr(self.tokenizer, "is_fast", False))

    def characters(self, text: str, encoded: Sequence[int]) -> list[Characters]:
        """The characters of a text that each token of its prompt stands for; none for added special tokens.

        Raises SpanError for a tokenizer that does not say.
        """
        if self.tokenizer is None or not self.tells_characters:
            raise SpanError("the model's tokenizer does not say which characters a token stands for: give positions")
        plain = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, own = plain["input_ids"], [(int(start), int(stop)) for start, stop in plain["offset_mapping"]]
        before = next((at for at in range(len(encoded)) if list(encoded[at : at + len(ids)]) == ids), None)
        if before is None:
            raise SpanError("the tokenizer splits the prompt otherwise with special tokens: give positions")
        return [(0, 0)] * before + own + [(0, 0)] * (len(encoded) - before - len(ids))

    def _single(self, text: str) -> int | None:
        """The token of a text by itself, None when it is not exactly one."""
        ids = self.encode_plain(text)
        return ids[0] if len(ids) == 1 and not self.is_unknown(ids) else None
