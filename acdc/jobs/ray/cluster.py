"""A Ray cluster, through the HTTP address of its dashboard: what it has, and jobs for it to run (Ray's Jobs API).

A cluster runs the code of this installation, which is sent along; what that code needs must be installed there. Files
do not travel by Ray: the cluster is asked questions (`acdc.jobs.ray.on_cluster`), each a short Ray job whose log is the
answer. If the cluster needs a token, Ray's client takes it from where Ray looks for it everywhere.
"""

import json
import logging
import os
import secrets
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from acdc.errors import InputError
from acdc.jobs.ray.internals import CHATTY
from acdc.jobs.ray.nodes import Node
from acdc.jobs.ray.on_cluster import ERROR, MARK

PACKAGE = Path(__file__).parents[2]
CONNECT_SECONDS, ANSWER_SECONDS, STOP_SECONDS = 10.0, 180.0, 60.0
POLL = 0.3
MOST_NODES = 10_000  # that Ray lists
# A driver that is asked to stop has so long to put everything away before Ray kills it.
_ENVIRONMENT = {"RAY_JOB_STOP_WAIT_TIME_S": "30", "OMP_WAIT_POLICY": "PASSIVE"}
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


class Cluster:
    """Every method raises InputError when the cluster cannot be reached or refuses."""

    def __init__(self, client: Any, address: str, code: Path):
        """`code`: a folder that is the package acdc and nothing else."""
        self._client, self.address, self._code = client, address, code

    def nodes(self) -> list[Node]:
        """Its machines."""
        from ray.util.state import list_nodes

        with _speaking(self.address):
            alive = list_nodes(address=self.address, filters=[("state", "=", "ALIVE")], limit=MOST_NODES)
        resources = [node.resources_total or {} for node in alive]
        return [Node(has.get("CPU", 0), has.get("GPU", 0)) for has in resources]

    def submissions(self) -> list[Any]:
        """Ray's details of all jobs that were submitted."""
        with _speaking(self.address):
            return [job for job in self._client.list_jobs() if job.submission_id]

    def submit(self, id: str, command: str, metadata: Mapping[str, str], folder: Path | None = None) -> None:
        """Start a shell command on the cluster, in a copy of `folder`."""
        environment = {"py_modules": [str(self._code)], "env_vars": _ENVIRONMENT}
        if folder:
            environment["working_dir"] = str(folder)
        with _speaking(self.address):
            self._client.submit_job(
                entrypoint=command, submission_id=id, metadata=dict(metadata), runtime_env=environment
            )

    def info(self, id: str) -> Any:
        """Ray's details of a job. Raises InputError when there is none."""
        try:
            with _speaking(self.address):
                return self._client.get_job_info(id)
        except InputError as error:
            if "status code 404" not in str(error):
                raise
            raise InputError(f"no submission {id!r} is known to the cluster at {self.address}") from None

    def log(self, id: str) -> str:
        """All that a job has printed so far."""
        with _speaking(self.address):
            return self._client.get_job_logs(id)

    def stop(self, id: str) -> Any:
        """Stop a job and wait until it has; its details then."""
        with _speaking(self.address):
            self._client.stop_job(id)
        return self.wait(id, STOP_SECONDS)

    def wait(self, id: str, seconds: float) -> Any:
        """The details of a job when it has ended. Raises InputError where it has not within so many seconds."""
        until = time.monotonic() + seconds
        while not (info := self.info(id)).status.is_terminal():
            if time.monotonic() > until:
                raise InputError(f"{id} on the cluster at {self.address} has not ended within {seconds:.0f} s")
            time.sleep(POLL)
        return info

    def ask(self, *question: str) -> list[Any]:
        """What `on_cluster` answers on the cluster. Raises InputError when that is an error, or nothing."""
        id = f"acdc-question-{secrets.token_hex(6)}"
        self.submit(id, f"python3 -m acdc.jobs.ray.on_cluster {shlex.join(question)}", {})
        info = self.wait(id, ANSWER_SECONDS)
        log = self.log(id)
        with _speaking(self.address):
            self._client.delete_job(id)  # nobody wants to see them in the list of jobs
        if info.status != "SUCCEEDED":
            raise InputError(f"on the cluster at {self.address}: {reason(info, log) or info.message}")
        return [json.loads(line.removeprefix(MARK)) for line in log.splitlines() if line.startswith(MARK)]


def reason(info: Any, log: str) -> str | None:
    """Why a job has failed, in a sentence; None where it has not."""
    if info.status != "FAILED":
        return None
    lines = log.splitlines()
    said = [line.removeprefix(ERROR).strip() for line in lines if line.startswith(ERROR)]
    last = next((line.strip() for line in reversed(lines) if line.strip()), str(info.message))
    return "; ".join(said) or last


@contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """A cluster, by the HTTP address of its dashboard. Raises InputError when nothing answers there."""
    address = _checked(address)
    for name in _OVERRIDES:
        os.environ.pop(name, None)  # Ray would take them before the address that was asked for
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # a Ray of this process's own stays on loopback
    if _has_token(address):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # as `ray start` does of itself, its client does not
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        raise InputError("--address needs Ray: install acdc with the extra 'cluster'") from None
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with _speaking(address):
        client = JobSubmissionClient(address)
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "acdc"
        shutil.copytree(PACKAGE, code, ignore=shutil.ignore_patterns("__pycache__"))
        yield Cluster(client, address, code)


def _has_token(address: str) -> bool:
    """Whether there is a token for a cluster: given in the environment, or this machine's own for one that runs here;
    that file's token is shown to no other machine unasked."""
    given = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    here = urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
    return given or (here and (Path.home() / ".ray" / "auth_token").is_file())


def _checked(address: str) -> str:
    """An address with its scheme. Raises InputError for one that is none, and when nothing listens there."""
    full = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(full)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise InputError(f"--address {address!r} is not that of a Ray dashboard, such as http://127.0.0.1:8265")
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(f"no Ray cluster can be reached at {full}: {error.strerror or error}") from None
    return full.rstrip("/")


@contextmanager
def _speaking(address: str) -> Iterator[None]:
    """Ray's client raises errors of its own, of HTTP and plain RuntimeErrors; all mean that the request failed."""
    try:
        yield
    except Exception as error:
        told = [line.strip() for line in str(error).splitlines() if line.strip(" .")] or [type(error).__name__]
        sentence = told[-1 if "Traceback" in told[0] else 0]
        hint = "; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to its token" if "uthentication" in sentence else ""
        raise InputError(f"the Ray cluster at {address}: {sentence}{hint}") from None
