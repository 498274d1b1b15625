"""What happens when a command is asked to end: everything is put away, with one sentence and no traceback."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from acdc.cli.console import tell
from acdc.cli.progress import clear_line
from acdc.progress import kept_work

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def tell_interrupted() -> None:
    """One sentence, which says how to go on where something is kept to go on from."""
    kept = kept_work()
    tell("acdc: interrupted" if kept is None else f"acdc: interrupted; finished work is kept in {kept}")


class Interruptible:
    """A context in which the first signal that asks to end raises KeyboardInterrupt; a second one ends the process.

    What whoever started the command wants ignored, as nohup does, stays ignored. Which signal it was is kept here:
    libraries on the way, Ray's and typer's, raise something else in place of what they know, and know only this.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Handler] = {}
        self._signal: int | None = None

    @property
    def status(self) -> int | None:
        """The exit status of a process that the signal has ended, as a shell reports it; None without one."""
        return None if self._signal is None else 128 + self._signal

    def __enter__(self) -> "Interruptible":
        handlers = {number: signal.getsignal(number) for number in ENDING}
        self._before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._signal = number
        if _importing(frame):  # native code that is being loaded may take an exception for the end of the world
            clear_line()
            tell_interrupted()
            os._exit(128 + number)
        raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
