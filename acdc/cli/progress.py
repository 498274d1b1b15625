"""How long work reports on the terminal: bars, and a line that says what is being loaded. In a pipe, such as a log
file, a plain line for every half minute that a stage takes; short work says nothing there."""

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.control import Control
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import ControlType
from rich.table import Column
from rich.text import Text

from acdc.cli.console import console, tell
from acdc.errors import printable
from acdc.progress import Advance, Say, shown_by

RECENT = 20.0  # seconds of work from which the time left is estimated
EVERY = 30.0  # seconds between the lines that a stage writes into a pipe
TIME, RATE, SHORTEST, LONGEST, SHORTEST_NOTE = 7, 18, 8, 40, 12  # characters of a bar's columns
WIDE = 100  # characters of a terminal, from which on there is room for rate and note
_CLEAR = Control((ControlType.CARRIAGE_RETURN,), (ControlType.ERASE_IN_LINE, 2))


class RateColumn(ProgressColumn):
    """Work done per second, in the bar's own unit."""

    def __init__(self, width: int | None = None):
        super().__init__(Column(no_wrap=True, width=width))

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.1f} {task.fields['unit']}/s", style="cyan")


def _columns(what: str, total: float, unit: str, width: int) -> list[ProgressColumn]:
    """Of a bar on a terminal so wide: one line, in which the time left is never what is cut."""
    counts = 2 * len(f"{total:,.0f}") + len(f"/ {unit}")
    left = width - counts - TIME - 3  # for what is done and the bar, with a space after each column
    more: list[ProgressColumn] = []
    bar = min(LONGEST, max(SHORTEST, left - len(what)))
    if width >= WIDE:
        bar = min(bar, LONGEST // 2)
        room = left - len(what) - bar
        if room > RATE:
            more.append(RateColumn(RATE))
            room -= RATE + 1
        if room > SHORTEST_NOTE:
            column = Column(no_wrap=True, overflow="ellipsis", width=room - 1)
            more.append(TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=column))
    named = Column(no_wrap=True, overflow="ellipsis", width=max(1, min(len(what), left - bar)))
    return [
        TextColumn("{task.description}", markup=False, table_column=named),
        BarColumn(bar),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
        TimeRemainingColumn(table_column=Column(no_wrap=True, width=TIME)),
        *more,
    ]


@contextmanager
def bars(what: str, total: float, unit: str) -> Iterator[Advance]:
    """A bar with counts and time left on stderr, on a wide terminal also with the rate; plain lines in a pipe."""
    if not sys.stderr.isatty():
        with _Lines(what, total, unit) as lines:
            yield lines.advance
        return
    out = console(stderr=True)
    with Progress(*_columns(what, total, unit, out.width), console=out, speed_estimate_period=RECENT) as progress:
        handle = progress.add_task(what, total=total, unit=unit, note="")

        def advance(done: float, note: str = "") -> None:
            progress.update(handle, advance=done, note=note)

        yield advance


class _Lines:
    """A line on stderr now and then while something goes on; nothing of what is done at once."""

    def __init__(self, what: str, total: float = 0.0, unit: str = ""):
        self._what, self._total, self._unit = what, total, unit
        self._done, self._note, self._since = 0.0, "", time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> "_Lines":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def advance(self, done: float, note: str = "") -> None:
        self._done, self._note = self._done + done, note

    def say(self, what: str) -> None:
        self._what = what

    def _tell(self) -> None:
        while not self._over.wait(EVERY):
            tell(f"acdc: {printable(self._text())}")

    def _text(self) -> str:
        seconds = time.monotonic() - self._since
        parts = [self._what]
        if self._total:
            parts.append(f"{self._done:,.0f} of {self._total:,.0f} {self._unit}")
        if self._done and self._done < self._total:
            left = seconds * (self._total / self._done - 1)
            parts.append(f"about {left:,.0f} s left")
        elif seconds > EVERY:
            parts.append(f"for {seconds:,.0f} s")
        return ", ".join([*parts, self._note] if self._note else parts)


@contextmanager
def line(what: str) -> Iterator[Say]:
    """A line on stderr that is gone when the context ends; in a pipe, lines that stay if it takes long."""
    out = console(stderr=True)
    if not sys.stderr.isatty() or out.is_dumb_terminal:
        with _Lines(what) as lines:
            yield lines.say
        return

    def say(what: str) -> None:
        text = Text(f"{printable(what)} ...", style="dim")
        text.truncate(out.width - 1, overflow="ellipsis")  # a full line would begin another
        out.control(_CLEAR)
        out.print(text, end="")
        out.file.flush()

    say(what)
    try:
        yield say
    finally:
        out.control(_CLEAR)


def clear_line() -> None:
    """Make room on stderr for what does not belong on a line that may be there."""
    if sys.stderr.isatty():
        console(stderr=True).control(_CLEAR)


def warn(message: str) -> None:
    """Print a warning on stderr."""
    clear_line()
    tell(f"acdc: warning: {printable(message)}")


def loads_model(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command show on a terminal what it loads: at once, as the libraries alone take seconds."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        with line(f"loading {values.get('model') or 'the model'}"):
            import acdc.runs.discovery  # noqa: F401  # with torch
        with shown_by(line):
            command(**values)

    return run
