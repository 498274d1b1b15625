"""Progress bars on a terminal; nothing in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from acdc.progress import Advance, nobody


class RateColumn(ProgressColumn):
    """Work done per second, in the bar's own unit."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.1f} {task.fields['unit']}/s", style="cyan")


@contextmanager
def bars(what: str, total: float, unit: str) -> Iterator[Advance]:
    """A bar with counts, rate and time left on stderr when it is a terminal."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield nobody
        return
    columns = (
        TextColumn("{task.description:>15}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=console) as progress:
        handle = progress.add_task(what, total=total, unit=unit, note="")

        def advance(done: float, note: str = "") -> None:
            progress.update(handle, advance=done, note=note)

        yield advance
