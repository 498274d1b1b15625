"""Run a traced prompt again with units at other values: what changes directly, through what follows, and altogether.

`Freeze.everything`: attention patterns, norm denominators and what MLPs write keep their values of the traced run, so
that an effect is the direct one, along the paths that a row of the graph sums up. `Freeze.attention`: patterns alone
keep theirs. `Freeze.nothing`: the model runs as it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from acdc.artefacts.attribution.nodes import Node
from acdc.attribution.dictionary import Dictionary, UnitLayer
from acdc.attribution.frozen import FrozenRun, HeldNorm, mixed
from acdc.errors import InputError

AT_ONCE = 256  # units whose outputs are asked for together


class Freeze(StrEnum):
    """What keeps its value of the traced run."""

    everything = "everything"
    attention = "attention"
    nothing = "nothing"


@dataclass(frozen=True)
class Setting:
    """One unit at one position, set to a value."""

    layer: int
    position: int
    unit: int
    value: float

    @classmethod
    def of(cls, node: Node, value: float) -> "Setting":
        """A neuron or feature of a graph, set to a value."""
        return cls(node.layer, node.position, node.index, value)


class Edit(Protocol):
    """What becomes of what an MLP writes in B runs. `first`: the layer from which on anything changes."""

    first: int
    runs: int

    def __call__(self, layer: int, read: Tensor, written: Tensor) -> Tensor:
        """`written` [B, P, d] by the MLP (before its post-norm where the units write there) of what its units
        `read`."""


class SetUnits:
    """Units set to values, several sets at once: what a unit writes changes by its value less what it is in this
    run."""

    def __init__(self, dictionary: Dictionary, settings: Sequence[Sequence[Setting]]):
        self.dictionary, self.runs = dictionary, len(settings)
        self._by_layer: dict[int, list[tuple[int, Setting]]] = {}
        for number, some in enumerate(settings):
            for one in some:
                self._by_layer.setdefault(one.layer, []).append((number, one))
        self.first = min(self._by_layer, default=0)
        self._changes: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def __call__(self, layer: int, read: Tensor, written: Tensor) -> Tensor:
        units = self.dictionary.layers[layer]
        if layer in self._by_layer and units is not None:
            self._changes[layer] = self._change(layer, read)
        for number, (runs, positions, chosen, change) in self._changes.items():
            source = self.dictionary.layers[number]
            if source is not None and layer in source.targets:
                vectors = source.writes(chosen, layer) * change[:, None]
                written = written.index_put((runs, positions), vectors, accumulate=True)
        return written

    def _change(self, layer: int, read: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(runs, positions, units, by how much their activations change) of the settings of a layer."""
        units, settings = self.dictionary.layers[layer], self._by_layer[layer]
        assert units is not None
        device = read.device
        runs = torch.tensor([number for number, _ in settings], device=device)
        positions = torch.tensor([one.position for _, one in settings], device=device)
        chosen = torch.tensor([one.unit for _, one in settings], device=device)
        wanted = torch.tensor([one.value for _, one in settings], device=device, dtype=read.dtype)
        present = units.activations(read[runs, positions])
        return runs, positions, chosen, wanted - present[torch.arange(len(chosen), device=device), chosen]


class KeepUnits:
    """All units at fixed values but those that are kept, in B runs: `kept` and `others` have an entry per layer,
    boolean [B, P, F] and [P, F]. Where units do not make up all of what an MLP writes, the rest stays."""

    first = 0

    def __init__(self, dictionary: Dictionary, kept: Sequence[Tensor], others: Sequence[Tensor]):
        self.dictionary, self.kept, self.others = dictionary, kept, others
        self.runs = len(kept[0]) if kept else 1
        self._changes: dict[int, Tensor] = {}

    def __call__(self, layer: int, read: Tensor, written: Tensor) -> Tensor:
        for number in range(layer + 1):
            units = self.dictionary.layers[number]
            if units is not None and layer in units.targets:
                if number == layer:
                    self._changes[layer] = torch.where(
                        self.kept[layer], 0.0, self.others[layer] - units.activations(read)
                    )
                written = written + _written_by(units, self._changes[number], layer)
        return written


