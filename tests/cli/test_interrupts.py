"""A command that is asked to end says so in one sentence; what it has done is kept."""

import signal
import subprocess
import sys
import time

import pytest

WORDS = ("discover", "--metric", "kl", "--threshold", "0.0005", "--limit", "16", "--out", "r")
PATIENCE = 60.0  # seconds


def start(folder, **more) -> subprocess.Popen:
    """A discovery that has begun."""
    command = [sys.executable, "-m", "acdc", *WORDS]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **more
    )
    until = time.monotonic() + PATIENCE
    while not (folder / "r/run.json").is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_a_command_with_a_sentence(tmp_path, number):
    process = start(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert said.startswith("acdc: interrupted; ") and said.count("\n") == 1
    assert (tmp_path / "r/run.json").is_file()


def test_what_was_to_be_ignored_stays_ignored(tmp_path):
    process = start(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "")
