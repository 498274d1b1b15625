"""One contract for all who do jobs: every job has an outcome, and its files do not depend on who did it."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sockets import below, is_loopback, listening

from acdc.jobs.batch import run_jobs
from acdc.jobs.executors import InProcess, JobExecutor
from acdc.jobs.jobs_file import make_jobs
from acdc.jobs.ray.pool import RayPool
from acdc.jobs.store import DRIVERS, Status, StoredJob
from acdc.jobs.work import LOCKS
from acdc.model.sources import BUNDLED
from acdc.runs.run_directory import RUN_FILE

SAME = [{"clean": [5, 6, 7], "corrupted": [5, 6, 7], "correct": [9], "incorrect": [10]}] * 2
GOOD = [
    {"task": "induction", "limit": 16, "threshold": 2.0},
    {"task": "induction", "limit": 8, "method": "eap", "edges": 9, "seed": [0, 1]},
    {"task": "greater_than", "limit": 8, "method": "exact", "edges": 20},
]
BAD = {"task": "same.jsonl", "metric": "logit_diff"}  # nothing tells its prompts apart: seen only when they are run
N_GOOD = 4


@dataclass
class Recorder:
    """Watches jobs; `then` is done when one has ended."""

    then: object = None
    begun: list[str] = field(default_factory=list)
    finished_before: int = 0
    started_names: list[str] = field(default_factory=list)
    ended_names: list[str] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)

    def begins(self, jobs, finished):
        self.begun, self.finished_before = [job.name for job in jobs], finished

    def started(self, job):
        self.started_names.append(job.name)
        self.addresses |= listening(below(os.getpid()))

    def at(self, job, stage):
        assert stage.done >= 0 and job.name in self.started_names

    def ended(self, job, outcome):
        self.ended_names.append(job.name)
        if self.then is not None:
            self.then()


@dataclass(frozen=True)
class Done:
    """Jobs that somebody has done: the folder, how they stand, and what was seen of it."""

    out: Path
    jobs: list[StoredJob]
    seen: Recorder

    @property
    def artefacts(self) -> dict[str, bytes]:
        files = [path for run in self.out.glob(f"*/{RUN_FILE}") for path in run.parent.iterdir()]
        return {str(path.relative_to(self.out)): path.read_bytes() for path in files if path.name != RUN_FILE}


def do(executor: JobExecutor, folder: Path) -> Done:
    (folder / "same.jsonl").write_text("\n".join(map(json.dumps, SAME)))
    seen = Recorder()
    ended = run_jobs(make_jobs({}, [GOOD[0], BAD, *GOOD[1:]], folder), folder / "out", executor, seen)
    return Done(folder / "out", ended, seen)


def ray_pool(workers: int) -> RayPool:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    return RayPool(workers, 0, None, 2)


EXECUTORS = [
    pytest.param(0, id="in process"),
    pytest.param(2, id="2 workers"),
    pytest.param(1, id="1 worker", marks=pytest.mark.thorough),
    pytest.param(6, id="6 workers", marks=pytest.mark.thorough),  # more than there are jobs, and cores on most machines
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Done:
    return do(InProcess(), tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module", params=EXECUTORS)
def done(request, reference, tmp_path_factory) -> Done:
    if not request.param:
        return reference
    return do(ray_pool(request.param), tmp_path_factory.mktemp("done"))


def test_every_job_has_an_outcome(done):
    assert [job.status for job in done.jobs] == [Status.done, Status.failed, *[Status.done] * (N_GOOD - 1)]
    assert sorted(done.seen.begun) == sorted(done.seen.started_names) == sorted(done.seen.ended_names)
    assert len(done.seen.begun) == N_GOOD + 1
    assert all(job.seconds > 0 and job.stage is None for job in done.jobs)


def test_a_job_that_fails_says_why_and_takes_none_with_it(done):
    failed = done.jobs[1]
    assert "do not tell them apart" in failed.error and "\n" not in failed.error
    assert not (done.out / failed.name).exists()  # nothing was found out
    assert failed.error in (done.out / f"logs/{failed.name}.log").read_text()


def test_files_do_not_depend_on_who_made_them(done, reference):
    assert done.artefacts == reference.artefacts
    assert len({name.partition("/")[0] for name in done.artefacts}) == N_GOOD


def test_nothing_but_what_is_wanted_stays(done):
    hidden = {path.name for path in done.out.rglob(".*")}
    assert hidden == {LOCKS, DRIVERS} and not list((done.out / DRIVERS).iterdir())


def test_sockets_are_open_to_this_machine_alone(done, reference):
    """Of Ray's servers and workers; without them there are none at all."""
    assert all(map(is_loopback, done.seen.addresses)), done.seen.addresses
    assert bool(done.seen.addresses) == (done is not reference)


