"""How long work reports on itself: a callable that is told what has been done."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[float], None]
# (what is done, how much of it in all, its unit) -> context whose value is told of finished work
Progress = Callable[[str, float, str], AbstractContextManager[Advance]]


@contextmanager
def silent(what: str, total: float, unit: str) -> Iterator[Advance]:
    """Progress that nobody watches."""
    yield lambda done: None