def _written_by(units: UnitLayer, values: Tensor, to: int) -> Tensor:
    """What units at values [B, P, F] write to a layer [B, P, d]. Where some have none, what they would write is not
    asked for, and that of the others some at a time: a dictionary may be larger than memory."""
    some = torch.nonzero(values.flatten(0, -2).any(0))[:, 0]
    if len(some) == units.size:
        return values @ units.writes(slice(None), to)
    total = values.new_zeros(1)
    for part in some.split(AT_ONCE):
        total = total + values[..., part] @ units.writes(part, to)
    return total


@torch.no_grad()
def run_edited(run: FrozenRun, dictionary: Dictionary, edit: Edit, freeze: Freeze) -> Tensor:
    """Logits [B, V] of the last position, before any soft-capping, of the traced prompt under an edit."""
    residual = run.layers[edit.first].residual.expand(edit.runs, -1, -1) if run.layers else run.final[None]
    for layer in range(edit.first, run.anatomy.n_layers):
        residual = _layer(run, dictionary, edit, freeze, layer, residual)
    held = freeze is Freeze.everything
    final = run.final_norm(residual) if held else HeldNorm.of(run.weights.final_norm, residual)(residual)
    return run.unembed(final[:, -1])


def set_units(run: FrozenRun, dictionary: Dictionary, settings: Sequence[Sequence[Setting]], freeze: Freeze) -> Tensor:
    """Logits [B, V] of the last position, before any soft-capping, with units set to values: a run for each set.

    Raises InputError for a unit that the model does not have at that place.
    """
    for one in (one for some in settings for one in some):
        _check(run, dictionary, one)
    return run_edited(run, dictionary, SetUnits(dictionary, settings), freeze)


def _check(run: FrozenRun, dictionary: Dictionary, one: Setting) -> None:
    there = 0 <= one.layer < len(dictionary.layers)
    units = dictionary.layers[one.layer] if there else None
    if units is None:
        raise InputError(
            f"there is no MLP in layer {one.layer}: the model has layers 0 to {len(dictionary.layers) - 1}"
        )
    if not 0 <= one.unit < units.size:
        raise InputError(f"{dictionary.kind} {one.unit} is not one of MLP {one.layer}'s: 0 to {units.size - 1:,}")
    if not 0 <= one.position < run.length:
        raise InputError(f"position {one.position} is not one of the prompt's: 0 to {run.length - 1}")


def _layer(run: FrozenRun, dictionary: Dictionary, edit: Edit, freeze: Freeze, layer: int, residual: Tensor) -> Tensor:
    held, weights, everything = run.layers[layer], run.weights.layers[layer], freeze is Freeze.everything
    if everything:
        middle = residual + held.attend(residual)
    else:
        normed = HeldNorm.of(weights.attention_norm, residual)(residual)
        patterns = held.patterns if freeze is Freeze.attention else run.patterns(layer, residual)
        written = mixed(weights, normed, patterns)
        post = weights.attention_post
        middle = residual + (written if post is None else written * post.scale(written))
    if weights.mlp is None:
        return middle
    entering = residual if run.anatomy.parallel else middle
    norm = held.mlp_norm if everything else HeldNorm.of(weights.mlp_norm, entering)
    normed = norm(entering)
    read = normed if dictionary.normed else entering
    if everything:
        return middle + _held_mlp(run, dictionary, edit, layer, read)
    written = weights.mlp(normed)
    written = edit(layer, read, written) if dictionary.inside else written
    written = written if weights.mlp_post is None else written * weights.mlp_post.scale(written)
    return middle + (written if dictionary.inside else edit(layer, read, written))


def _held_mlp(run: FrozenRun, dictionary: Dictionary, edit: Edit, layer: int, read: Tensor) -> Tensor:
    """What an MLP adds to the residual stream where it is held, but for what is edited, and for a skip."""
    held, units = run.layers[layer], dictionary.layers[layer]
    before = run.unit_input(layer, dictionary.normed)
    scale = held.mlp_scale if held.mlp_scale is not None else torch.ones_like(held.mlp_written)
    skipped = 0.0 if units is None or units.skip is None else (read - before) @ units.skip.T
    before = before.expand_as(read)
    if dictionary.inside:
        return edit(layer, before, (held.mlp_written + skipped).expand_as(read)) * scale
    return edit(layer, before, (held.mlp_written * scale + skipped).expand_as(read))
