"""A slot whose edges are being decided: what it reads without the next, the next two, ... of its undecided senders."""

import copy
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from acdc.execution.components import upload
from acdc.search.acdc.route import Route
from acdc.search.acdc.state import CircuitState

STEP = 16  # sums over undecided senders are stored every so many of them


class OpenSlot:
    """One slot of a `CircuitState`, its senders in the order in which they are decided.

    It reads the ablated stream, what its kept senders change of that, and what the undecided ones do. Where nothing of
    these is left it reads exactly nothing more: no sum takes off what it has added.
    """

    def __init__(self, state: CircuitState, reader: int, senders: Sequence[int], removes: bool):
        """`removes`: whether an edge has been removed already, so that the senders are not all."""
        self.state, self.reader, self.senders, self.removes = state, reader, senders, removes
        self._place = {sender: place for place, sender in enumerate(senders)}
        self._kept = state.stream(reader)
        self._next = 0  # the place of the first undecided sender
        self._near: tuple[int, int, Tensor] | None = None  # changes of the senders at some places

    @cached_property
    def route(self) -> Route:
        """What a change of it reaches; nothing that is decided here alters that."""
        return Route(self.state, [self.reader])

    def fork(self, state: CircuitState) -> "OpenSlot":
        """The same in another state."""
        other = copy.copy(self)
        other.state = state
        vars(other).pop("route", None)
        return other

    def without(self, senders: Sequence[int], counts: Sequence[int], kept: Sequence[int] = ()) -> Tensor:
        """Inputs without the first so many (`counts`, ascending) of the next undecided senders: [counts, N, Q, d].
        Those at the places `kept` stay in all that more than they are taken out of."""
        first = self._place[senders[0]]
        above, later = self._above(first + counts[-1])
        rest = self._kept if later is None else self._kept + later
        if above == first:  # nothing is removed, and the sum from there is stored
            return rest.expand(len(counts), *rest.shape)
        start, changes = self._changes(first, above)
        stays = np.arange(start, above) >= first + np.array(counts)[:, None]
        for place in kept:
            stays[:, first + place - start] |= np.array(counts) > place + 1
        if not stays.any():
            return rest.expand(len(counts), *rest.shape)
        numbers = upload(stays.astype(np.float32), rest.device).to(rest.dtype)
        return torch.addmm(rest.flatten()[None], numbers, changes.flatten(1)).view(len(counts), *rest.shape)

    def remove(self, count: int) -> None:
        """Record that so many of the next undecided edges are removed."""
        self.removes = True
        self._next += count

    def keep(self, sender: int) -> None:
        """Record that the next undecided edge is kept."""
        self._kept = self._kept + self.state.change(sender, self.state.need(self.reader))
        self._next += 1

    def present(self) -> Tensor:
        """What the slot reads now, [N, Q, d]."""
        above, later = self._above(self._next)
        rest = self._kept if later is None else self._kept + later
        if above == self._next:
            return rest
        start, changes = self._changes(self._next, above)
        return rest + changes[self._next - start :].sum(0)

    def _changes(self, first: int, above: int) -> tuple[int, Tensor]:
        """Changes of the senders [senders, N, Q, d] up to a place whose sum is stored, from the last such place before
        the `first` that is asked for, and which that is: so that a pass multiplies the same whatever came before."""
        start = first // STEP * STEP
        if self._near is None or self._near[:2] != (start, above):
            found = self.state.changes(self.senders[start:above], self.state.need(self.reader))
            self._near = start, above, found
        return start, self._near[2]

    def _above(self, place: int) -> tuple[int, Tensor | None]:
        """(the first place from there on whose sum is stored, the sum over the senders from it to the end)"""
        number = -(-place // STEP)
        return min(number * STEP, len(self.senders)), self._stored[number]

    @cached_property
    def _stored(self) -> list[Tensor | None]:
        """Sums over the senders from place 0, STEP, 2 * STEP, ... to the end; None after the last."""
        count, need, total = len(self.senders), self.state.need(self.reader), None
        stored: list[Tensor | None] = [None] * (-(-count // STEP) + 1)
        for number in reversed(range(len(stored) - 1)):
            some = self.senders[number * STEP : (number + 1) * STEP]
            part = self.state.changes(some, need).sum(0)
            total = part if total is None else part + total
            stored[number] = total
        return stored
