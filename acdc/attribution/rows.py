"""What every source adds to the values of targets: one sweep from the logits down, many targets at once.

1. A target starts with the vector that it reads the residual stream with, at its layer and position.
2. At each layer, the gradients so far are contracted with what the MLP's units write there, with what is left over of
   the MLP's output, and with its constants; they do not go through the MLP, whose units are nodes (a skip is linear and
   lets them through).
3. They go back through attention, whose patterns are held, and add to what goes past it.
4. At the bottom they are contracted with the embeddings.

A row so sums to its target's value, biases included (circuit-tracer has no nodes for positions and biases).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.attribution.dictionary import Dictionary, UnitLayer
from acdc.attribution.frozen import FrozenRun, HeldNorm
from acdc.execution.products import product


@dataclass(frozen=True)
class ActiveUnits:
    """Units of one layer that are sources: `positions`, `units` and `values` [k] in the order of position, then
    unit."""

    positions: Tensor
    units: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.units)

    def pick(self, which: Tensor) -> "ActiveUnits":
        return ActiveUnits(self.positions[which], self.units[which], self.values[which])


@dataclass(frozen=True)
class Targets:
    """What rows are for: the layer [B] whose MLP reads (the number of layers for logits), the position [B], the vector
    [B, d] that is read with, and what does not depend on the residual stream [B]."""

    layers: Tensor
    positions: Tensor
    vectors: Tensor
    constants: Tensor

    def __len__(self) -> int:
        return len(self.layers)

    def pick(self, which: Tensor) -> "Targets":
        return Targets(self.layers[which], self.positions[which], self.vectors[which], self.constants[which])


@dataclass(frozen=True)
class Columns:
    """The order of a row's sources: units layer by layer, what is left over by layer and position, tokens, position
    embeddings where they are learned, one column for all biases, one for what MLPs write at the first token."""

    units: tuple[int, ...]  # per layer
    layers: int
    length: int
    positions: bool

    @property
    def remainders(self) -> int:
        return sum(self.units)

    @property
    def tokens(self) -> int:
        return self.remainders + self.layers * self.length

    @property
    def bias(self) -> int:
        return self.total - 2

    @property
    def total(self) -> int:
        return self.tokens + self.length * (2 if self.positions else 1) + 2

    def of_layer(self, layer: int) -> slice:
        start = sum(self.units[:layer])
        return slice(start, start + self.units[layer])


class Sources:
    """A held run with the units of a dictionary as its sources and the rest of what it writes: rows of targets.

    `active` has one entry per layer. `written` [P, d] of each layer: what units add to the residual stream there;
    `rest`: what they leave of the MLP's output. `constant_first`: what MLPs write at the first token is one source and
    no unit's, as attention makes a sink of it (Sun et al. 2024, arXiv 2402.17762).
    """

    def __init__(
        self, run: FrozenRun, dictionary: Dictionary, active: Sequence[ActiveUnits], constant_first: bool = False
    ):
        self.run, self.dictionary, self.active, self.constant_first = run, dictionary, active, constant_first
        shape = run.anatomy
        self.columns = Columns(tuple(map(len, active)), shape.n_layers, run.length, len(run.embedded) > 1)
        self._writers: list[list[tuple[int, UnitLayer]]] = [[] for _ in run.layers]
        for number, units in enumerate(dictionary.layers):
            if units is not None:
                for to in units.targets:
                    self._writers[to].append((number, units))
        with torch.no_grad():
            self.attention_constants = [layer.attend(torch.zeros_like(run.final)[None])[0] for layer in run.layers]
            self.written = [self._sum_of_units(layer) for layer in range(shape.n_layers)]
            self.mlp_constants, self.rest = map(list, zip(*map(self._left_over, range(shape.n_layers)), strict=True))
            self.first = [rest[0].clone() * constant_first for rest in self.rest]
            for rest in self.rest if constant_first else ():
                rest[0] = 0.0

    def scale(self, layer: int) -> Tensor | None:
        """By what the units' outputs are multiplied on their way to the residual stream, [P, d]."""
        return self.run.layers[layer].mlp_scale if self.dictionary.inside else None

    def read_norm(self, layer: int) -> HeldNorm:
        """The norm between the residual stream and what the units read."""
        return self.run.layers[layer].mlp_norm if self.dictionary.normed else HeldNorm(None, None)

    def unit_input(self, layer: int) -> Tensor:
        """What the units of a layer read in this run, [P, d]."""
        return self.run.unit_input(layer, self.dictionary.normed)

    def targets(self, layer: int, picked: ActiveUnits) -> Targets:
        """Units as targets."""
        units = self.dictionary.layers[layer]
        assert units is not None  # else there are none to pick
        norm = self.read_norm(layer)
        vectors, constants = units.reads(self.unit_input(layer)[picked.positions], picked.units)
        if norm.bias is not None:
            constants = constants + vectors @ norm.bias
        layers = torch.full_like(picked.positions, layer)
        return Targets(layers, picked.positions, norm.back(vectors, picked.positions), constants)

    @torch.no_grad()
    def rows(self, targets: Targets) -> Tensor:
        """What each source adds to each target's value, [B, columns]."""
        order = torch.argsort(targets.layers, descending=True, stable=True)
        found = self._sweep(targets.pick(order))
        return torch.empty_like(found).index_copy_(0, order, found)

    def _sweep(self, targets: Targets) -> Tensor:
        """Rows of targets that come from the last layer to the first: all that are in the sweep are a beginning."""
        run, columns = self.run, self.columns
        length = run.length if run.anatomy.bidirectional else int(targets.positions.max()) + 1
        gradient = run.final.new_zeros((len(targets), length, run.anatomy.d_model))
        out = run.final.new_zeros((len(targets), columns.total))
        out[:, columns.bias] = targets.constants
        start = self._enter(gradient, targets, 0, run.anatomy.n_layers)
        for layer in reversed(range(run.anatomy.n_layers)):
            inside = gradient[:start]
            self._contract_mlp(layer, inside, out[:start])
            past = self._skip_back(layer, inside)
            if not run.anatomy.parallel:
                inside += past
                start = self._enter(gradient, targets, start, layer)
                inside = gradient[:start]
            out[:start, columns.bias] += torch.einsum("bqd,qd->b", inside, self.attention_constants[layer][:length])
            inside += run.layers[layer].attend_back(inside)
            if run.anatomy.parallel:
                inside += past
                start = self._enter(gradient, targets, start, layer)
        for kind, embedded in enumerate(run.embedded):
            first = columns.tokens + kind * columns.length
            out[:, first : first + length] = torch.einsum("bqd,qd->bq", gradient, embedded[:length])
        return out

    def _enter(self, gradient: Tensor, targets: Targets, start: int, layer: int) -> int:
        """Put the targets that read at a layer, from `start` on, into the gradients; gives where they end."""
        end = start + int((targets.layers[start:] == layer).sum())
        which = torch.arange(start, end, device=gradient.device)
        gradient[which, targets.positions[start:end]] += targets.vectors[start:end]
        return end

    def _contract_mlp(self, layer: int, gradient: Tensor, out: Tensor) -> None:
        """Add to rows `out` what an MLP's units, its rest and its constants add, by gradients [B, q, d] at what it adds
        to the residual stream."""
        if not len(gradient):
            return
        length, columns = gradient.shape[1], self.columns
        out[:, columns.bias] += torch.einsum("bqd,qd->b", gradient, self.mlp_constants[layer][:length])
        out[:, columns.bias + 1] += gradient[:, 0] @ self.first[layer]
        first = columns.remainders + layer * columns.length
        out[:, first : first + length] = torch.einsum("bqd,qd->bq", gradient, self.rest[layer][:length])
        scale = self.scale(layer)
        gradient = gradient if scale is None else gradient * scale[:length]
        for number, units in self._writers[layer]:
            out[:, columns.of_layer(number)] += self._contract_units(units, self.active[number], layer, gradient)

    def _contract_units(self, units: UnitLayer, active: ActiveUnits, layer: int, gradient: Tensor) -> Tensor:
        """[B, k]: units that are all there are contracted at once, others position by position."""
        length, width = gradient.shape[1:]
        found, start = gradient.new_zeros((len(gradient), len(active))), int(self.constant_first)
        if len(active) == (self.run.length - start) * units.size:
            every = product(gradient[:, start:].reshape(-1, width), units.writes(slice(None), layer).T)
            every = every.view(len(gradient), -1)
            found[:, : every.shape[1]] = every * active.values[: every.shape[1]]
            return found
        for position in range(length):
            here = torch.nonzero(active.positions == position)[:, 0]
            if len(here):
                wrote = units.writes(active.units[here], layer) * active.values[here, None]
                found[:, here] = gradient[:, position] @ wrote.T
        return found

    def _skip_back(self, layer: int, gradient: Tensor) -> Tensor | float:
        """What goes back through a skip to the residual stream that the MLP reads."""
        units = self.dictionary.layers[layer]
        if units is None or units.skip is None:
            return 0.0
        scale, length = self.scale(layer), gradient.shape[1]
        gradient = gradient if scale is None else gradient * scale[:length]
        return self.read_norm(layer).back(gradient @ units.skip, slice(length))

    def _sum_of_units(self, layer: int) -> Tensor:
        """What all active units add to the residual stream at a layer, [P, d]."""
        total = torch.zeros_like(self.run.final)
        for number, units in self._writers[layer]:
            active = self.active[number]
            for position in range(self.run.length):
                here = active.positions == position
                total[position] += active.values[here] @ units.writes(active.units[here], layer)
        scale = self.scale(layer)
        return total if scale is None else total * scale

    def _left_over(self, layer: int) -> tuple[Tensor, Tensor]:
        """(what an MLP adds whatever it reads, what its units leave of its output), [P, d] each."""
        held, units = self.run.layers[layer], self.dictionary.layers[layer]
        out = held.mlp_written if held.mlp_scale is None else held.mlp_written * held.mlp_scale
        constant = torch.zeros_like(out)
        if units is None:
            return constant, out  # no MLP, so that nothing is left over
        if units.constant is not None:
            constant = constant + units.constant
        read = torch.zeros_like(out)
        if units.skip is not None:
            read = self.unit_input(layer) @ units.skip.T
            bias = self.read_norm(layer).bias
            offset = 0.0 if bias is None else bias @ units.skip.T
            constant, read = constant + offset, read - offset
        scale = self.scale(layer)
        constant, read = (x if scale is None else x * scale for x in (constant, read))
        return constant, out - self.written[layer] - constant - read
