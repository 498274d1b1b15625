"""Two processes never work on one job: the second waits a while, as the first may be dying, and then says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from acdc.jobs import work
from acdc.jobs.executors import InProcess
from acdc.jobs.jobs_file import make_jobs
from acdc.jobs.planned import PlannedJob, plan_jobs

OPTIONS = {"task": "induction", "method": "eap", "limit": 4, "edges": 9}
HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


class Nobody:
    def started(self, id):
        pass

    def at(self, id, stage):
        pass


def hold(job: PlannedJob, seconds: float) -> subprocess.Popen:
    """Another process that has a job's lock until it ends."""
    lock = job.folder / work.LOCKS / job.id
    lock.parent.mkdir(parents=True)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, lock, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder


@pytest.fixture
def job(tmp_path) -> PlannedJob:
    (planned,) = plan_jobs(make_jobs({}, [OPTIONS], tmp_path), tmp_path / "out")
    return planned


def test_a_job_is_waited_for_while_another_process_has_it(job):
    holder = hold(job, seconds=2)
    (outcome,) = InProcess().run([job], Nobody())
    assert outcome.error is None and outcome.seconds > 1.5
    assert holder.wait() == 0 and job.is_finished()


def test_a_job_that_another_process_keeps_is_left_to_it(job, monkeypatch):
    monkeypatch.setattr(work, "PATIENCE", 0.5)
    holder = hold(job, seconds=600)
    try:
        (outcome,) = InProcess().run([job], Nobody())
    finally:
        holder.kill()
        holder.wait()
    assert outcome.error == f"another process is working on {job.path}"
    assert not job.path.exists()
    (outcome,) = InProcess().run([job], Nobody())
    assert outcome.error is None, "the lock of a process that was killed is free"


def test_what_killed_writers_left_is_cleared_before_a_job_goes_on(job):
    job.path.mkdir(parents=True)
    for name in (".run.json.abcd1234.part", ".circuit.json.efgh5678.part"):
        Path(job.path / name).write_text("{")
    (outcome,) = InProcess().run([job], Nobody())
    assert outcome.error is None
    assert not list(job.path.glob(".*"))