def with_ray_imported(code: str, **settings: str) -> str:
    """What code prints in a process that has imported Ray before acdc does, under settings of its own."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    imports = "import ray\nfrom acdc.errors import InputError\nfrom acdc.jobs.ray.pool import _import_ray\n"
    command = [sys.executable, "-c", imports + code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_ray_that_would_listen_everywhere_is_refused():
    code = "try: _import_ray(local=True)\nexcept InputError as error: print(error)"
    assert "would listen on every network device" in with_ray_imported(code)


def test_a_ray_that_was_imported_before_shows_its_servers_the_token_that_they_want():
    """As in a process that has asked a cluster without tokens."""
    code = (
        "_import_ray(local=True)\nprint(ray._raylet.get_authentication_mode() == ray._raylet.AuthenticationMode.TOKEN)"
    )
    assert "True" in with_ray_imported(code, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")


def test_what_is_finished_is_not_run_again(done):
    runs = {path.name for path in done.out.glob("[!.]*") if (path / RUN_FILE).is_file()}
    before = {path: path.stat().st_mtime_ns for name in runs for path in (done.out / name).iterdir()}
    again = do(InProcess(), done.out.parent)
    assert again.seen.begun == [done.jobs[1].name] and again.seen.finished_before == N_GOOD
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [job.status for job in again.jobs] == [job.status for job in done.jobs]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_model_is_loaded_once_for_jobs_that_share_it(tmp_path, workers):
    """When the first job has ended, its weights are taken away: the second has no way to load them."""
    model = shutil.copytree(BUNDLED["trio"], tmp_path / "m")
    jobs = make_jobs({"model": "m", **GOOD[1]}, [{}], tmp_path)
    watch = Recorder(then=lambda: (model / "model.safetensors").unlink(missing_ok=True))
    ended = run_jobs(jobs, tmp_path / "out", ray_pool(workers) if workers else InProcess(), watch)
    assert [(job.status, job.error) for job in ended] == [(Status.done, None)] * 2
    assert not (model / "model.safetensors").exists()


REFUSALS = [
    ("--workers 0", "--workers 0 must be at least 1"),
    ("--workers -1", "--workers -1 must be at least 1"),
    ("--workers two", "'--workers'"),
    ("--gpus-per-worker 1", "need --workers"),
    ("--address auto", "need --workers"),
    ("--workers 1 --gpus-per-worker 99", "--workers 1 with 99 GPUs each: this machine has"),
    ("--workers 1 --gpus-per-worker -1", "must be a part of one GPU or a whole number"),
    ("--workers 1 --gpus-per-worker 1.5", "must be a part of one GPU or a whole number"),
    ("--workers 1 --gpus-per-worker nan", "must be a part of one GPU or a whole number"),
    ("--workers 1 --address nonsense", "nothing answers there"),
    ("--workers 1 --address 127.0.0.1:99999", "nothing answers there"),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS)
def test_workers_that_there_cannot_be_are_refused_at_once(acdc, options, message):
    Path("jobs.toml").write_text("[[jobs]]\n")
    done = acdc("run", "jobs.toml", *options.split())
    assert done.code == 2 and message in done.err
    assert done.err.startswith("acdc: error: ") and done.err.count("\n") == 1
    assert list(Path().iterdir()) == [Path("jobs.toml")], "a refusal leaves nothing behind"


def test_an_address_without_a_cluster_is_refused(acdc):
    Path("jobs.toml").write_text("[[jobs]]\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert "nothing answers there" in acdc("run", "jobs.toml", "--workers", "1", "--address", address).err
