"""What happens when a command is asked to end: everything is put away, with one sentence and no traceback."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SENTENCE = "acdc: interrupted; what is done is kept: the same command with the same --out goes on"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal has asked this process to end. No KeyboardInterrupt, which typer would turn into a silent exit."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number  # as a shell reports a process that a signal has ended


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it, the first signal that asks to end raises Interrupted; a second one ends the process at once.

    What whoever started the command wants ignored, as nohup does, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in ENDING}

    def interrupt(number: int, frame: FrameType | None) -> None:
        _set(heeded, signal.SIG_DFL)
        interrupted = Interrupted(number)
        if _importing(frame):  # native code that is being loaded may take an exception for the end of the world
            print(SENTENCE, file=sys.stderr, flush=True)
            os._exit(interrupted.status)
        raise interrupted

    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    _set(heeded, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            _set([number], before[number])


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _set(numbers: list[signal.Signals], handler: object) -> None:
    for number in numbers:
        signal.signal(number, handler)
