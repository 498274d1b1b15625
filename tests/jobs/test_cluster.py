"""Jobs on a real Ray cluster of one machine, through the command line: submitted, watched, stopped, fetched."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import shared_folder
from sockets import free_ports

pytest.importorskip("ray", reason="Ray is not installed: pip install 'acdc[cluster]'")

START_SECONDS = 120
POLL = 0.5
JOBS = '[defaults]\nmethod = "eap"\nedges = 30\nlimit = 4\nthreads = 1\n[[jobs]]\ntask = ["ioi", "induction"]\n'
LOCAL_JOB = '[[jobs]]\nmodel = "{model}"\ntask = "words.jsonl"\n'
# The learning of a mask takes minutes: long enough to be stopped on any machine.
LONG_JOB = '[[jobs]]\nmethod = "ugs"\nedges = 30\nupdates = 20000\nthreads = 1\n'


@dataclass(frozen=True)
class Cluster:
    """Ray on this machine, bound to the loopback device, with a CPU core for each of two workers and a token."""

    folder: Path
    environment: dict[str, str]
    address: str

    def acdc(self, *words, code=0):
        """Run a command; what it printed, on stderr where it is to fail."""
        command = [sys.executable, "-m", "acdc", *map(str, words), "--address", self.address]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == code and "Traceback" not in done.stderr, (words, done.stdout, done.stderr)
        return done.stderr if code else done.stdout

    def submit(self, text, *words):
        (self.folder / "jobs.toml").write_text(text)
        return json.loads(self.acdc("submit", "jobs.toml", "--json", *words))

    def status(self, id, *words):
        return json.loads(self.acdc("status", id, "--json", *words).splitlines()[-1])


@contextmanager
def running_cluster(folder, home):
    """Start Ray, and end exactly what was started."""
    ports = free_ports(4)
    settings = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | settings
    names = ("--port", "--dashboard-port", "--dashboard-agent-listen-port", "--ray-client-server-port")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--node-ip-address", "127.0.0.1", "--include-dashboard=true", "--dashboard-host", "127.0.0.1"]
    command += [f"{name}={port}" for name, port in zip(names, ports, strict=True)]
    command += ["--num-cpus=2", "--num-gpus=0", "--object-store-memory=100000000", f"--temp-dir={folder}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with folder.with_suffix(".log").open("w") as log:
        ray = subprocess.Popen(
            command,
            env={**environment, "HOME": str(home), "PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        cluster = Cluster(home, environment, f"http://127.0.0.1:{ports[1]}")
        wait_for(cluster, ray, Path(log.name))
        yield cluster
    finally:
        ray.terminate()
        try:
            ray.wait(30)
        finally:
            kill_group(ray.pid)


def wait_for(cluster, ray, log):
    """Until the cluster answers that it knows of its machine."""
    header = {"Authorization": f"Bearer {cluster.environment['RAY_AUTH_TOKEN']}"}
    request = urllib.request.Request(f"{cluster.address}/api/v0/nodes", headers=header)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and ray.poll() is None:
        with suppress(OSError), closing(urllib.request.urlopen(request, timeout=5)) as answer:
            if "ALIVE" in answer.read().decode():
                return
        time.sleep(POLL)
    pytest.fail(f"Ray did not start:\n{log.read_text()}")


def kill_group(leader):
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@pytest.fixture(scope="module")
def home():
    """A short path: Ray puts sockets below it, whose names must not be long."""
    with tempfile.TemporaryDirectory(prefix="acdc", ignore_cleanup_errors=True) as folder:
        path = Path(folder)
        (path / "home").mkdir()
        yield path / "home"


@pytest.fixture(scope="module")
def cluster(home):
    with running_cluster(home.parent / "ray", home) as running:
        yield running


def job_file(home):
    """Jobs of the bundled model, and of a model folder and a task file where there is one."""
    shared = shared_folder()
    if shared is None:
        return JOBS
    source = (shared / "tasks/stories_pronoun_gender.jsonl").read_text()
    (home / "words.jsonl").write_text(source)
    return JOBS + LOCAL_JOB.format(model=shared / "models/stories260k")


def artefacts(folder):
    """Contents by name, of all files that are the same wherever they are made, but for where the page's command finds
    files: on the cluster they are in the submission's own folder."""
    return {
        str(path.relative_to(folder)): re.sub(rb"(--(?:model|task) )[^ ]*/", rb"\1", path.read_bytes())
        for path in folder.glob("*-*/*")
        if path.is_file() and path.name != "run.json"
    }


