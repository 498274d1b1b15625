"""A command that is asked to end says so in one sentence; what it has done is kept."""

import signal
import subprocess
import sys
import time
from contextvars import ContextVar
from pathlib import Path

import pytest
from conftest import thorough_but

from acdc import progress
from acdc.cli.interrupts import ENDING, tell_interrupted

LONG = ("--metric", "kl", "--threshold", "0.0005", "--limit", "16")
SHORT = ("--method", "eap", "--edges", "9", "--limit", "120")
PATIENCE = 60.0  # seconds


def start(folder, *words, **more) -> subprocess.Popen:
    """A discovery that has begun."""
    command = [sys.executable, "-m", "acdc", "discover", "--out", "r", *words]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **more
    )
    until = time.monotonic() + PATIENCE
    while not (folder / "r/run.json").is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(
    "number", thorough_but([signal.SIGINT, signal.SIGTERM], ENDING), ids=lambda number: number.name
)
def test_a_signal_ends_a_command_with_a_sentence(tmp_path, number):
    process = start(tmp_path, *LONG, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == "acdc: interrupted; finished work is kept in r: repeat the command to resume"
    assert (tmp_path / "r/run.json").is_file()


def test_what_was_to_be_ignored_stays_ignored(tmp_path):
    process = start(tmp_path, *SHORT, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "interrupted" not in said


def test_where_work_is_kept_is_said_only_where_it_is(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_kept", ContextVar("kept", default=None))
    tell_interrupted()
    progress.keeps_work(Path("runs/a-001"), default=True)
    progress.keeps_work(Path("runs/a-001/job"))
    tell_interrupted()
    assert capsys.readouterr().err == (
        "acdc: interrupted\n"
        "acdc: interrupted; finished work is kept in runs/a-001: repeat the command with --out runs/a-001 to resume\n"
    )
