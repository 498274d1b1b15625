"""Which tokens of a corrupted prompt correspond to those of the clean one, where their spans say so.

Inside a span positions correspond one by one from its end. Where the clean prompt's span is longer, what is left at its
beginning has no counterpart: the mean over the corrupted prompt's span stands for it. What is left of a corrupted
prompt's longer span corresponds to nothing. The rest is paired stretch by stretch, where the spans have the same order
in both prompts: the stretch before the first span from its beginning, so that a BOS token is paired with the other one,
and others from their end.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from acdc.errors import InputError
from acdc.task.spans import Spans
from acdc.words import count_of


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's length in tokens and its spans."""

    length: int
    spans: Spans

    def gaps(self) -> list[range]:
        """The stretches of the rest: before the first span, between spans, and after the last; some may be empty."""
        ends = [(0, 0), *sorted(self.spans.bounds), (self.length, self.length)]
        return [range(before, after) for (_, before), (after, _) in itertools.pairwise(ends)]

    @property
    def order(self) -> list[str]:
        """The spans' names as they follow each other."""
        return [name for _, name in sorted(zip(self.spans.bounds, self.spans.names, strict=True))]


def pair(clean: Prompt, corrupted: Prompt) -> tuple[tuple[int, ...], ...]:
    """For each position of a clean prompt, the positions of the corrupted one whose mean stands for it: its
    counterpart alone, or a whole span. Raises InputError for prompts whose spans do not tell."""
    if set(clean.spans.names) != set(corrupted.spans.names):
        raise InputError(
            f"clean has the spans {', '.join(clean.spans.names)} and corrupted {', '.join(corrupted.spans.names)}; "
            "they need the same"
        )
    there, rest = dict(corrupted.spans), corrupted.spans.rest(corrupted.length)
    found: dict[int, tuple[int, ...]] = {}
    for name, places in clean.spans:
        found |= _paired(places, there[name], there[name])
    if clean.order == corrupted.order:
        for number, (gap, other) in enumerate(zip(clean.gaps(), corrupted.gaps(), strict=True)):
            found |= _paired(gap, other, other or rest, from_start=number == 0)
    else:
        own = clean.spans.rest(clean.length)
        if len(own) != len(rest):
            raise InputError(
                f"the spans have another order in clean and corrupted, and what they do not cover is "
                f"{count_of(len(own), 'token')} in clean and {len(rest)} in corrupted: name spans for all that differs"
            )
        found |= _paired(own, rest, rest)
    if missing := [place for place, sources in found.items() if not sources]:
        raise InputError(f"corrupted has no token outside of its spans, and clean has one at position {missing[0]}")
    return tuple(found[place] for place in range(clean.length))


def _paired(
    own: Sequence[int], other: Sequence[int], mean: Sequence[int], from_start: bool = False
) -> dict[int, tuple[int, ...]]:
    """The positions `own` by their counterparts among `other`; of those without one, `mean`."""
    if from_start:
        return {place: (other[i],) if i < len(other) else tuple(mean) for i, place in enumerate(own)}
    left = len(own) - len(other)
    return {place: (other[i - left],) if i >= left else tuple(mean) for i, place in enumerate(own)}
