"""Workers: other processes that have the same behaviour bound and share its measurements.

How the work is divided is fixed in advance, and results are put together in that order, whoever computed them. So they
do not depend on the number of workers.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class WorkerLost(Exception):
    """A worker cannot answer any more; another process must do what it was asked."""


class Reply(Protocol):
    """What a worker was asked for."""

    def ready(self) -> bool:
        """Whether the answer is there."""

    def get(self) -> Any:
        """Wait for the answer. Raises MemberLost, or what the work itself raised."""


class Workers(Protocol):
    """The other processes, by their number: 0 .. size - 1."""

    @property
    def size(self) -> int: ...

    def ask(self, worker: int, work: Callable[..., Any], *arguments: Any) -> Reply:
        """Let a worker do work(its behaviour, *arguments); `work` is a function that another process can import."""


class Alone:
    """No workers."""

    size = 0

    def ask(self, worker: int, work: Callable[..., Any], *arguments: Any) -> Reply:
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
    """work(behaviour, item) for every item, in their order; this process does its share, and that of lost workers.

    `here`: the same work as this process does it, for example reporting on the way.
    """
    left, available = deque(range(len(items))), set(range(workers.size))
    asked: dict[int, tuple[int, Reply]] = {}  # by worker
    done: dict[int, T] = {}
    for place in range(len(items)):
        while place not in done:
            for worker in available - asked.keys():
                if len(left) > 1:  # the last is no quicker elsewhere
                    item = left.popleft()
                    asked[worker] = item, workers.ask(worker, work, items[item])
            if left:
                item = left.popleft()
                done[item] = (here or work)(behaviour, items[item])
            waited_for = [worker for worker, (item, reply) in asked.items() if reply.ready() or not left]
            for worker in waited_for:
                item, reply = asked.pop(worker)
                try:
                    done[item] = reply.get()
                except WorkerLost:
                    available.discard(worker)
                    left.appendleft(item)
        yield done.pop(place)
