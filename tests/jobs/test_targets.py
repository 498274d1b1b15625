"""Status, logs, stop and fetch of folders of jobs; of submissions without a cluster."""

import hashlib
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import command_in

from acdc.errors import InputError
from acdc.jobs.fetch import FileEntry, take
from acdc.jobs.job_folder import JobFolder
from acdc.jobs.ray import on_cluster
from acdc.jobs.ray.submission import FOLDER, Submission, Workers, submit
from acdc.jobs.state import JobsState
from acdc.jobs.store import Stage, Status, Store
from acdc.jobs.target import fetch

JOBS = """
[defaults]
method = "random"
edges = 9
limit = 4
[[jobs]]
task = ["ioi", "induction"]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with two finished jobs."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "jobs.toml").write_text(JOBS)
    command_in(folder, "run", folder / "jobs.toml", "--out", folder / "out")
    return folder / "out"


def artefacts(folder):
    """Contents by name within the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("[!.l]*/*")}


def test_status_of_finished_jobs(acdc, finished):
    record = acdc("status", finished, "--json").json
    assert [job["status"] for job in record["jobs"]] == ["done", "done"] and not record["driven"]
    assert all(job["edges"] and job["edges_total"] == 479 for job in record["jobs"])
    printed = acdc("status", finished).out
    assert all(job["name"] in printed for job in record["jobs"]) and "of 479" in printed
    watched = acdc("status", finished, "--watch").out
    assert printed in watched and watched.count(" done\n") == 2


def test_logs(acdc, finished):
    every = acdc("logs", finished).out
    assert every.count("== ") == 2 and every.count("started") == 2
    assert list(acdc("logs", finished, "ioi", "--json").json["logs"]) == [
        job["name"] for job in acdc("status", finished, "--json").json["jobs"] if "ioi" in job["name"]
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        (("logs", "{}", "no-such"), "has 'no-such' in its name"),
        (("logs", "{}", "random"), "is a part of 2 jobs' names"),
        (("status", "nowhere"), "is not a folder of jobs; a submission's id needs --address"),
        (("fetch", ".", "--out", "x"), "it has no jobs.sqlite3"),
        (("stop", "{}", "--address", "http://127.0.0.1:1"), "no Ray cluster can be reached"),
        (("submit", "{}/../jobs.toml", "--address", "ray://127.0.0.1:1"), "is not that of a Ray dashboard"),
        (("submit", "nowhere.toml", "--address", "http://127.0.0.1:1"), "nowhere.toml does not exist"),
    ],
)
def test_bad_input(acdc, finished, words, message):
    done = acdc(*(word.format(finished) for word in words))
    assert done.code == 2 and done.out == ""
    assert done.err.startswith("acdc: error: ") and done.err.count("\n") == 1 and message in done.err


def test_fetched_runs_are_the_same(acdc, finished, tmp_path):
    done = acdc("fetch", finished, "--out", "here", "--json")
    assert done.code == 0 and len(done.json["files"]) == 16
    assert artefacts(tmp_path / "here") == artefacts(finished)
    assert acdc("fetch", finished, "--out", "here", "--json").json["files"] == []
    there, here = (acdc("status", folder, "--json").json["jobs"] for folder in (finished, "here"))
    assert [{**job, "run": ""} for job in here] == [{**job, "run": ""} for job in there]


def test_fetching_writes_over_nothing(acdc, finished, tmp_path):
    name = JobFolder(finished).files()[0].name
    (tmp_path / "here" / name).parent.mkdir(parents=True)
    (tmp_path / "here" / name).write_text("mine")
    done = acdc("fetch", finished, "--out", "here")
    assert done.code == 2 and "other content" in done.err
    assert artefacts(tmp_path / "here") == {name: b"mine"}


