"""What a dictionary is trained on, measured on, or explained with: prompts of a text file or of tasks, one by one.

Both can be gone through again, and give the same prompts each time; a text file is never held as a whole.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from acdc.errors import InputError
from acdc.files import open_file
from acdc.model.load import Model
from acdc.task.load import load_task
from acdc.task.prompt_tokenizer import PromptTokenizer
from acdc.task.rows import Task

WINDOW = 128  # tokens of a prompt that is made of a text


class Corpus(Protocol):
    """`name`: what messages call it. `digest`: of its content."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def prompts(self) -> Iterator[tuple[int, ...]]:
        """Token ids of one prompt after another."""


@dataclass(frozen=True)
class TaskCorpus:
    """Clean and corrupted prompts of tasks, each once, in the order of the tasks and rows."""

    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        return ", ".join(task.name for task in self.tasks)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256("".join(task.content_hash() for task in self.tasks).encode()).hexdigest()

    def prompts(self) -> Iterator[tuple[int, ...]]:
        rows = (row for task in self.tasks for row in task.rows)
        found = dict.fromkeys(prompt for row in rows for prompt in (row.clean, row.corrupted) if prompt)
        yield from found


@dataclass(frozen=True)
class TextCorpus:
    """A UTF-8 text file in windows of tokens, each after the model's BOS token where its tokenizer puts one first."""

    path: Path
    model: Model
    window: int

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def digest(self) -> str:
        with open_file(self.path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def prompts(self) -> Iterator[tuple[int, ...]]:
        """Raises InputError for text that is no UTF-8, and for a file without a whole window."""
        assert self.model.tokenizer is not None
        first = self._first()
        length, held, any_yet = self.window - len(first), list[int](), False
        for line in self._lines():
            held += self.model.tokenizer.encode(line, add_special_tokens=False)
            while len(held) >= length:
                yield (*first, *held[:length])
                any_yet, held = True, held[length:]
        if len(held) > 1 or not any_yet:
            if len(held) < 2:
                raise InputError(f"{self.path} holds too little text: less than two tokens")
            yield (*first, *held)

    def _first(self) -> tuple[int, ...]:
        assert self.model.tokenizer is not None
        begun = PromptTokenizer(self.model.tokenizer, None).encode(["a"])[0]
        plain = self.model.tokenizer.encode("a", add_special_tokens=False)
        return tuple(begun[: len(begun) - len(plain)])

    def _lines(self) -> Iterator[str]:
        with open_file(self.path) as file:
            for number, line in enumerate(file, 1):
                try:
                    yield line.decode("utf-8")
                except UnicodeDecodeError:
                    raise InputError(f"{self.path}, line {number}: not valid UTF-8 text") from None


def open_corpus(model: Model, text: Path | None, tasks: Sequence[str], window: int = WINDOW) -> Corpus:
    """The text file or the tasks that were given. Raises InputError for both, for neither, and for text where the model
    has no tokenizer."""
    if (text is None) == (not tasks):
        raise InputError("give --text FILE or --task TASK: prompts are needed")
    if text is None:
        return TaskCorpus(tuple(load_task(name, model) for name in tasks))
    if model.tokenizer is None:
        raise InputError(f"--text is text, and model {model.name!r} has no tokenizer: give --task")
    return TextCorpus(text, model, min(window, model.anatomy.n_ctx))
