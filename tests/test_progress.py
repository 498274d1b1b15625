"""Bars that the Python interface shows by itself: on a terminal and in a notebook, and nowhere else."""

import inspect
import sys
import types

import pytest

import acdc
from acdc import progress


class Terminal(list):
    """What is written to stderr."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        self.append(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def written(monkeypatch):
    def begin(terminal: bool, kernel: bool = False, delay: float = 0.0) -> Terminal:
        stderr = Terminal()
        stderr.terminal = terminal
        shell = types.SimpleNamespace(kernel=None) if kernel else object()
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
        monkeypatch.setattr(progress, "DELAY", delay)
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress.automatic("scoring", 4, "rows") as advance:
            advance(1, "as yet")
            advance(3)
        return stderr

    return begin


def test_a_terminal_and_a_notebook_show_a_bar(written):
    for place in ({"terminal": True}, {"terminal": False, "kernel": True}):
        text = "".join(written(**place))
        assert "scoring" in text and "0/4" in text and "rows" in text


def test_a_pipe_and_short_work_show_nothing(written):
    assert written(terminal=False) == []
    assert "scoring" not in "".join(written(terminal=True, delay=60))


def test_whatever_takes_long_shows_it_by_default():
    for name in ("discover", "sweep", "verify", "patch", "trace", "verify_graph"):
        assert inspect.signature(getattr(acdc, name)).parameters["progress"].default is progress.automatic
