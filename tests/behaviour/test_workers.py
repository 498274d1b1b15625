"""Work that is shared out comes back in its own order, whoever did it and whoever was lost."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from acdc.behaviour import workers as module
from acdc.behaviour.workers import Alone, WorkerLost, share_out


class Later:
    """A reply that is there only when it is waited for, or after it was asked for a few times."""

    def __init__(self, answer, patience):
        self._answer, self._patience = answer, patience

    def ready(self, seconds=0.0):
        self._patience -= 1
        return self._patience < 0

    def get(self):
        return self._answer()


class Fake:
    """Members that answer after a drawn while; some are lost at their n-th question."""

    may_come = True

    def __init__(self, size, lost=None, seed=0):
        self.size, self._lost, self._random = size, lost or {}, random.Random(seed)
        self.asked = [0] * size

    def ask(self, member, work, *arguments):
        self.asked[member] += 1
        gone = self.asked[member] >= self._lost.get(member, 10**9)

        def answer():
            if gone:
                raise WorkerLost
            return work("theirs", *arguments)

        return Later(answer, self._random.randrange(4))


def square(behaviour, item):
    if item < 0:
        raise ValueError(item)
    return behaviour, item * item


@pytest.mark.parametrize("size", [0, 1, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_results_are_in_order_and_members_take_part(size, count):
    workers = Fake(size) if size else Alone()
    found = list(share_out(workers, "mine", square, list(range(count))))
    assert [value for _, value in found] == [n * n for n in range(count)]
    if size and count > 1:
        assert {who for who, _ in found} == {"mine", "theirs"}


@pytest.mark.parametrize("seed", range(5))
def test_what_a_lost_member_was_asked_is_done_by_others(seed):
    workers = Fake(3, lost={0: 1, 1: 2, 2: 3}, seed=seed)
    found = list(share_out(workers, "mine", square, list(range(20))))
    assert [value for _, value in found] == [n * n for n in range(20)]
    most = module.LEAST_ASKED
    assert all(nth <= asked <= nth + 2 * most - 1 for nth, asked in zip((1, 2, 3), workers.asked, strict=True))


def test_an_error_of_the_work_itself_is_raised():
    with pytest.raises(ValueError, match="-1"):
        list(share_out(Fake(2), "mine", square, [-1, 2, 3]))


class Threads:
    """Workers that take some seconds for an item; `comes`: when the last of them does, in seconds from now."""

    may_come = True

    def __init__(self, paces, comes=0.0):
        self._pools = [ThreadPoolExecutor(1) for _ in paces]
        self._paces, self._comes = paces, time.monotonic() + comes

    @property
    def size(self):
        return len(self._paces) - (time.monotonic() < self._comes)

    def ask(self, worker, work, *arguments):
        return Promise(self._pools[worker].submit(nap, worker, self._paces[worker], *arguments))


class Promise:
    def __init__(self, future):
        self._future = future

    def ready(self, seconds=0.0):
        return bool(wait([self._future], timeout=seconds).done)

    def get(self):
        return self._future.result()


def nap(who, seconds, item):
    time.sleep(seconds)
    return who, item


def here(behaviour, item):
    return nap("here", 0.02, item)


def test_a_slow_one_does_less():
    found = list(share_out(Threads([0.02, 0.2]), None, here, range(40)))
    assert [item for _, item in found] == [*range(40)]
    done = Counter(who for who, _ in found)
    assert 1 <= done[1] < 0.4 * min(done[0], done["here"])


def test_others_go_on_while_this_process_is_slow():
    """With two items at a time, they would wait for this process most of the time, and it would do one in five."""
    found = list(share_out(Threads([0.02, 0.02]), None, lambda _, item: nap("here", 0.2, item), range(60)))
    assert [item for _, item in found] == [*range(60)]
    assert 1 <= Counter(who for who, _ in found)["here"] <= 8


def test_one_that_comes_later_takes_part():
    found = list(share_out(Threads([0.02, 0.02], comes=0.2), None, here, range(60)))
    first = [item for who, item in found if who == 1]
    assert [item for _, item in found] == [*range(60)] and len(first) > 8 and first[0] > 8


def test_what_one_is_late_with_is_done_again(monkeypatch):
    monkeypatch.setattr(module, "LEAST_WAIT", 0.1)
    began = time.monotonic()
    found = list(share_out(Threads([3.0]), None, here, range(8)))
    assert found == [("here", item) for item in range(8)] and time.monotonic() - began < 2
