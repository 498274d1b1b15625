"""How long work reports on itself: a callable that is told what has been done, or what is being loaded; and where what
is finished is kept."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

DELAY = 1.0  # seconds before a bar appears by itself


class Advance(Protocol):
    """Told of finished work, and in few words how things stand."""

    def __call__(self, done: float, note: str = "") -> None: ...


# (what is done, how much of it in all, its unit) -> context whose value is told of finished work
Progress = Callable[[str, float, str], AbstractContextManager[Advance]]


class Ticks:
    """Finished work that is reported as it is done here, and caught up with where it was done elsewhere."""

    def __init__(self, advance: Advance):
        self._advance, self._done = advance, 0.0

    def __call__(self, done: float, note: str = "") -> None:
        self._done += done
        self._advance(done, note)

    def catch_up(self, due: float) -> None:
        """So much has been done in all, here and elsewhere."""
        if due > self._done:
            self(due - self._done)


def nobody(done: float, note: str = "") -> None:
    """Told of work that nobody watches."""


@contextmanager
def silent(what: str, total: float, unit: str) -> Iterator[Advance]:
    """Progress that nobody watches."""
    yield nobody


@contextmanager
def automatic(what: str, total: float, unit: str) -> Iterator[Advance]:
    """A bar on stderr in a terminal, or in a notebook, for work of more than a second; nothing elsewhere."""
    if not (sys.stderr.isatty() or _in_notebook()):
        yield nobody
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # without widgets, the bar is text
        from tqdm.auto import tqdm
    with tqdm(total=total, desc=what, unit=f" {unit}", leave=False, delay=DELAY) as bar:

        def advance(done: float, note: str = "") -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(done)

        yield advance


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows what is written to stderr."""
    running = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(running, "kernel")


Say = Callable[[str], None]
# what is being loaded -> context whose value is told when more is known of it
Loading = Callable[[str], AbstractContextManager[Say]]


@contextmanager
def _unseen(what: str) -> Iterator[Say]:
    yield lambda what: None


_display: ContextVar[Loading] = ContextVar("display", default=_unseen)


def loading(what: str) -> AbstractContextManager[Say]:
    """Tell whoever watches that something is being loaded, for as long as the context lasts."""
    return _display.get()(what)


@contextmanager
def shown_by(display: Loading) -> Iterator[None]:
    """Have a display show what is loaded in this context."""
    before = _display.set(display)
    try:
        yield
    finally:
        _display.reset(before)


_kept: ContextVar[str | None] = ContextVar("kept", default=None)


def keeps_work(folder: Path, default: bool = False) -> None:
    """From now on, what this process finishes is kept in a folder, a `default` one where --out was not given. The first
    such folder counts: jobs keep theirs in folders of it."""
    if _kept.get() is None:
        _kept.set(f"{folder}: repeat the command{f' with --out {folder}' if default else ''} to resume")


def kept_work() -> str | None:
    """Where finished work is kept, and how to go on; None where there is none."""
    return _kept.get()
