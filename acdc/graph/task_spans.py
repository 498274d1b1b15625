"""Where in prompts: spans of tokens that all rows of a task have, or single positions, which are spans of one token."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from acdc.errors import InputError

MOST_SPANS = 512
_NAME = re.compile(r"[A-Za-z0-9_.+'-]{1,40}")


@dataclass(frozen=True)
class TaskSpans:
    """The spans of a task by `names`, in the order in which prompts have them.

    `sources` [spans]: which spans, ascending, have tokens that attention sees from some token of a span, in any row.
    `answers`: the spans of the rows' answer positions, ascending. `named`: they are spans that the rows name, not
    positions.
    """

    names: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]
    answers: tuple[int, ...]
    named: bool = True

    def __post_init__(self) -> None:
        """Raises InputError for names that ids cannot hold, and for indices of spans that do not exist."""
        if not 0 < len(self.names) <= MOST_SPANS or len(set(self.names)) != len(self.names):
            raise InputError(f"{len(self.names)} spans must be between 1 and {MOST_SPANS}, with different names")
        for name in self.names:
            if not _NAME.fullmatch(name) or "->" in name:
                raise InputError(f"span {name[:50]!r} has a name that is not made of letters, digits and _ . + ' -")
        if len(self.sources) != len(self.names):
            raise InputError("not every span says what attention sees from it")
        for places in (*self.sources, self.answers):
            if list(places) != sorted(set(places)) or not set(places) <= set(range(len(self.names))):
                raise InputError("its spans are numbered wrong")

    @classmethod
    def of_positions(cls, length: int, answers: Sequence[int], bidirectional: bool = False) -> "TaskSpans":
        """One for each position of prompts of one length."""
        sources = tuple(tuple(range(length if bidirectional else at + 1)) for at in range(length))
        return cls(tuple(map(str, range(length))), sources, tuple(sorted(set(answers))), named=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def own(self) -> tuple[tuple[int, int], ...]:
        """(span, the same span) of all spans."""
        return tuple((span, span) for span in range(len(self)))

    @property
    def crossing(self) -> tuple[tuple[int, int], ...]:
        """(source, span) wherever attention sees a source from a span."""
        return tuple((source, span) for span, sources in enumerate(self.sources) for source in sources)
