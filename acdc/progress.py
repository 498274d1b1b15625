"""How long work reports on itself: a callable that is told what has been done."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Told of finished work, and in few words how things stand."""

    def __call__(self, done: float, note: str = "") -> None: ...


# (what is done, how much of it in all, its unit) -> context whose value is told of finished work
Progress = Callable[[str, float, str], AbstractContextManager[Advance]]


def nobody(done: float, note: str = "") -> None:
    """Told of work that nobody watches."""


@contextmanager
def silent(what: str, total: float, unit: str) -> Iterator[Advance]:
    """Progress that nobody watches."""
    yield nobody
