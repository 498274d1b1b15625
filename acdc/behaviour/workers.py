"""Processes that have the same behaviour bound, between which its measurements are shared out.

What is shared out is fixed in advance and put together in its own order, whoever did it: so results do not depend on
how many there are.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class WorkerLost(Exception):
    """A member of the workers cannot answer any more; what it was asked is to be done by somebody else."""


class Reply(Protocol):
    """What a member of the workers was asked for."""

    def ready(self) -> bool:
        """Whether the answer is there."""

    def get(self) -> Any:
        """Wait for the answer. Raises MemberLost, or what the work itself raised."""


class Workers(Protocol):
    """The other processes, by their number: 0 .. size - 1."""

    @property
    def size(self) -> int: ...

    def ask(self, member: int, work: Callable[..., Any], *arguments: Any) -> Reply:
        """Let a member do work(its behaviour, *arguments); `work` is a function that another process can import."""


class Alone:
    """No others."""

    size = 0

    def ask(self, member: int, work: Callable[..., Any], *arguments: Any) -> Reply:
        raise WorkerLost


ALONE = Alone()
FindWorkers = Callable[[Sequence[int]], Workers]  # rows of a task -> those who have the behaviour on these rows


def no_workers(rows: Sequence[int]) -> Workers:
    """The workers of a process that works alone."""
    return ALONE


def share_out(
    workers: Workers,
    behaviour: Any,
    work: Callable[[Any, Any], T],
    items: Sequence[Any],
    here: Callable[[Any, Any], T] | None = None,
) -> Iterator[T]:
    """work(behaviour, item) for every item, in their order; this process does its share, and that of members lost.

    `here`: the same work as this process does it, for example reporting on the way.
    """
    left, members = deque(range(len(items))), set(range(workers.size))
    asked: dict[int, tuple[int, Reply]] = {}  # by member
    done: dict[int, T] = {}
    for place in range(len(items)):
        while place not in done:
            for member in members - asked.keys():
                if len(left) > 1:  # the last is no quicker elsewhere
                    item = left.popleft()
                    asked[member] = item, workers.ask(member, work, items[item])
            if left:
                item = left.popleft()
                done[item] = (here or work)(behaviour, items[item])
            waited_for = [member for member, (item, reply) in asked.items() if reply.ready() or not left]
            for member in waited_for:
                item, reply = asked.pop(member)
                try:
                    done[item] = reply.get()
                except WorkerLost:
                    members.discard(member)
                    left.appendleft(item)
        yield done.pop(place)