class Sender:
    """Sends files that it should not."""

    def __init__(self, contents, entries=None):
        self.contents, self.entries = contents, entries

    def files(self):
        if self.entries is not None:
            return self.entries
        return [
            FileEntry(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in self.contents.items()
        ]

    def read(self, entries):
        for entry in entries:
            yield entry, self.contents[entry.name]


@pytest.mark.parametrize(
    "name",
    [
        "../run.json",
        "/tmp/run.json",
        "a/../../run.json",
        "a/circuits/../../../x.json",
        "a/circuits/.x.json",
        "a//run.json",
        "a/b/run.json",
        "run.json",
        ".ssh/run.json",
        "-a/run.json",
        "a/run.json\n",
        "a/run.json\0",
        "a/x.py",
        "a\\run.json",
        "a/circuits/x",
        "",
    ],
)
def test_names_that_are_no_artefacts(tmp_path, name):
    with pytest.raises(InputError, match="not a file of a run: nothing was written"):
        take(Sender({"a/circuit.json": b"{}", name: b"{}"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("linked", ["a", "a/run.json"])
def test_symbolic_links_are_not_followed(tmp_path, linked):
    (tmp_path / "out/a").parent.mkdir()
    if linked != "a":
        (tmp_path / "out/a").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / linked).symlink_to(tmp_path / "elsewhere" / ("" if linked == "a" else "x"))
    with pytest.raises(InputError, match="symbolic link"):
        take(Sender({"a/run.json": b"{}"}), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_contents_are_checked(tmp_path):
    announced = [FileEntry(name="a/run.json", size=2, sha256=hashlib.sha256(b"{}").hexdigest())]
    with pytest.raises(InputError, match="other content than it had"):
        take(Sender({"a/run.json": b"[]"}, announced), tmp_path / "out")
    with pytest.raises(InputError, match="is not text"):
        take(Sender({"a/run.json": b"\xff"}), tmp_path / "out")
    assert not (tmp_path / "out/a/run.json").exists()


def test_links_are_not_sent(finished, tmp_path, acdc):
    """A run directory cannot be made to leak what lies outside it."""
    acdc("fetch", finished, "--out", "here")
    entry = JobFolder(tmp_path / "here").files()[0]
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "here" / entry.name).unlink()
    (tmp_path / "here" / entry.name).symlink_to(tmp_path / "secret")
    assert entry.name not in {other.name for other in JobFolder(tmp_path / "here").files()}


DRIVER = """
import os, socket, sys, time
from pathlib import Path
from acdc.jobs.store import Stage, Status, Store
store = Store(Path(sys.argv[1]))
store.enter(os.getpid(), socket.gethostname())
for job in store.jobs():
    store.mark(job.id, Status.running)
for done in (10, 20):
    store.at(job.id, Stage("search", done, 100, "edges", ""))
    time.sleep(0.1)
print(flush=True)
time.sleep(600)
"""


@pytest.fixture
def driven(finished, tmp_path):
    """(a folder of jobs, the process that runs them)."""
    fetch(JobFolder(finished), tmp_path / "driven")
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "driven")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as driver:
        driver.stdout.readline()
        yield tmp_path / "driven", driver
        driver.kill()


def test_status_of_running_jobs(acdc, driven):
    record = acdc("status", driven[0], "--json").json
    assert record["driven"] and {job["status"] for job in record["jobs"]} == {"running"}
    stage = record["jobs"][-1]["stage"]
    assert (stage["done"], stage["total"]) == (20, 100)
    assert 0 < stage["rate"] < 110 and stage["left"] == pytest.approx(80 / stage["rate"])
    assert "search 20/100 edges" in acdc("status", driven[0]).out


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_what_nobody_runs_any_more_is_interrupted(acdc, driven, way):
    folder, driver = driven
    if way == "stop":
        done = acdc("stop", folder)
        assert done.code == 0 and "stopped" in done.out
    else:
        driver.kill()
    driver.wait()
    record = acdc("status", folder, "--watch", "--json").json
    assert not record["driven"] and {job["status"] for job in record["jobs"]} == {"interrupted"}
    assert "no process is running these jobs now" in acdc("status", folder).out
    assert acdc("stop", folder).out.startswith("no process is running the jobs")


def test_jobs_that_run_elsewhere_are_not_stopped(acdc, finished):
    with closing(Store(finished)) as store:
        store.enter(os.getpid(), "another.host")
        done = acdc("stop", finished)
        store.leave(os.getpid(), "another.host")
    assert done.code == 2 and "run on another.host: use 'acdc stop' there" in done.err


def test_a_store_knows_when_a_stage_began(tmp_path, finished):
    fetch(JobFolder(finished), tmp_path)
    with closing(Store(tmp_path)) as store:
        id = store.jobs()[0].id
        store.mark(id, Status.running)
        store.at(id, Stage("search", 5, 9, "edges", ""))
        assert store.jobs()[0].rate is None
        store.at(id, Stage("search", 7, 9, "edges", ""))
        assert store.jobs()[0].rate > 0
        store.at(id, Stage("verify", 3, 9, "runs", ""))
        assert store.jobs()[0].rate is None


class Info:
    """What Ray says of a submission."""

    def __init__(self, status, metadata=None, driver_exit_code=None):
        self.status, self.metadata, self.driver_exit_code, self.message = status, metadata, driver_exit_code, None


class RayStatus(str):
    @property
    def value(self):
        return str(self)

    def is_terminal(self):
        return self not in ("PENDING", "RUNNING")


class Cluster:
    """Answers questions in this process."""

    address = "http://cluster"

    def __init__(self, folder, status, log=""):
        code = 2 if status == "FAILED" else None
        self._info, self._log = Info(RayStatus(status), {FOLDER: str(folder)}, code), log

    def info(self, id):
        return self._info

    def log(self, id):
        return self._log

    def ask(self, verb, folder, *words):
        answers = getattr(on_cluster, verb)(Path(folder), *words)
        return json.loads(json.dumps(list(answers)))


def test_a_submission_is_read_as_a_folder_is(finished, tmp_path):
    submission = Submission(Cluster(finished, "SUCCEEDED"), "s")
    state = submission.state()
    assert state.jobs == JobFolder(finished).state().jobs and state.submission.status == "SUCCEEDED"
    assert submission.logs("ioi") == JobFolder(finished).logs("ioi")
    assert len(fetch(submission, tmp_path / "here")) == 16
    assert artefacts(tmp_path / "here") == artefacts(finished)


def test_a_submission_that_has_no_folder_yet(tmp_path):
    state = Submission(Cluster(tmp_path / "none", "PENDING"), "s").state()
    assert state.jobs == () and state.driven and not state.ended


def test_why_a_submission_failed(tmp_path):
    log = "starting\nacdc: error: job 1: model folder '/m' does not exist\n"
    state = Submission(Cluster(tmp_path / "none", "FAILED", log), "s").state()
    assert state.submission.reason == "job 1: model folder '/m' does not exist" and state.ended
    broken = Submission(Cluster(tmp_path / "none", "FAILED", "Traceback\n  File\nModuleNotFoundError: torch\n\n"), "s")
    assert broken.state().submission.reason == "ModuleNotFoundError: torch"


def test_an_error_on_the_cluster_is_one_sentence(tmp_path):
    command = [sys.executable, "-m", "acdc.jobs.ray.on_cluster", "files", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("acdc: error: ") and done.stderr.count("\n") == 1


def test_a_folder_on_the_cluster_is_absolute():
    with pytest.raises(InputError, match="must be absolute"):
        submit(None, "jobs", [], Workers(1, 0), "results", True)


def test_answers_of_a_cluster_are_checked(finished, tmp_path):
    class Liar(Cluster):
        def ask(self, verb, folder, *words):
            if verb == "state":
                state = JobFolder(finished).state().model_dump(mode="json")
                state["jobs"][0]["name"] = "../../x"
                return [state]
            return ["!"] if verb == "read" else super().ask(verb, folder, *words)

    submission = Submission(Liar(finished, "SUCCEEDED"), "s")
    with pytest.raises(InputError, match="answer cannot be used"):
        submission.state()
    with pytest.raises(InputError, match="arrived damaged"):
        take(submission, tmp_path / "out")


def test_jobs_of_a_folder_end(finished):
    state = JobFolder(finished).state()
    assert state.ended and state.model_copy(update={"driven": True}).ended
    assert isinstance(state, JobsState)
