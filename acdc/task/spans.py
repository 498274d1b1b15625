"""Where in a prompt something stands: named stretches of its tokens, the same names in all rows of a task."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from acdc.errors import InputError

REST = "rest"  # what all positions are called that no span covers
# A name stands in ids after an @, and must not be taken for a position.
_NAME = re.compile(r"[^\W\d][\w+.-]*")
LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class Spans:
    """Disjoint, named stretches of one prompt: `bounds` are the first position of each and the one after its last.

    Positions count from the prompt's first token as the model gets it, so a BOS token is position 0. What no span
    covers is the rest, numbered after the spans.
    """

    names: tuple[str, ...]
    bounds: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, bounds: Mapping[str, tuple[int, int]]) -> "Spans":
        """Raises InputError for a name that cannot be one, and for spans that are empty or overlap."""
        for name, (start, stop) in bounds.items():
            if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME or name == REST:
                raise InputError(
                    f"span {name!r} cannot be called so: a name begins with a letter, has letters, digits and _ + - . "
                    f"alone, at most {LONGEST_NAME} of them, and is not {REST!r}"
                )
            if not 0 <= start < stop:
                raise InputError(f"span {name!r} has no tokens: its end is the position after its last token")
        in_order = sorted(bounds, key=lambda name: bounds[name])
        for one, other in itertools.pairwise(in_order):
            if bounds[other][0] < bounds[one][1]:
                raise InputError(f"spans {one!r} and {other!r} overlap at token {bounds[other][0]}")
        return cls(tuple(bounds), tuple(bounds.values()))

    def __iter__(self) -> Iterator[tuple[str, range]]:
        """(name, positions) of each span."""
        return ((name, range(*bounds)) for name, bounds in zip(self.names, self.bounds, strict=True))

    def shifted(self, by: int) -> "Spans":
        """The same further on in a prompt."""
        return Spans(self.names, tuple((start + by, stop + by) for start, stop in self.bounds))

    def numbers(self, length: int) -> list[int]:
        """For each position of a prompt of that length, the number of its span; of the rest, how many spans there
        are."""
        found = [len(self.names)] * length
        for number, (start, stop) in enumerate(self.bounds):
            found[start:stop] = [number] * (stop - start)
        return found

    def rest(self, length: int) -> list[int]:
        """The positions of a prompt of that length that no span covers."""
        return [place for place, number in enumerate(self.numbers(length)) if number == len(self.names)]
