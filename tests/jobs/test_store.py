"""The run store: many writers, damage, loss, and who may look into it."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acdc.errors import DiskError, InputError
from acdc.jobs.planned import PlannedJob
from acdc.jobs.store import DRIVERS, FILE_NAME, Driver, Stage, Status, Store, open_store
from acdc.runs.spec import DiscoveryJob
from acdc.search.settings import DiscoverySettings

JOB = DiscoveryJob("trio", "ioi", DiscoverySettings())
JOBS = '[defaults]\ntask = "induction"\nmethod = "eap"\nlimit = 4\nedges = 9\n[[jobs]]\nseed = [0, 1]\n'
WRITER = """
import sys
from pathlib import Path
from acdc.jobs.store import Stage, Status, Store
store, me = Store(Path(sys.argv[1])), int(sys.argv[2])
for number in range(50):
    store.enter(me, "here")
    store.mark(f"job{me}", Status.running)
    store.at(f"job{me}", Stage("search", number, 50, "edges", f"{me}"))
    store.leave(me, "here")
store.mark(f"job{me}", Status.done, seconds=float(me))
"""


def planned(folder: Path, *ids: str) -> list[PlannedJob]:
    return [PlannedJob(id, f"name-{id}", JOB, folder) for id in ids]


@pytest.fixture
def store(tmp_path):
    with_store = Store(tmp_path)
    yield with_store
    with_store.close()


def test_several_processes_write_at_once(store, tmp_path):
    writers = range(4)
    store.add(planned(tmp_path, *(f"job{me}" for me in writers)))
    running = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, str(me)]) for me in writers]
    read = 0
    while any(process.poll() is None for process in running):
        assert len(store.jobs()) == len(writers)  # a reader is never turned away
        read += 1
        time.sleep(0.01)
    assert [process.wait() for process in running] == [0] * len(writers) and read > 1
    assert [(job.status, job.seconds, job.stage) for job in store.jobs()] == [
        (Status.done, float(me), None) for me in writers
    ]
    assert store.drivers() == []


def test_how_a_job_goes(store, tmp_path):
    store.add(planned(tmp_path, "b", "a"))
    stage = Stage("search", 3, 10, "edges", "2 kept")
    store.mark("a", Status.running)
    store.at("a", stage)
    second, first = store.jobs()[::-1]
    assert (first.id, first.status, second.id, second.stage) == ("b", Status.queued, "a", stage)
    store.mark("a", Status.failed, "out of memory", 1.5)
    assert [(job.error, job.stage) for job in store.jobs()] == [(None, None), ("out of memory", None)]
    store.found_done("a")
    assert [(job.status, job.error) for job in store.jobs()] == [(Status.queued, None), (Status.done, None)]


def test_jobs_that_are_added_again_are_queued_unless_they_are_done(store, tmp_path):
    store.add(planned(tmp_path, "a", "b", "c"))
    for id, status in (("a", Status.done), ("b", Status.failed), ("c", Status.stopped)):
        store.mark(id, status)
    store.add(planned(tmp_path, "c", "b", "a"))
    assert [(job.id, job.status) for job in store.jobs()] == [
        ("c", Status.queued),
        ("b", Status.queued),
        ("a", Status.done),
    ]


def test_a_process_that_was_killed_is_no_driver_and_leaves_nothing_to_the_next(store, tmp_path):
    code = WRITER.partition("for")[0] + "store.enter(me, 'here'); print('in', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, tmp_path, "7"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in\n"
        assert store.drivers() == [Driver(7, "here")]
        process.kill()
    assert store.drivers() == []
    store.enter(8, "here")
    assert store.drivers() == [Driver(8, "here")]
    assert [path.name for path in (tmp_path / DRIVERS).iterdir()] == ["here-8"]
    store.leave(8, "here")
    assert store.drivers() == [] and not list((tmp_path / DRIVERS).iterdir())


def test_only_the_user_may_look_into_it(acdc, tmp_path):
    Path("jobs.toml").write_text(JOBS)
    before = os.umask(0)
    try:
        assert acdc("run", "jobs.toml", "--out", "o").code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "o").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "o" / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"nonsense" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_store_is_one_sentence(acdc, content):
    Path("jobs.toml").write_text(JOBS)
    Path("o").mkdir()
    (Path("o") / FILE_NAME).write_bytes(content)
    done = acdc("run", "jobs.toml", "--out", "o")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "is damaged" in done.err and "delete it" in done.err
    assert (Path("o") / FILE_NAME).read_bytes() == content


def test_a_store_that_was_cut_off_is_refused_or_used(acdc):
    """At no length does what is left of a file break the command."""
    Path("jobs.toml").write_text(JOBS)
    assert acdc("run", "jobs.toml", "--out", "o").code == 0
    path = Path("o") / FILE_NAME
    whole = path.read_bytes()
    for length in (0, 1, 100, 4096, 5000, len(whole) - 1):
        path.write_bytes(whole[:length])
        done = acdc("run", "jobs.toml", "--out", "o")
        assert done.code == 0 or (done.code == 2 and "is damaged" in done.err), (length, done)
        assert "Traceback" not in done.err


@pytest.mark.parametrize("lost", [FILE_NAME, "*.sqlite3*"])
def test_a_lost_store_is_made_anew_and_nothing_is_run_again(acdc, lost):
    Path("jobs.toml").write_text(JOBS)
    assert acdc("run", "jobs.toml", "--out", "o").code == 0
    before = {path: path.read_bytes() for path in Path("o").glob("*/*") if path.parent.name != "logs"}
    assert len(before) > 10
    for path in Path("o").glob(lost):
        path.unlink()
    again = acdc("run", "jobs.toml", "--out", "o", "--json")
    assert again.code == 0 and "2 of 2 jobs were finished before" in again.err and " started" not in again.err
    assert [job["status"] for job in again.json["jobs"]] == ["done", "done"]
    assert {path: path.read_bytes() for path in Path("o").glob("*/*") if path.parent.name != "logs"} == before


def test_a_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder of jobs"):
        open_store(tmp_path)


def test_a_place_that_no_folder_can_have_is_refused(acdc):
    Path("jobs.toml").write_text(JOBS)
    Path("f").write_text("")
    for place, message in (("f", "is a file"), ("f/o", "is a file"), ("/proc/o", "cannot write")):
        done = acdc("run", "jobs.toml", "--out", place)
        assert done.code == 2 and done.err.count("\n") == 1 and message in done.err, done


def test_a_folder_that_may_not_be_written_is_refused():
    """Not even by root, for whom the usual rights mean nothing."""
    with pytest.raises(InputError, match=f"run store .*{FILE_NAME} cannot be used: "):
        Store(Path("/proc/self"))


def test_a_full_disk_is_an_error_of_the_disk(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = Store(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(DiskError, match=FILE_NAME):
            store.add(planned(tmp_path, "a"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        store.close()
    assert Store(tmp_path).jobs() == []
