"""The README is a promise: its commands and its code run as printed."""

import json
import re
import shlex

from conftest import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_ci_runs_the_test_command():
    (command,) = [block.strip() for block in blocks("sh") if "pytest" in block]
    assert command in (ROOT / ".ci/run").read_text()


def test_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, "README", "exec"), {})
    assert re.search(r"\d+ edges, faithfulness \d", capsys.readouterr().out)
    assert (tmp_path / "induction.svg").is_file()


def test_commands(acdc, tmp_path):
    """A task file whose first row is the README's, with more of its kind."""
    from acdc.task.generators import ioi

    (row,) = blocks("json")
    more = [
        {
            "clean": e.clean,
            "corrupted": e.corrupted,
            "correct": [f" {e.correct[0]}"],
            "incorrect": [f" {e.incorrect[0]}"],
        }
        for e in ioi.generate(20, seed=1)
    ]
    lines = [json.dumps({"task": "my-task", "metric": "logit_diff", "prepend_bos": True}), row.strip()]
    (tmp_path / "my-task.jsonl").write_text("\n".join([*lines, *map(json.dumps, more)]))
    (commands,) = [block for block in blocks("sh") if "my-task.jsonl" in block]
    for command in commands.strip().splitlines():
        name, *words = shlex.split(command)
        assert name == "acdc"
        done = acdc(*words)
        assert done.code == 0, done.err
    assert (tmp_path / "my-circuit.svg").is_file()


def test_jobs(acdc, tmp_path):
    """The job file gives the table that is printed, seconds aside."""
    (jobs,) = blocks("toml")
    (tmp_path / "jobs.toml").write_text(jobs)
    done = acdc("run", "jobs.toml", "--out", "my-jobs")
    assert done.code == 0, done.err
    (printed,) = [block for block in blocks("text") if block.lstrip().startswith("job ")]
    rows = [line.split()[:-1] for line in printed.strip().splitlines()[1:]]
    assert len(rows) == 4
    assert [line.split()[:-1] for line in done.out.splitlines()[1:5]] == rows
    status = acdc("status", "my-jobs")
    assert [line.split()[:-1] for line in status.out.splitlines()[1:5]] == rows
    assert "done" in acdc("logs", "my-jobs").out
