"""What is sent to a cluster, and what is refused before anything is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from acdc.errors import InputError
from acdc.jobs import packing
from acdc.jobs.jobs_file import make_jobs, read_jobs, write_jobs
from acdc.jobs.packing import JOB_FILE, check_jobs, pack
from acdc.jobs.ray.nodes import Node, fitting
from acdc.jobs.ray.submission import Workers
from acdc.model.sources import BUNDLED

ROW = {"clean": [5, 6, 7], "corrupted": [5, 8, 7], "correct": [9], "incorrect": [10]}


def jobs(*tables):
    return make_jobs({}, tables, Path.cwd())


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a model and a task, and jobs that name them."""
    (tmp_path / "here/models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here/models/small").symlink_to(BUNDLED["trio"])
    (tmp_path / "here/task.jsonl").write_text("\n".join(json.dumps(ROW) for _ in range(4)))
    return jobs({"model": "models/small", "task": ["task.jsonl", "ioi"], "threshold": 1e-7})


def test_a_job_file_is_read_as_it_was_written(tmp_path):
    made = jobs(
        {"model": "org/name", "revision": 'a"\\b\u00e9', "task": ["ioi", "induction"], "direct-edges": True},
        {"method": "acdc", "threshold": 1e-05, "level": "nodes", "seed": 3, "device": "cuda:1"},
    )
    (tmp_path / "jobs.toml").write_text(write_jobs(made))
    assert read_jobs(tmp_path / "jobs.toml") == made


def test_what_is_packed(mine, tmp_path):
    (tmp_path / "there").mkdir()
    digest = pack(mine, tmp_path / "there")
    names = {path.relative_to(tmp_path / "there").as_posix() for path in (tmp_path / "there").rglob("*.*")}
    assert {"jobs.toml", "inputs/1/trio/config.json", "inputs/1/trio/model.safetensors", "inputs/2/task.jsonl"} <= names
    read = read_jobs(tmp_path / "there" / JOB_FILE)
    assert [job.settings for job in read] == [job.settings for job in mine]
    assert read[0].model == str(tmp_path / "there/inputs/1/trio") and read[1].task == "ioi"
    (tmp_path / "again").mkdir()
    assert pack(mine, tmp_path / "again") == digest
    (tmp_path / "here/task.jsonl").write_text("\n".join(json.dumps(ROW) for _ in range(5)))
    (tmp_path / "other").mkdir()
    assert pack(mine, tmp_path / "other") != digest


def test_code_in_a_model_folder_is_not_packed(tmp_path):
    (tmp_path / "m").mkdir()
    for name in ("config.json", "modeling.py", "pytorch_model.bin", "tokenizer.model"):
        (tmp_path / "m" / name).write_text("{}")
    (tmp_path / "there").mkdir()
    pack(jobs({"model": str(tmp_path / "m")}), tmp_path / "there")
    assert {path.name for path in (tmp_path / "there/inputs/1/m").iterdir()} == {"config.json", "tokenizer.model"}


def test_shared_files_stay_where_they_are(mine, tmp_path):
    (tmp_path / "there").mkdir()
    pack(mine, tmp_path / "there", files=False)
    assert [path.name for path in (tmp_path / "there").iterdir()] == [JOB_FILE]
    assert read_jobs(tmp_path / "there" / JOB_FILE) == mine


def test_too_much_is_not_sent(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LIMIT", 2**19)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match=r"trio and the other files .* use --shared-files"):
        pack(mine, tmp_path / "there")
    assert not list((tmp_path / "there").iterdir())


@pytest.mark.parametrize(
    "table, message",
    [
        ({"task": "nosuch"}, "neither a bundled task"),
        ({"model": "./nowhere"}, "does not exist"),
        ({"limit": 100000}, "limit"),
        ({"model": "gpt2", "task": "nosuch"}, "neither a bundled task"),
    ],
)
def test_what_is_wrong_here_is_not_submitted(table, message):
    with pytest.raises(InputError, match=f"job 2: .*{message}"):
        check_jobs(jobs({}, table))


def test_what_only_the_cluster_has_is_left_to_it():
    check_jobs(jobs({"model": "org/name"}, {"model": "/data/m"}, {"task": "~/t.jsonl"}, {"device": "cuda"}))


def test_workers_fit_on_machines():
    two = [Node(8, 2), Node(3, 0)]
    assert fitting(two, 2, 0) == 5 and fitting(two, 2, 1) == 2 and fitting(two, 2, 1 / 3) == 4
    assert fitting([Node(8, 1)], 1, 1 / 3) == 3 and fitting([], 1, 0) == 0


@pytest.mark.parametrize(
    "count, gpus, nodes, message",
    [
        (1, 1.0, [Node(8, 0)], "the cluster has no GPU"),
        (0, 0.0, [Node(8, 0)], "must be at least 1"),
        (1, 1.5, [Node(8, 2)], "whole number"),
        (5, 0.0, [Node(8, 0)], "use --workers 4"),
        (1, 0.0, [Node(1, 0), Node(1, 0)], "room for 0 workers of 2 CPU cores"),
    ],
)
def test_what_a_cluster_cannot_give_is_refused(count, gpus, nodes, message):
    with pytest.raises(InputError, match=message):
        Workers(count, gpus).check(jobs({}), nodes)


def test_a_device_that_a_cluster_lacks_is_refused():
    (job,) = jobs({})
    with pytest.raises(InputError, match="device cuda"):
        Workers(1, 0).check([replace(job, device="cuda:1")], [Node(8, 0)])
    Workers(1, 0).check([replace(job, device="cuda")], [Node(8, 1)])
