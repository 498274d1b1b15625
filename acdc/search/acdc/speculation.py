"""Passes of one ACDC run, made by several processes: each but the first tries what comes next if all before is removed.

Every member of the workers keeps a copy of the present circuit, which follows that of the leader command by command; so
it gives the same numbers, and the decisions are those of one process. A pass that was made for nothing, as something
before it was kept, is thrown away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.workers import Reply, WorkerLost
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.tester import NodeRuns, Tester, TestingCost, WholeRuns

Command = tuple[str, tuple[Any, ...]]  # a method of Passes that changes them, and its arguments


def make_tester(behaviour: Behaviour, nodes: bool) -> Tester:
    """The fastest passes that a behaviour allows."""
    if nodes:
        return NodeRuns(behaviour)
    return WholeRuns(behaviour) if behaviour.executor.scaled_bias else Increments(behaviour)


@dataclass
class _Copy:
    """A member's passes, and how many commands they have followed."""

    tester: Tester
    followed: int = 0


_COPIES: WeakKeyDictionary[Behaviour, _Copy] = WeakKeyDictionary()


def _try(
    behaviour: Behaviour, nodes: bool, start: int, commands: Sequence[Command], before: np.ndarray, tried: np.ndarray
) -> np.ndarray:
    """A member's pass, after the commands from the `start`-th on.

    Raises MemberLost in a process that does not know those before, as it was started anew.
    """
    if start == 0:
        _COPIES[behaviour] = _Copy(make_tester(behaviour, nodes))
    copy = _COPIES.get(behaviour)
    if copy is None or copy.followed != start:
        raise WorkerLost
    for name, arguments in commands:
        getattr(copy.tester, name)(*arguments)
    copy.followed += len(commands)
    return copy.tester.measure(tried, before)


class Speculation:
    """The leader's passes, see `acdc.search.acdc.tester.Tester`, with the workers that works ahead of them."""

    def __init__(self, behaviour: Behaviour, nodes: bool):
        self._tester, self._nodes, self._workers = make_tester(behaviour, nodes), nodes, behaviour.workers
        self._commands: list[Command] = []
        self._sent = dict.fromkeys(range(self._workers.size), 0)  # by member that is not lost
        self._asked: dict[bytes, tuple[int, Reply]] = {}

    @property
    def names(self) -> Sequence[str]:
        return self._tester.names

    @property
    def removed(self) -> np.ndarray:
        return self._tester.removed

    @property
    def members(self) -> int:
        """How many passes can be made besides the next one."""
        return len(self._sent)

    def ask(self, tester: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Let members make passes, each (candidates, the undecided ones before it)."""
        for member, (tried, before) in zip(list(self._sent), tester, strict=False):
            start = self._sent[member]
            arguments = self._nodes, start, self._commands[start:], before, tried
            self._asked[tried.tobytes()] = member, self._workers.ask(member, _try, *arguments)
            self._sent[member] = len(self._commands)

    def answer(self, tried: np.ndarray) -> np.ndarray | None:
        """What a pass gave that a member was asked for; None where none was, or it is lost."""
        asked = self._asked.pop(tried.tobytes(), None)
        if asked is None:
            return None
        member, reply = asked
        try:
            return reply.get()
        except WorkerLost:
            self._sent.pop(member, None)  # it may have been found lost by another answer before
            return None

    def objective(self) -> float:
        return self._tester.objective()

    def open(self, candidates: np.ndarray, others: np.ndarray) -> None:
        self._do("open", candidates, others)

    def cost(self, candidates: np.ndarray) -> TestingCost:
        return self._tester.cost(candidates)

    def measure(self, candidates: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
        return self._tester.measure(candidates, before)

    def remove(self, candidates: np.ndarray) -> None:
        self._do("remove", candidates)

    def keep(self, candidate: int) -> None:
        self._asked.clear()
        self._do("keep", candidate)

    def is_read(self, writer: int) -> bool:
        return self._tester.is_read(writer)

    def edges(self) -> np.ndarray:
        return self._tester.edges()

    def fork(self) -> Tester:
        return self._tester.fork()

    def _do(self, name: str, *arguments: Any) -> None:
        self._commands.append((name, arguments))
        getattr(self._tester, name)(*arguments)