@pytest.mark.slow
def test_jobs_on_a_cluster_are_those_of_this_machine(cluster, home):
    made = cluster.submit(job_file(home), "--workers", "2")
    assert made["started"] and made["submission"].startswith("acdc-jobs-") and made["submission"].endswith("-1")
    state = cluster.status(made["submission"], "--watch")
    assert state["submission"]["status"] == "SUCCEEDED" and state["submission"]["exit_code"] == 0
    assert {job["status"] for job in state["jobs"]} == {"done"} and len(state["jobs"]) >= 2
    name = state["jobs"][0]["name"]
    assert f"{name} started" in cluster.acdc("logs", made["submission"])
    assert "done" in cluster.acdc("logs", made["submission"], state["jobs"][0]["id"])

    fetched = json.loads(cluster.acdc("fetch", made["submission"], "--out", "fetched", "--json"))
    assert len(fetched["files"]) == 8 * len(state["jobs"])
    command = [sys.executable, "-m", "acdc", "run", "jobs.toml", "--out", "here"]
    subprocess.run(command, check=True, cwd=home, capture_output=True)
    assert artefacts(home / "fetched") == artefacts(home / "here") and len(artefacts(home / "here")) >= 12


@pytest.mark.slow
def test_a_submission_is_stopped(cluster):
    id = cluster.submit(LONG_JOB)["submission"]
    assert not cluster.submit(LONG_JOB)["started"]
    until = time.monotonic() + START_SECONDS
    while not (jobs := cluster.status(id)["jobs"]) or jobs[0]["stage"] is None:
        assert time.monotonic() < until, cluster.acdc("logs", id)
    assert jobs[0]["status"] == "running" and jobs[0]["stage"]["total"] > 0
    assert "STOPPED" in cluster.acdc("stop", id)
    state = cluster.status(id)
    assert state["submission"]["status"] == "STOPPED"
    assert {job["status"] for job in state["jobs"]} <= {"stopped", "interrupted"}
    assert "has ended before: STOPPED" in cluster.acdc("stop", id)
    assert "no finished run" in cluster.acdc("fetch", id, "--out", "nothing")


@pytest.mark.slow
def test_a_submission_that_fails_says_why(cluster):
    id = cluster.submit('[[jobs]]\nmodel = "/no/such/model"\n')["submission"]
    submission = cluster.status(id, "--watch")["submission"]
    assert submission["status"] == "FAILED" and submission["exit_code"] == 2
    assert submission["reason"].endswith("jobs.toml: job 1: model folder '/no/such/model' does not exist")
    assert submission["reason"] in cluster.acdc("logs", id)


@pytest.mark.thorough
def test_what_the_cluster_has_not_is_refused_at_once(cluster):
    (cluster.folder / "jobs.toml").write_text(JOBS)
    before = time.monotonic()
    assert "the cluster has no GPU" in cluster.acdc("submit", "jobs.toml", "--gpus-per-worker", "1", code=2)
    assert time.monotonic() - before < START_SECONDS / 2
    assert "use --workers 2" in cluster.acdc("submit", "jobs.toml", "--workers", "3", code=2)


@pytest.mark.thorough
def test_who_may_ask_and_what(cluster):
    assert "no submission 'nobody'" in cluster.acdc("status", "nobody", code=2)
    stranger = Cluster(cluster.folder, {**cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}, cluster.address)
    assert "Authentication" in stranger.acdc("status", "nobody", code=2)


@pytest.mark.thorough
def test_jobs_go_on_after_the_cluster_went_away(home):
    """Another cluster that has the same folder finds there what the first one finished."""
    with running_cluster(home.parent / "ray1", home) as first:
        made = first.submit(JOBS, "--cluster-dir", home / "kept")
        first.status(made["submission"], "--watch")
    with running_cluster(home.parent / "ray2", home) as second:
        assert "no submission" in second.acdc("status", made["submission"], code=2)
        again = second.submit(JOBS, "--cluster-dir", home / "kept")
        assert again == made
        assert second.status(again["submission"], "--watch")["submission"]["status"] == "SUCCEEDED"
        assert "2 of 2 jobs were finished before" in second.acdc("logs", again["submission"])
