"""Progress bars, and a line that says what is being loaded, on a terminal; nothing in a pipe."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.control import Control
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import ControlType
from rich.text import Text

from acdc.cli.console import console, tell
from acdc.errors import printable
from acdc.progress import Advance, Say, nobody, shown_by

RECENT = 20.0  # seconds of work that time left is reckoned from
_CLEAR = Control((ControlType.CARRIAGE_RETURN,), (ControlType.ERASE_IN_LINE, 2))


class RateColumn(ProgressColumn):
    """Work done per second, in the bar's own unit."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.1f} {task.fields['unit']}/s", style="cyan")


@contextmanager
def bars(what: str, total: float, unit: str) -> Iterator[Advance]:
    """A bar with counts, rate and time left on stderr when it is a terminal."""
    if not sys.stderr.isatty():
        yield nobody
        return
    columns = (
        TextColumn("{task.description:>15}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console(stderr=True), speed_estimate_period=RECENT) as progress:
        handle = progress.add_task(what, total=total, unit=unit, note="")

        def advance(done: float, note: str = "") -> None:
            progress.update(handle, advance=done, note=note)

        yield advance


@contextmanager
def line(what: str) -> Iterator[Say]:
    """A line on stderr, when it is a terminal, that is gone when the context ends."""
    out = console(stderr=True)
    if not sys.stderr.isatty() or out.is_dumb_terminal:
        yield lambda what: None
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
