"""Passes over several candidates, which are made narrower where memory runs out."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from acdc.errors import is_out_of_memory
from acdc.execution.machine import return_free_memory
from acdc.execution.work import Work

T = TypeVar("T")


class Retreat:
    """How wide passes of each kind may be, as found when memory ran out: half of what was too wide. A pass of one
    candidate that finds no memory is tried again when what is held for convenience alone has been let go."""

    def __init__(self, work: Work, release: Callable[[], None]):
        """`work` counts the splits; `release` lets go of what can be computed again."""
        self._work, self._release = work, release
        self._most: dict[str, int] = {}  # by kind
        self._released = False

    def most(self, kind: str, width: int) -> int:
        """How wide a pass of a kind may be that would be so wide."""
        return min(width, self._most.get(kind, width))

    def passes(self, kind: str, count: int, make: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
        """make(part) for consecutive parts of range(count): for all of it, or as much as memory has sufficed for.

        Raises what `make` raises, also where memory does not suffice for one alone.
        """
        start = 0
        while start < count:
            width = self.most(kind, count - start)
            part = slice(start, start + width)
            found = self._tried(make, part)
            if found:
                yield part, found[0]
                start += width
            elif width > 1:
                self._most[kind] = width // 2
                self._work.pass_splits += 1
            else:
                self._released = True
                self._release()

    def _tried(self, make: Callable[[slice], T], part: slice) -> tuple[T] | None:
        """None where memory ran out and there is another way; what the attempt held is gone by then."""
        try:
            return (make(part),)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or (part.stop - part.start == 1 and self._released):
                raise
        return_free_memory()
        return None
