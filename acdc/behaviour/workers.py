"""Workers: other processes that have the same behaviour bound and share its measurements.

How the work is divided is fixed in advance, and results are put together in that order, whoever computed them. So they
do not depend on the number of workers, which may grow while the work goes on.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

LATE = 2.0  # a reply that takes so many times as long as the work does here is not waited for
LEAST_WAIT = 0.5  # seconds that any reply is waited for
LISTEN = 0.05  # seconds between two looks at what has been asked for
LEAST_ASKED, MOST_ASKED = 2, 16  # items that a worker is asked for at a time, where enough are left


class WorkerLost(Exception):
    """A worker cannot answer any more; another process must do what it was asked."""


class Reply(Protocol):
    """What a worker was asked for."""

    def ready(self, seconds: float = 0.0) -> bool:
        """Whether the answer is there, now or within so many seconds."""

    def get(self) -> Any:
        """Wait for the answer. Raises WorkerLost, or what the work itself raised."""


class Workers(Protocol):
    """The other processes, by their number: 0 .. size - 1."""

    @property
    def size(self) -> int:
        """How many there are now; it never shrinks, as one that is lost says so when it is asked."""

    @property
    def may_come(self) -> bool:
        """Whether there are any, or may be later."""

    def ask(self, worker: int, work: Callable[..., Any], *arguments: Any) -> Reply:
        """Let a worker do work(its behaviour, *arguments); `work` is a function that another process can import."""


class Alone:
    """No workers."""

    size, may_come = 0, False

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
    """work(behaviour, item) for every item, in their order; this process does its share, and that of workers that are
    lost. Each takes the next item when it is done with one, so a slow one does fewer, and at the end this process does
    again what one is late with.

    `here`: the same work as this process does it, for example reporting on the way.
    """
    share = _Share(workers, work, items)
    for place in range(len(items)):
        while place not in share.done:
            share.ask()
            if share.left:
                share.do(here or work, behaviour)
            share.collect(waiting_for=None if share.left else place)
        yield share.done.pop(place)


@dataclass(frozen=True)
class _Asked:
    """An item that a worker was asked for, and when."""

    item: int
    reply: Reply
    since: float


class _Share:
    """Items that are `left`, those that are `done`, and those that others have been asked for."""

    def __init__(self, workers: Workers, work: Callable[[Any, Any], Any], items: Sequence[Any]):
        self.left, self.done = deque(range(len(items))), dict[int, Any]()
        self._workers, self._work, self._items = workers, work, items
        self._asked: dict[int, deque[_Asked]] = {}  # by worker, in the order in which it does them
        self._most: defaultdict[int, int] = defaultdict(lambda: LEAST_ASKED)  # items that a worker is asked for
        self._lost: set[int] = set()
        self._longest = 0.0  # seconds that an item took here

    def ask(self) -> None:
        """Give every worker that has nothing to do an item, but not the last, which is no quicker elsewhere; and as
        long as there are enough for all, others to go on with while this process is at work."""
        if len(self.left) < 2:
            return
        there = [worker for worker in range(self._workers.size) if worker not in self._lost]
        for ahead in range(max((self._most[worker] for worker in there), default=0)):
            spared = 1 + len(there) if ahead else 1
            for worker in there:
                queue = self._asked.setdefault(worker, deque())
                if len(self.left) > spared and len(queue) == ahead < self._most[worker]:
                    item = self.left.popleft()
                    reply = self._workers.ask(worker, self._work, self._items[item])
                    queue.append(_Asked(item, reply, time.monotonic()))

    def do(self, work: Callable[[Any, Any], Any], behaviour: Any) -> None:
        """Do the next item here."""
        item, began = self.left.popleft(), time.monotonic()
        self.done[item] = work(behaviour, self._items[item])
        self._longest = max(self._longest, time.monotonic() - began)

    def collect(self, waiting_for: int | None) -> None:
        """Take the answers that are there; where nothing is left to do, wait for one, and take back what is late. A
        worker that has done all while this process was at work is asked for twice as many items from then on, one that
        has done none for half as many."""
        for worker, queue in self._asked.items():
            before = len(queue)
            while queue:
                wanted = waiting_for in [asked.item for asked in queue]
                if queue[0].reply.ready(LISTEN if wanted else 0.0):
                    self._take(worker, queue)
                    continue
                allowed = max(LEAST_WAIT, LATE * self._longest) * len(queue)
                if wanted and time.monotonic() - queue[0].since > allowed:
                    self._give_up(worker, queue)  # what it still works on is not waited for
                break
            if not queue and before == self._most[worker]:
                self._most[worker] = min(2 * before, MOST_ASKED)
            elif len(queue) == before:
                self._most[worker] = max(self._most[worker] // 2, LEAST_ASKED)

    def _take(self, worker: int, queue: "deque[_Asked]") -> None:
        try:
            self.done[queue[0].item] = queue[0].reply.get()
            queue.popleft()
        except WorkerLost:
            self._give_up(worker, queue)

    def _give_up(self, worker: int, queue: "deque[_Asked]") -> None:
        """Take back all that a worker was asked for, and ask it for none of these items again."""
        self._lost.add(worker)
        self.left.extendleft(asked.item for asked in reversed(queue))
        queue.clear()
