"""What one pass of ACDC tries: some candidates, removed one after the other, and after which of them it measures."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pass:
    """`tried`: candidates of one receiver in the order in which they are decided. `columns`: the objective is measured
    with the first so many of them removed, ascending and at least 1. `kept`: places of those that are expected to be
    kept: a column of its own measures each without it, and all later columns leave it in."""

    tried: np.ndarray
    columns: tuple[int, ...]
    kept: tuple[int, ...] = ()

    @property
    def key(self) -> bytes:
        return self.tried.tobytes() + np.array(self.columns).tobytes() + np.array(self.kept).tobytes()

    def first(self, count: int) -> "Pass":
        """The same with so many measurements."""
        return self.part(slice(0, count))

    def part(self, some: slice) -> "Pass":
        """The same with some of the measurements."""
        columns = self.columns[some]
        return Pass(self.tried[: columns[-1]], columns, tuple(place for place in self.kept if place < columns[-1]))

    def left_in(self, column: int) -> tuple[int, ...]:
        """Places of those that a column leaves in."""
        return tuple(place for place in self.kept if place + 1 < column)


@dataclass(frozen=True)
class Expected:
    """What is known of a receiver's candidates before their tests, boolean [candidates] each: the `screened` ones need
    no test of their own; a `likely` one is expected to be kept; a group of screened candidates `ends` after some."""

    screened: np.ndarray
    likely: np.ndarray
    ends: np.ndarray

    @classmethod
    def nothing(cls, candidates: int) -> "Expected":
        return cls(*np.zeros((3, candidates), dtype=bool))

    def of(self, some: np.ndarray | slice) -> "Expected":
        """Of some of the candidates."""
        return Expected(self.screened[some], self.likely[some], self.ends[some])


def next_pass(left: np.ndarray, expected: Expected, width: int) -> Pass:
    """The next of what is `left` of a receiver, with at most `width` measurements, and at least what one test takes."""
    columns: list[int] = []
    kept: list[int] = []
    before = 0  # candidates up to the last measurement
    for place in range(len(left)):
        end = place + 1 == len(left)
        if expected.screened[place]:
            needed = [place + 1] if end or expected.ends[place] else []
        else:
            needed = ([place] if before < place else []) + [place + 1]
        if columns and len(columns) + len(needed) > width:
            break
        columns += needed
        before = columns[-1] if columns else 0
        if expected.likely[place] and not expected.screened[place]:
            kept.append(place)
    return Pass(left[:before], tuple(columns), tuple(kept))
