"""Jobs that a Ray cluster runs: submit a job file, and follow, stop and fetch what was submitted.

A submission's folder on the cluster is named after a digest of the job file and its inputs, so that the same jobs,
submitted again to a cluster that went away or failed, go on from what is finished there. Its id has that digest too,
and the number of the attempt.
"""

import base64
import binascii
import re
import shlex
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from acdc.errors import InputError, without_prefix
from acdc.jobs.executors import check_least
from acdc.jobs.fetch import FileEntry
from acdc.jobs.packing import JOB_FILE, check_jobs, pack
from acdc.jobs.ray.cluster import Cluster, reason
from acdc.jobs.ray.nodes import Node, fitting
from acdc.jobs.state import JobsState, SubmissionState
from acdc.runs.spec import DiscoveryJob
from acdc.words import count_of

FOLDER = "acdc_folder"  # metadata: where the jobs are on the cluster
BATCH_BYTES, BATCH_FILES = 32 * 2**20, 200  # that one question asks for


@dataclass(frozen=True)
class Submitted:
    """A submission's id and its folder on the cluster; `started` is False where the same jobs were running already."""

    id: str
    folder: str
    started: bool


@dataclass(frozen=True)
class Workers:
    """How many workers are asked for, how many GPUs each, and with how many of them the first job may begin: None for
    all."""

    count: int
    gpus: float
    least: int | None = None

    def check(self, jobs: Sequence[DiscoveryJob], nodes: Sequence[Node]) -> None:
        """Raises InputError for what can never be had of these machines: Ray would wait for it for ever."""
        if self.count < 1:
            raise InputError(f"--workers {self.count} must be at least 1")
        check_least(self.least, self.count)
        if self.gpus < 0 or (self.gpus > 1 and self.gpus % 1):
            raise InputError(f"--gpus-per-worker {self.gpus:g} must be a whole number, or a part of one GPU")
        gpus = sum(node.gpus for node in nodes)
        if not gpus and self.gpus:
            raise InputError(f"--gpus-per-worker {self.gpus:g} cannot be met: the cluster has no GPU")
        if not gpus and any(job.device.startswith("cuda") for job in jobs):
            raise InputError("the jobs ask for device cuda, and the cluster has no GPU")
        cores = max(job.settings.threads for job in jobs)
        most = fitting(nodes, cores, self.gpus)
        wanted, option = (self.count, "--workers") if self.least is None else (self.least, "--min-workers")
        if wanted > most:
            each = count_of(cores, "CPU core") + (f" and {self.gpus:g} GPUs" if self.gpus else "")
            use = f"use {option} {most}" if most else "use fewer threads or --gpus-per-worker"
            raise InputError(
                f"the cluster has room for {count_of(most, 'worker')} of {each} each, not for {wanted}: {use}"
            )


def submit(
    cluster: Cluster,
    name: str,
    jobs: Sequence[DiscoveryJob],
    workers: Workers,
    parent: str,
    send_files: bool,
    where: str = "",
) -> Submitted:
    """Hand jobs to a cluster, to run into a folder under `parent` there; `name` makes the id readable.

    Raises InputErrors for what is wrong with the jobs, as far as that is known here, saying `where` they are from, and
    InputError for what the cluster has not.
    """
    if not parent.startswith(("/", "~/")):
        raise InputError(f"--cluster-dir {parent!r} must be absolute, or begin with ~/: it is a folder on the cluster")
    workers.check(jobs, cluster.nodes())
    check_jobs(jobs, where)
    with tempfile.TemporaryDirectory() as packed:
        digest = pack(jobs, Path(packed), send_files)
        same = re.compile(rf"acdc-.*-{digest}-\d+")
        earlier = [job for job in cluster.submissions() if same.fullmatch(job.submission_id)]
        for job in earlier:
            if not job.status.is_terminal():
                return Submitted(job.submission_id, job.metadata[FOLDER], started=False)
        attempt = 1 + max((int(job.submission_id.rsplit("-", 1)[1]) for job in earlier), default=0)
        id = f"acdc-{_slug(name)}-{digest}-{attempt}"
        folder = f"{parent.rstrip('/')}/{digest}"
        cluster.submit(id, _command(folder, workers), {FOLDER: folder}, Path(packed))
    return Submitted(id, folder, started=True)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def _command(folder: str, workers: Workers) -> str:
    command = ["python3", "-m", "acdc", "run", JOB_FILE, "--address", "auto", "--workers", str(workers.count)]
    command += ["--gpus-per-worker", f"{workers.gpus:g}"]
    command += [] if workers.least is None else ["--min-workers", str(workers.least)]
    return f"{shlex.join(command)} --out {_for_shell(folder)}"


