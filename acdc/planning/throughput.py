"""How long many jobs take on several workers: what the pool of `acdc.jobs.ray` does, run through with known times.

Jobs are handed out in their order to workers that are free. When none waits, whoever is free joins the job that fewest
share in, loads its model, and takes parts of it. Workers are alike, and nothing fails.
"""

import heapq
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count

# Seconds that handing out a job, or taking its outcome, keeps the driver busy: an assumption.
HANDLING = 0.02


@dataclass(frozen=True)
class JobLoad:
    """Seconds that a job takes: `loading` its `model`, where its worker has not done so already; what its worker does
    `alone`; and `part` for each of the `parts` that others may share in."""

    model: Hashable
    loading: float
    alone: float
    parts: int = 1
    part: float = 0.0

    @property
    def seconds(self) -> float:
        """On one worker that has loaded the model."""
        return self.alone + self.parts * self.part


@dataclass(frozen=True)
class Schedule:
    """`seconds` from the start of the first job to the end of the last; `busy`: the share of all workers' time in which
    they load or compute; `parts_shared`: parts of jobs that other workers did."""

    seconds: float
    busy: float
    parts_shared: int


@dataclass
class _Task:
    """A job that is being done: parts `left` to begin, parts begun and not `out` of work yet."""

    load: JobLoad
    leader: int
    begun: float = 0.0  # from when there are parts to share in
    left: int = 0
    out: int = 0
    members: list[int] = field(default_factory=list)


class _Pool:
    """What every worker is at, and until when."""

    def __init__(self, jobs: Sequence[JobLoad], workers: int, handling: float):
        self._waiting, self._handling = deque(jobs), handling
        self._at: list[_Task | None] = [None] * workers
        self._model: list[Hashable] = [None] * workers
        self._has_part = [False] * workers
        self._running: list[_Task] = []
        self._events: list[tuple[float, bool, int, int]] = []
        self._order, self._driver = count(), 0.0
        self.busy, self.ended, self.shared = 0.0, 0.0, 0
        for worker in range(workers):
            self._until(0.0, worker)

    def run(self) -> None:
        while self._events:
            now, _, _, worker = heapq.heappop(self._events)
            task = self._at[worker]
            if task is None:
                self._assign(worker, now)
            elif worker == task.leader:
                self._lead(task, now)
            else:
                self._help(task, worker, now)

    def _until(self, time: float, worker: int) -> None:
        """Of those that are free at one time, whoever leads a job comes last, and gives to the others first."""
        task = self._at[worker]
        leads = task is not None and task.leader == worker
        heapq.heappush(self._events, (time, leads, next(self._order), worker))

    def _work(self, worker: int, now: float, seconds: float) -> None:
        self.busy += seconds
        self._until(now + seconds, worker)

    def _loading(self, worker: int, load: JobLoad) -> float:
        needed = 0.0 if self._model[worker] == load.model else load.loading
        self._model[worker] = load.model
        return needed

    def _assign(self, worker: int, now: float) -> None:
        """Give a free worker a job, or a share in one."""
        if self._waiting:
            load = self._waiting.popleft()
            task = _Task(load, worker, left=load.parts)
            self._at[worker] = task
            self._running.append(task)
            self._driver = max(now, self._driver) + self._handling
            seconds = self._loading(worker, load) + load.alone
            task.begun = self._driver + seconds
            self._work(worker, self._driver, seconds)
            return
        shared = [task for task in self._running if task.left > 1]
        if shared:
            task = min(shared, key=lambda task: len(task.members))
            task.members.append(worker)
            self._at[worker] = task
            seconds = self._loading(worker, task.load)
            self.busy += seconds
            self._until(max(now + seconds, task.begun), worker)

    def _take(self, task: _Task, worker: int, now: float) -> None:
        task.left, task.out = task.left - 1, task.out + 1
        self._has_part[worker] = True
        self._work(worker, now, task.load.part)

    def _return(self, task: _Task, worker: int) -> None:
        if self._has_part[worker]:
            task.out -= 1
            self._has_part[worker] = False

    def _lead(self, task: _Task, now: float) -> None:
        self._return(task, task.leader)
        if task.left:
            self._take(task, task.leader, now)
        elif not task.out:
            self._end(task, now)

    def _help(self, task: _Task, worker: int, now: float) -> None:
        self.shared += self._has_part[worker]
        self._return(task, worker)
        if task.left > 1:  # the last is no quicker elsewhere
            self._take(task, worker, now)
        elif not (task.left or task.out or self._has_part[task.leader]):
            self._end(task, now)

    def _end(self, task: _Task, now: float) -> None:
        self.ended = max(self.ended, now)
        self._running.remove(task)
        self._driver = max(now, self._driver) + self._handling
        for worker in (task.leader, *task.members):
            self._at[worker] = None
            self._until(self._driver, worker)


def schedule(jobs: Sequence[JobLoad], workers: int, handling: float = HANDLING) -> Schedule:
    """How jobs go on so many workers; `handling`: see `HANDLING`, 0 where one process does all by itself."""
    pool = _Pool(jobs, workers, handling)
    pool.run()
    return Schedule(pool.ended, pool.busy / (workers * pool.ended) if pool.ended else 0.0, pool.shared)
