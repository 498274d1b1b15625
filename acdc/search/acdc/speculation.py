"""Speculative passes: workers test what comes next in an ACDC run, on the assumption that all before it is removed.

Every worker keeps a copy of the present circuit, which follows the leader's command by command. So it gives the same
numbers, and the decisions are those of one process. If something before a pass turns out to be kept, the pass is
discarded.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.workers import Reply, WorkerLost
from acdc.graph.masks import Mask
from acdc.options import Level
from acdc.search.acdc.first_order import FirstOrder
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.passes import Pass
from acdc.search.acdc.positional_increments import PositionalIncrements
from acdc.search.acdc.tester import (
    NeuronRuns,
    NodeRuns,
    PassCost,
    PositionalRuns,
    Tester,
    WholeRuns,
    measure_in_memory,
)
from acdc.task.objective import RAW, Wanted

LATE, LEAST_WAIT = 4.0, 10.0  # a pass is waited for so many times as long as one takes here, and so many seconds
Command = tuple[str, tuple[Any, ...]]  # a method of `Tester` that changes it, and its arguments


def make_tester(behaviour: Behaviour, level: Level, wanted: Wanted = RAW) -> Tester:
    """The fastest tester of a level's units that a behaviour allows."""
    return _tester_kind(behaviour, level)(behaviour, wanted)


def can_foretell(behaviour: Behaviour, level: Level) -> bool:
    """Whether that tester can estimate the effects of removals."""
    return not issubclass(_tester_kind(behaviour, level), WholeRuns)


def _tester_kind(behaviour: Behaviour, level: Level) -> type[WholeRuns] | type[Increments] | type[PositionalIncrements]:
    if level is Level.nodes:
        return NodeRuns
    if level is Level.neurons:
        return NeuronRuns
    if level is Level.positions:
        slow = behaviour.graph.anatomy.post_norms  # all heads of a layer have a part in its scale
        return PositionalRuns if slow else PositionalIncrements
    return WholeRuns if behaviour.executor.scaled_bias else Increments


@dataclass
class _Copy:
    """A worker's tester, and how many commands it has followed."""

    tester: Tester
    followed: int = 0


_COPIES: WeakKeyDictionary[Behaviour, _Copy] = WeakKeyDictionary()


def _try(
    behaviour: Behaviour,
    level: Level,
    objective: Wanted,
    start: int,
    commands: Sequence[Command],
    before: np.ndarray,
    wanted: Pass,
) -> np.ndarray:
    """A worker's pass, after the commands from the `start`-th on.

    Raises MemberLost in a process that does not know those before, as it was started anew.
    """
    if start == 0:
        _COPIES[behaviour] = _Copy(make_tester(behaviour, level, objective))
    copy = _COPIES.get(behaviour)
    if copy is None or copy.followed != start:
        raise WorkerLost
    for name, arguments in commands:
        getattr(copy.tester, name)(*arguments)
    copy.followed += len(commands)
    return measure_in_memory(behaviour, copy.tester, wanted, before)


class Speculation:
    """The leader's `Tester`, with workers that test ahead of it."""

    def __init__(self, behaviour: Behaviour, level: Level, wanted: Wanted = RAW):
        self._tester, self._workers = make_tester(behaviour, level, wanted), behaviour.workers
        self._kind = level, wanted
        self._commands: list[Command] = []
        self._sent: dict[int, int] = {}  # how many commands, by worker that is not lost
        self._known = 0  # workers that have been there
        self._asked: dict[bytes, tuple[int, Reply]] = {}
        self._longest = 0.0  # seconds of a pass here

    @property
    def names(self) -> Sequence[str]:
        return self._tester.names

    @property
    def removed(self) -> np.ndarray:
        return self._tester.removed

    @property
    def workers(self) -> int:
        """How many passes can be made besides the next one; whoever has come meanwhile takes part."""
        self._look()
        return len(self._sent)

    def _look(self) -> None:
        size = self._workers.size
        self._sent |= dict.fromkeys(range(self._known, size), 0)
        self._known = max(self._known, size)

    def ask(self, passes: Sequence[tuple[Pass, np.ndarray]]) -> None:
        """Let workers make passes, each with the undecided candidates before it."""
        self._look()
        for worker, (wanted, before) in zip(list(self._sent), passes, strict=False):
            start = self._sent[worker]
            arguments = *self._kind, start, self._commands[start:], before, wanted
            self._asked[wanted.key] = worker, self._workers.ask(worker, _try, *arguments)
            self._sent[worker] = len(self._commands)

    def answer(self, wanted: Pass) -> np.ndarray | None:
        """What a pass gave that a worker was asked for; None where none was, or it is lost or far slower than this
        process, and is asked no more."""
        asked = self._asked.pop(wanted.key, None)
        if asked is None:
            return None
        worker, reply = asked
        try:
            if reply.ready(LEAST_WAIT + LATE * self._longest):
                return reply.get()
        except WorkerLost:
            pass
        self._sent.pop(worker, None)  # it may have been found lost by another answer before
        return None

    def objective(self) -> float:
        return self._tester.objective()

    def open(self, candidates: np.ndarray, others: np.ndarray) -> None:
        self._do("open", candidates, others)

    def cost(self, candidates: np.ndarray) -> PassCost:
        return self._tester.cost(candidates)

    def measure(self, wanted: Pass, before: np.ndarray | None = None) -> np.ndarray:
        began = time.monotonic()
        found = self._tester.measure(wanted, before)
        self._longest = max(self._longest, time.monotonic() - began)
        return found

    @property
    def measured(self) -> MeasuredObjective:
        return self._tester.measured

    def foretell(self, candidates: np.ndarray) -> FirstOrder | None:
        return self._tester.foretell(candidates)

    def foretell_without(self, candidates: np.ndarray, count: int) -> FirstOrder:
        return self._tester.foretell_without(candidates, count)

    def remove(self, candidates: np.ndarray) -> None:
        self._do("remove", candidates)

    def keep(self, candidate: int) -> None:
        self._asked.clear()
        self._do("keep", candidate)

    def is_read(self, writer: int) -> bool:
        return self._tester.is_read(writer)

    def edges(self) -> np.ndarray:
        return self._tester.edges()

    @property
    def ablated(self) -> Mask:
        return self._tester.ablated

    def fork(self) -> Tester:
        return self._tester.fork()

    def _do(self, name: str, *arguments: Any) -> None:
        self._commands.append((name, arguments))
        getattr(self._tester, name)(*arguments)
