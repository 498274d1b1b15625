"""A slot whose edges are being decided: what it reads without the next, the next two, ... of its undecided senders."""

import copy
from collections.abc import Sequence

from torch import Tensor

from acdc.search.acdc.state import CircuitState

STEP = 16  # sums over undecided senders are stored every so many of them


class OpenSlot:
    """One slot of a `CircuitState`, its senders in the order in which they are decided.

    It reads the ablated stream, what its kept senders change of that, and what the undecided ones do. Each sum is made
    of the same terms in the same order however many senders are tried at once.
    """

    def __init__(self, state: CircuitState, reader: int, senders: Sequence[int], removes: bool):
        """`removes`: whether an edge has been removed already, so that the senders are not all."""
        self.state, self.reader, self.senders, self.removes = state, reader, senders, removes
        self._place = {sender: place for place, sender in enumerate(senders)}
        self._kept = state.stream(reader)
        self._next = 0  # the place of the first undecided sender
        self._stored: list[Tensor | None] = []  # sums over the senders from place 0, STEP, 2 * STEP, ... to the end

    def fork(self, state: CircuitState) -> "OpenSlot":
        """The same in another state."""
        other = copy.copy(self)
        other.state = state
        return other

    def without(self, senders: Sequence[int], counts: Sequence[int], kept: Sequence[int] = ()) -> Tensor:
        """Inputs without the first so many (`counts`, ascending) of the next undecided senders: [counts, N, Q, d].
        Those at the places `kept` stay in all that more than they are taken out of."""
        first = self._place[senders[0]]
        out = self._kept.new_empty((len(counts), *self._kept.shape))
        reached = first + counts[-1]
        later = self._from(reached)
        for row, count in reversed(list(enumerate(counts))):
            if reached - first - count > STEP:
                reached = first + count
                later = self._from(reached)
            while reached > first + count:
                reached -= 1
                later = self._add(reached, later)
            out[row] = 0 if later is None else later
        stays, waiting = self._kept, list(kept)
        for row, count in enumerate(counts):
            while waiting and waiting[0] + 1 < count:
                stays = stays + self._change(senders[waiting.pop(0)])
            out[row] += stays
        return out

    def remove(self, count: int) -> None:
        """Record that so many of the next undecided edges are removed."""
        self.removes = True
        self._next += count

    def keep(self, sender: int) -> None:
        """Record that the next undecided edge is kept."""
        self._kept = self._kept + self._change(sender)
        self._next += 1

    def present(self) -> Tensor:
        """What the slot reads now, [N, Q, d]."""
        later = self._from(self._next)
        return self._kept if later is None else self._kept + later

    def _change(self, sender: int) -> Tensor:
        return self.state.change(sender, self.state.need(self.reader))

    def _add(self, place: int, later: Tensor | None) -> Tensor:
        change = self._change(self.senders[place])
        return change if later is None else change + later

    def _from(self, place: int) -> Tensor | None:
        """The sum over the senders from a place to the end; None after the last."""
        if place >= len(self.senders):
            return None
        if not self._stored:
            self._stored = self._sum_up()
        above = -(-place // STEP)
        total = self._stored[above]
        for earlier in range(min(above * STEP, len(self.senders)) - 1, place - 1, -1):
            total = self._add(earlier, total)
        return total

    def _sum_up(self) -> list[Tensor | None]:
        count, total = len(self.senders), None
        stored: list[Tensor | None] = [None] * (-(-count // STEP) + 1)
        for place in range(count - 1, -1, -1):
            total = self._add(place, total)
            if place % STEP == 0:
                stored[place // STEP] = total
        return stored
