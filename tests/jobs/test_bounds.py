"""Job files and options beyond all bounds: a sentence, at once."""

import os
import sqlite3
from pathlib import Path

import pytest

from acdc.errors import InputError, InputErrors
from acdc.files import open_file, read_bytes
from acdc.jobs.jobs_file import MOST_JOBS, make_jobs, read_jobs
from acdc.jobs.store import FILE_NAME, Store

GRID = "".join(f"{name} = {list(range(1, 101))}\n" for name in ("limit", "seed", "edges", "batch-size"))
FILES = [
    ("[[jobs]]\nlimit = " + "9" * 5000, "not valid TOML"),
    ("[[jobs]]\nlimit = 0x" + "f" * 5000, "jobs.0.limit: a whole number of more than 64 bits"),
    ("[[jobs]]\nlimit = 99999999999999999999", "more than 64 bits"),
    ("[[jobs]]\nlimit = " + "[" * 20_000, "not valid TOML"),
    ("[[jobs]]\nlimit = " + "[" * 40 + "1" + "]" * 40, "nested too deeply"),
    ("[[jobs]]\n" + "a." * 500 + "a = 1", "nested too deeply"),
    ("[[jobs]]\nlimit = " + "{a = " * 3000 + "1" + "}" * 3000, "nested too deeply"),
    (f"[[jobs]]\nmethod = 'eap'\n{GRID}", "100,000,000 jobs: at most 10,000 are run together"),
    ("[[jobs]]\nmethod = 'eap-ig-inputs'\nedges = 9\nsteps = 1000000000", "--steps 1000000000 must be at most 10,000"),
    ("[[jobs]]\nmethod = 'ugs'\nedges = 9\nupdates = 1000000000", "--updates 1000000000 must be at most 1000000"),
    ("[[jobs]]\nlimit = 9000000000", "--limit 9000000000 must be at most"),
    ("[[jobs]]\nverify-rows = 9000000000", "--verify-rows 9000000000 must be at most"),
]


@pytest.mark.parametrize("text, message", FILES)
def test_job_files_beyond_all_bounds_are_refused(tmp_path, text, message):
    (tmp_path / "jobs.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_jobs(tmp_path / "jobs.toml")[0].check()


def test_as_many_jobs_as_are_allowed_are_counted_before_any_is_made():
    table = {"seed": list(range(MOST_JOBS + 1))}
    with pytest.raises(InputErrors, match="10,001 jobs"):
        make_jobs({}, [table], Path())


def special(kind: str) -> Path:
    if kind == "a named pipe":
        os.mkfifo("pipe.toml")
        return Path("pipe.toml")
    if kind == "a folder":
        Path("folder.toml").mkdir()
        return Path("folder.toml")
    return Path("/dev/zero")


KINDS = ["a named pipe", "a device", "a folder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "command",
    [("run", "PATH"), ("import", "PATH", "--format", "eap-ig"), ("import", "PATH", "--format", "autocircuit")],
)
def test_commands_refuse_what_is_no_ordinary_file_at_once(acdc, kind, command):
    path = special(kind)
    done = acdc(*(word.replace("PATH", str(path)) for word in command))
    assert done.code == 2 and f"{path} is {kind}, not an ordinary file" in done.err


def test_a_task_that_is_a_pipe_is_refused(acdc):
    os.mkfifo("t.jsonl")
    for name in ("t.jsonl", "hf:t.jsonl"):
        done = acdc("check-task", name)
        assert done.code == 2 and "t.jsonl is a named pipe, not an ordinary file" in done.err


def test_a_model_that_is_none_is_refused(acdc):
    os.mkfifo("m")
    for name in ("./m", "/dev/zero"):
        done = acdc("check-task", "induction", "--model", name)
        assert done.code == 2 and "not an ordinary file" in done.err


@pytest.mark.parametrize("file", ["jobs.sqlite3", "logs", ".locks"])
def test_what_is_written_to_is_no_pipe(acdc, file):
    Path("o").mkdir()
    os.mkfifo(f"o/{file}")
    Path("jobs.toml").write_text('[[jobs]]\nmethod = "random"\nedges = 9\nlimit = 4\nverify = "none"\n')
    done = acdc("run", "jobs.toml", "--out", "o")
    said = done.out + done.err
    assert done.code in (1, 2) and ("not an ordinary file" in said or "is a file, not a folder" in said)


def test_files_that_are_too_large_are_refused_before_they_are_read(tmp_path):
    with (tmp_path / "f").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="is larger than 1,024 MiB"):
        read_bytes(tmp_path / "f")
    with pytest.raises(InputError, match="larger than 16 MiB"):
        read_jobs(tmp_path / "f")


def test_only_ordinary_files_are_opened(tmp_path):
    (tmp_path / "f").write_text("text")
    (tmp_path / "link").symlink_to("f")
    with open_file(tmp_path / "link") as file:
        assert file.read() == b"text"
    for name, message in (
        ("none", "does not exist"),
        ("f/g", "cannot be read"),
        ("a\0b", "is no path"),
        ("", "folder"),
    ):
        with pytest.raises(InputError, match=message):
            open_file(tmp_path / name)


OPTIONS = [
    ("--method eap-ig-inputs --edges 9 --steps 99999999999999999999", "--steps 99999999999999999999 must be at most"),
    ("--method ugs --edges 9 --updates 99999999999999999999", "--updates 99999999999999999999 must be at most"),
    ("--seed 99999999999999999999", "--seed must be at most"),
    ("--limit 99999999999999999999", "must be at most"),
    ("--batch-size 99999999999999999999", "must be at most"),
    ("--edges 99999999999999999999 --method eap", "must be at most"),
    ("--verify-rows 99999999999999999999", "must be at most"),
    ("--threads 99999999999999999999", "must be between"),
]


@pytest.mark.parametrize("options, message", OPTIONS)
def test_options_beyond_all_bounds_are_refused(acdc, options, message):
    done = acdc("discover", "--task", "induction", *options.split())
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1


def test_more_workers_than_anybody_has_are_refused(acdc):
    Path("jobs.toml").write_text("[[jobs]]\n")
    done = acdc("run", "jobs.toml", "--workers", "99999999")
    assert done.code == 2 and "--workers 99999999 must be at most 1,024" in done.err


def test_finished_jobs_on_a_read_only_disk_answer(acdc, monkeypatch):
    """sqlite is asked for a file that does not change; whatever writes to it fails."""
    Path("jobs.toml").write_text('[[jobs]]\nmethod = "random"\nedges = 9\nlimit = 4\nverify = "none"\n')
    first = acdc("run", "jobs.toml", "--out", "o")
    assert first.code == 0
    before = {path: path.read_bytes() for path in Path("o").rglob("*") if path.is_file()}
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    with pytest.raises(InputError, match="readonly"):
        Store(Path("o"))._write("DELETE FROM jobs")
    for words in (("status", "o"), ("logs", "o"), ("run", "jobs.toml", "--out", "o")):
        done = acdc(*words)
        assert done.code == 0, done.err
    assert {path: path.read_bytes() for path in Path("o").rglob("*") if path.is_file()} == before
    with sqlite3.connect(Path("o") / FILE_NAME) as store:
        assert store.execute("SELECT status FROM jobs").fetchall() == [("done",)]
