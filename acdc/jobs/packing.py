"""Pack a job file for a cluster: the jobs with relative paths, and the task files and model folders that they name.

Of a model folder only configuration, tokenizer and safetensors weights, or a GGUF file, are taken.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from acdc.errors import InputError
from acdc.files import existing_path
from acdc.jobs.jobs_file import write_jobs
from acdc.jobs.planned import for_each, plan_one
from acdc.model.sources import NAMES, is_hub_name, model_files
from acdc.runs.spec import DiscoveryJob
from acdc.task.eap_ig import VERBS
from acdc.task.names import TaskName, is_data_set
from acdc.task.registry import TASKS

JOB_FILE, INPUTS = "jobs.toml", "inputs"
LIMIT = 64 * 2**20  # bytes of all that is sent; Ray takes 100 MiB
DIGEST_LENGTH = 12


def check_jobs(jobs: Sequence[DiscoveryJob], where: str = "") -> None:
    """Look at what of the jobs is on this machine, as 'acdc run' would; the device is that of the cluster.

    Hub models, and absolute paths that do not exist here, are looked at on the cluster.
    Raises InputErrors with what is wrong with any job, each beginning with `where` the jobs are from.
    """
    hashes: dict[tuple[str, str | None], str] = {}

    def look(job: DiscoveryJob) -> None:
        model = job.model in NAMES or existing_path(job.model)
        if not (model or is_hub_name(job.model) or _is_elsewhere(job.model)):
            raise InputError(f"model folder {job.model!r} does not exist")
        task = job.task in TASKS or (not is_data_set(job.task) and TaskName.parse(job.task).path)
        if not (task or is_data_set(job.task) or _is_elsewhere(job.task)):
            raise InputError(f"task {job.task!r} is neither a bundled task ({', '.join(TASKS)}) nor a file")
        if model and task:
            plan_one(replace(job, device="cpu"), Path(), hashes)

    for_each(jobs, look, where)


def _is_elsewhere(name: str) -> bool:
    """Whether a name may be a path on another machine."""
    return name.startswith(("/", "~"))


def pack(jobs: Sequence[DiscoveryJob], folder: Path, files: bool = True) -> str:
    """Write the job file and, with `files`, all that it names into an empty folder; a digest of the contents.

    Raises InputError for more than `LIMIT` bytes.
    """
    places: dict[Path, str] = {}
    tasks = {job.task: TaskName.parse(job.task) for job in jobs if job.task not in TASKS and not is_data_set(job.task)}
    if files:
        named = [existing_path(job.model) for job in jobs if job.model not in NAMES]
        named += [task.path for task in tasks.values()]
        found = [path for path in dict.fromkeys(named) if path]
        places = {path: f"{INPUTS}/{number}/{path.name}" for number, path in enumerate(found, start=1)}
        _check_size(found)
        for path in found:
            _copy(path, folder / places[path])
    moved = [
        replace(job, model=_moved_model(job.model, places), task=_moved_task(job.task, tasks, places)) for job in jobs
    ]
    (folder / JOB_FILE).write_text(write_jobs(moved), encoding="utf-8")
    return _digest(folder)


def _moved_model(model: str, places: Mapping[Path, str]) -> str:
    path = None if model in NAMES else existing_path(model)
    return model if path is None else places.get(path, model)


def _moved_task(task: str, tasks: Mapping[str, TaskName], places: Mapping[Path, str]) -> str:
    path = tasks[task].path if task in tasks else None
    return task if path is None or path not in places else tasks[task].at(places[path])


def _check_size(paths: Sequence[Path]) -> None:
    sizes = {path: sum(file.stat().st_size for file in _files(path)) for path in paths}
    if sum(sizes.values()) > LIMIT:
        largest = max(sizes, key=lambda path: sizes[path])
        raise InputError(
            f"{largest} and the other files of the jobs take {sum(sizes.values()) / 2**20:.0f} MiB, more than the "
            f"{LIMIT // 2**20} MiB that can be sent: name the model as the hub does, or by an absolute path that "
            "only the cluster's machines have, or use --shared-files if they have all files where this machine has them"
        )


def _files(path: Path) -> list[Path]:
    """What is taken of a task file, with the list of verbs that it may need, or of a model folder."""
    if not path.is_file():
        return model_files(path)
    return [path, *(verbs for verbs in [path.with_name(VERBS)] if path.suffix == ".csv" and verbs.is_file())]


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    base, into = (path.parent, target.parent) if path.is_file() else (path, target)
    for file in _files(path):
        place = into / file.relative_to(base)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:DIGEST_LENGTH]
