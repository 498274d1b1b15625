"""The model of many jobs on several workers, against what can be reckoned by hand."""

import random

import pytest

from acdc.planning.throughput import JobLoad, schedule


def jobs(count, alone=0.0, parts=1, part=0.0, loading=0.0, model="m"):
    return [JobLoad(model, loading, alone, parts, part)] * count


@pytest.mark.parametrize(
    ("loads", "workers", "seconds"),
    [
        (jobs(1, alone=5.0), 1, 5.0),
        (jobs(10, alone=5.0), 1, 50.0),
        (jobs(10, alone=5.0), 4, 15.0),  # in three rounds
        (jobs(1000, alone=80.0), 64, 1280.0),
        (jobs(3, alone=5.0, loading=2.0), 1, 17.0),  # loaded once
        (jobs(1, alone=1.0, loading=2.0) + jobs(1, alone=1.0, loading=2.0, model="n"), 1, 6.0),
        (jobs(1, parts=12, part=1.0), 4, 3.0),
        (jobs(1, alone=2.0, parts=12, part=1.0), 4, 5.0),
        (jobs(1, parts=12, part=1.0), 5, 3.0),  # parts are not divided
        (jobs(2, parts=12, part=1.0), 4, 6.0),  # two at each
        (jobs(1, parts=12, part=1.0, loading=4.0), 2, 10.0),  # both load at the same time
        (jobs(1, parts=1, part=7.0), 4, 7.0),
    ],
)
def test_what_can_be_reckoned(loads, workers, seconds):
    assert schedule(loads, workers, handling=0.0).seconds == pytest.approx(seconds)


def test_workers_that_are_done_join_what_goes_on():
    """One job of 40 parts and one of a second, on two workers: the second joins after one of them."""
    found = schedule(jobs(1, parts=40, part=1.0) + jobs(1, alone=1.0), 2, handling=0.0)
    assert found.seconds == pytest.approx(21.0, abs=1.0) and found.parts_shared == 19


def test_bounds_of_any_schedule():
    """No shorter than the work divided by the workers, nor than the longest that nobody shares; no longer than greedy
    scheduling can be."""
    drawn = random.Random(0)
    for _ in range(200):
        workers = drawn.randrange(1, 20)
        loads = [
            JobLoad(drawn.choice("ab"), drawn.random(), drawn.random() * 5, drawn.randrange(1, 9), drawn.random())
            for _ in range(drawn.randrange(1, 60))
        ]
        found = schedule(loads, workers, handling=0.0)
        total, longest = sum(load.seconds for load in loads), max(load.loading + load.seconds for load in loads)
        assert found.seconds >= total / workers - 1e-9 and found.seconds >= max(load.alone for load in loads)
        assert found.seconds <= (total + sum(load.loading for load in loads)) / workers + longest + 1e-9
        assert 0 < found.busy <= 1 + 1e-9


def test_the_driver_hands_out_one_after_the_other():
    """Many short jobs on many workers: then the driver is what takes time."""
    assert schedule(jobs(1000, alone=0.1), 1000, handling=0.01).seconds >= 10.0
