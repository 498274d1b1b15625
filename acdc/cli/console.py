"""The border that all text crosses on its way to the terminal: names of models, tasks, groups, rows and files, what
artefacts hold, and what exceptions say.

Nothing else in the command line prints, but for JSON, which has its own escapes.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from acdc.errors import visible

WIDEST = 110


class Enough(Exception):
    """Whoever read our output has seen enough of it: a pipe is closed. It is no OSError, which libraries take for their
    own."""


class _Console(Console):
    """Shows what a terminal would act on as escapes."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Whatever is printed as text, cells and titles of tables included."""
        return super().render_str(visible(text), **how)

    def print(self, *objects: Any, **how: Any) -> None:
        """In a pipe, without the spaces that fill up a table's last column."""
        if self.is_terminal:
            super().print(*objects, **how)
            return
        with self.capture() as captured:
            super().print(*objects, **how)
        try:
            *lines, begun = captured.get().split("\n")  # a line that is begun goes on after its last space
            self.file.write("".join(f"{line.rstrip(' ')}\n" for line in lines) + begun)
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> NoReturn:
        raise Enough from None


def console(stderr: bool = False) -> Console:
    """A readable width on wide terminals, and in pipes where COLUMNS does not say another; names of files and models
    are never read as markup."""
    plain = Console(stderr=stderr)
    width = min(plain.width, WIDEST) if plain.is_terminal or os.environ.get("COLUMNS", "").isdigit() else WIDEST
    return _Console(highlight=False, markup=False, emoji=False, stderr=stderr, width=width)


def say(text: str, end: str = "\n") -> None:
    """Print text on stdout."""
    with _until_enough():
        print(visible(text), end=end, flush=True)


def say_json(value: Any) -> None:
    """Print a value on stdout as JSON on one line, in ASCII."""
    with _until_enough():
        print(json.dumps(value), flush=True)


@contextmanager
def _until_enough() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise Enough from None


def tell(text: str) -> None:
    """Print text on stderr; that nobody reads it there is no error of its own."""
    with suppress(BrokenPipeError):
        print(visible(text), file=sys.stderr, flush=True)