def _for_shell(path: str) -> str:
    """A path as a word of a shell command; a home folder is that of the cluster."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)


class Submission:
    """See `acdc.jobs.target.Target`."""

    poll = 5.0

    def __init__(self, cluster: Cluster, id: str):
        """Raises InputError for an id that is not known to the cluster, or not of `acdc submit`."""
        self._cluster, self.id = cluster, id
        folder = (cluster.info(id).metadata or {}).get(FOLDER)
        if folder is None:
            raise InputError(f"{id!r} at {cluster.address} is not a submission of 'acdc submit'")
        self._folder: str = folder

    def state(self) -> JobsState:
        info = self._cluster.info(self.id)
        running = not info.status.is_terminal()
        why = reason(info, self._cluster.log(self.id)) if info.status == "FAILED" else None
        there = self._ask(JobsState, "state")
        jobs = there[0] if there else JobsState(out=self._folder, driven=running, jobs=())
        submission = SubmissionState(id=self.id, status=info.status.value, exit_code=info.driver_exit_code, reason=why)
        return jobs.model_copy(update={"submission": submission, "driven": running})

    def logs(self, job: str | None = None) -> dict[str, str]:
        if job is None:
            return {self.id: self._cluster.log(self.id)}
        return self._ask(dict[str, str], "logs", job)[0]

    def stop(self) -> str:
        info = self._cluster.info(self.id)
        if info.status.is_terminal():
            return f"{self.id} has ended before: {info.status.value}"
        return f"{self.id}: {self._cluster.stop(self.id).status.value}; 'acdc submit' of the same jobs resumes them"

    def files(self) -> list[FileEntry]:
        return self._ask(FileEntry, "files")

    def read(self, entries: Sequence[FileEntry]) -> Iterator[tuple[FileEntry, bytes]]:
        for batch in _batches(entries):
            contents = self._ask(str, "read", *(entry.name for entry in batch))
            for entry, content in zip(batch, contents, strict=False):
                yield entry, _unpack(entry, content)

    def _ask(self, kind: Any, verb: str, *words: str) -> list[Any]:
        """Answers of the cluster, each of a kind that pydantic knows."""
        try:
            return TypeAdapter(list[kind]).validate_python(self._cluster.ask(verb, self._folder, *words))
        except ValidationError as error:
            raise InputError(
                f"the cluster's answer cannot be used: {without_prefix(error.errors()[0]['msg'])}"
            ) from None


def _batches(entries: Sequence[FileEntry]) -> Iterator[list[FileEntry]]:
    """What one question may ask for."""
    batch: list[FileEntry] = []
    for entry in entries:
        size = sum(other.size for other in batch) + entry.size
        if batch and (size > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


def _unpack(entry: FileEntry, content: str) -> bytes:
    """A file's content, never longer than announced. Raises InputError for what was not packed."""
    try:
        return zlib.decompressobj().decompress(base64.b64decode(content, validate=True), entry.size + 1)
    except (binascii.Error, ValueError, zlib.error):
        raise InputError(f"{entry.name} arrived damaged: fetch again") from None
