"""What happens when a command is asked to end: everything is put away, with one sentence and no traceback."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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
        raise Interrupted(number)

    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    _set(heeded, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            _set([number], before[number])


def _set(numbers: list[signal.Signals], handler: object) -> None:
    for number in numbers:
        signal.signal(number, handler)
