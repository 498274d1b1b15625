"""Runs that are disturbed at a drawn moment: nothing is lost, the same command goes on, the bytes are those of a run
that nothing happened to. All faults at more moments: `benchmarks/faults.py`."""

import importlib.util

import faults
import pytest
from faults import Fault, Undisturbed, observe, shares, undisturbed

ON_RAY = ("--workers", "2")
JOBS = faults.JOBS.replace("limit = 112", "limit = 40")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "jobs.toml").write_text(JOBS)
    return tmp_path


@pytest.fixture(scope="module")
def in_process(tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "jobs.toml").write_text(JOBS)
    return undisturbed(folder)


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory) -> Undisturbed:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    folder = tmp_path_factory.mktemp("undisturbed-on-ray")
    (folder / "jobs.toml").write_text(JOBS)
    return undisturbed(folder, *ON_RAY)


def drawn(first: Fault, *others: Fault) -> list:
    """Parameters: the first is slow, and the others so much the slower."""
    marks = [pytest.mark.slow, *[pytest.mark.thorough] * len(others)]
    return [pytest.param(fault, id=fault.name, marks=mark) for fault, mark in zip((first, *others), marks, strict=True)]


def survives(fault, folder, options, expected):
    (share,) = shares(fault.name, 1)
    seen = observe(fault, folder, options, expected, share / 2)  # early enough on a machine that is quicker by now
    assert seen.problems == () and seen.identical


@pytest.mark.parametrize("fault", drawn(faults.KILLED_DRIVER, faults.FULL_DISK, faults.NO_MEMORY))
def test_a_run_in_this_process_survives(folder, in_process, fault):
    survives(fault, folder, (), in_process)


@pytest.mark.parametrize("fault", drawn(faults.KILLED_WORKER, faults.KILLED_DRIVER, faults.TERMINATED))
def test_a_run_on_ray_survives(folder, on_ray, fault):
    survives(fault, folder, ON_RAY, on_ray)


@pytest.mark.slow
def test_ray_gives_what_this_process_gives(in_process, on_ray):
    assert on_ray.artefacts == in_process.artefacts and len(in_process.artefacts) > 10


@pytest.mark.thorough
def test_a_search_goes_on_where_it_was_killed(folder, in_process):
    """With a journal of some trials there; the work of these is not done again."""
    run = faults.acdc_run(folder)
    while not faults.recorded_trials(folder):
        assert run.process.poll() is None, run.lines
    faults.kill(run.driver)
    run.wait()
    assert faults.recorded_trials(folder) > 0
    again = faults.acdc_run(folder)
    assert again.wait() == 0, again.lines
    assert faults.artefacts(folder) == in_process.artefacts
    assert faults.evaluations(folder) < in_process.evaluations
