"""Verify a traced graph by running the model again: with the kept nodes alone, without them, and with single units set
to zero."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node
from acdc.artefacts.attribution.verification import GraphVerification, KeptAlone, UnitEffect
from acdc.attribution.frozen import FrozenRun
from acdc.attribution.interventions import Freeze, KeepUnits, Setting, run_edited, set_units
from acdc.attribution.trace import Traced
from acdc.errors import InputError
from acdc.progress import Progress, silent
from acdc.words import count_of

PROMPTS = 8  # of random tokens, for the mean values of units
DRAWS = 5  # of random units, as many as are kept
STRONGEST, OTHERS = 16, 8  # units whose effects are measured
MOST_NUMBERS = 2**26  # activations of the runs that are made at once

Others = Literal["mean", "zero", "corrupted"]
_USUAL: tuple[Others, ...] = ("mean", "zero")
Masks = list[Tensor]  # of kept units, boolean [P, F] for each layer


def verify_graph(
    traced: Traced,
    pruning: Pruning,
    seed: int = 0,
    progress: Progress = silent,
    corrupted: Sequence[int] | None = None,
) -> GraphVerification:
    """Measure what of the first logit of a graph its kept nodes carry, and the effects of single units.

    `seed` draws prompts and units. `corrupted`: token ids of another prompt, as long, at whose values ablated units are
    too. Raises InputError where it does not fit.
    """
    generator = np.random.default_rng(seed)
    kept = traced.graph.kept(pruning)
    other = None if corrupted is None else _other_run(traced, corrupted)
    with progress("verifying", 3 if other is None else 4, "steps") as advance:
        alone = []
        for others in _USUAL:
            alone.append(_kept_alone(traced, kept, others, generator))
            advance(1)
        effects = unit_effects(traced, _sample(traced, kept, generator))
        advance(1)
        if other is not None:  # last, so that it changes nothing that the seed draws for the others
            alone.append(_kept_alone(traced, kept, "corrupted", generator, activations(traced, other)))
            advance(1)
    total = [effect.total for effect in effects]
    return GraphVerification(
        logit=traced.graph.logits[0].id,
        kept_alone=tuple(alone),
        effects=effects,
        rank_held=spearman(total, [effect.attention_held for effect in effects]),
        rank_free=spearman(total, [effect.nothing_held for effect in effects]),
    )


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Rank correlation, tied values at their mean rank; None where one of them does not vary."""
    ranks = [np.searchsorted(np.sort(x), x, "left") + np.searchsorted(np.sort(x), x, "right") for x in (one, other)]
    if len(one) < 2 or any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks)[0, 1])


def unit_effects(traced: Traced, nodes: Sequence[Node]) -> tuple[UnitEffect, ...]:
    """What setting each of some units to zero takes off the first logit of a graph."""
    if not nodes:
        return ()
    graph, settings = traced.graph, [[Setting.of(node, 0.0)] for node in nodes]
    direct, total = graph.weights[len(graph.units)], graph.relevance(0)
    places = [graph.index[node.id] for node in nodes]
    measured = (traced_logit(traced, traced.run.raw) - _set(traced, settings, freeze) for freeze in Freeze)
    columns = zip(direct[places].tolist(), total[places].tolist(), *(one.tolist() for one in measured), strict=True)
    return tuple(
        UnitEffect(
            id=node.id,
            direct=by_graph,
            measured_direct=everything,
            total=along_all,
            attention_held=held,
            nothing_held=free,
        )
        for node, (by_graph, along_all, everything, held, free) in zip(nodes, columns, strict=True)
    )


def _set(traced: Traced, settings: Sequence[Sequence[Setting]], freeze: Freeze) -> Tensor:
    """A graph's first logit under each of several settings."""
    sizes = [units.size for units in traced.sources.dictionary.layers if units is not None]
    size = max(1, min(64, MOST_NUMBERS // (traced.run.length * max(sizes, default=1))))
    chunks = (settings[start : start + size] for start in range(0, len(settings), size))
    dictionary = traced.sources.dictionary
    return torch.cat([traced_logit(traced, set_units(traced.run, dictionary, some, freeze)) for some in chunks])


def traced_logit(traced: Traced, logits: Tensor) -> Tensor:
    """A graph's first logit in logits [..., V]: less the mean of all, or less the one that it is compared with."""
    node = traced.graph.logits[0]
    return logits[..., node.index] - (logits.mean(-1) if node.minus < 0 else logits[..., node.minus])


def _sample(traced: Traced, kept: Sequence[Node], generator: np.random.Generator) -> list[Node]:
    """The kept units of most influence, and some of the others."""
    graph = traced.graph
    units = [node for node in kept if node.is_unit]
    ordered = sorted(units, key=lambda node: -graph.influence[graph.index[node.id]])
    rest = ordered[STRONGEST:]
    drawn = generator.permutation(len(rest))[:OTHERS]
    return ordered[:STRONGEST] + [rest[place] for place in sorted(drawn)]


def _other_run(traced: Traced, tokens: Sequence[int]) -> FrozenRun:
    if len(tokens) != traced.run.length:
        raise InputError(
            f"the corrupted prompt has {count_of(len(tokens), 'token')} and the prompt {traced.run.length}: give one "
            "of as many, so that each neuron has a value at the same place"
        )
    return FrozenRun(traced.run.model, torch.tensor(list(tokens), device=traced.run.tokens.device))


def _kept_alone(
    traced: Traced,
    kept: Sequence[Node],
    others: Others,
    generator: np.random.Generator,
    given: Sequence[Tensor] | None = None,
) -> KeptAlone:
    """`given`: the values of what is ablated, where they are neither means nor zeros."""
    units = _units_of(traced, kept)
    drawn = [_random_like(traced, units, generator) for _ in range(DRAWS)]
    zeros = [torch.zeros_like(mask, dtype=traced.run.final.dtype) for mask in units]
    values = given or (mean_activations(traced, generator) if others == "mean" else zeros)
    runs = [_empty(traced), _with_remainders(units, kept), units, *drawn, *map(_all_but, (units, *drawn))]
    none, graph, alone, *more = _keeping(traced, runs, values)
    return KeptAlone(
        others=others,
        count=sum(node.is_unit for node in kept),
        full=float(traced_logit(traced, traced.run.raw)),
        none=none,
        graph=graph,
        units=alone,
        without=more[DRAWS],
        random_units=tuple(more[:DRAWS]),
        random_without=tuple(more[DRAWS + 1 :]),
    )


def _all_but(masks: Masks) -> Masks:
    return [~mask for mask in masks]


def _keeping(traced: Traced, runs: Sequence[Masks], values: Sequence[Tensor]) -> list[float]:
    """A graph's first logit in runs that keep these units each, with all others at fixed values."""
    dictionary, fixed, found = traced.sources.dictionary, _fixed(traced), []
    largest = max((mask.numel() for mask in fixed), default=1)
    size = max(1, MOST_NUMBERS // max(1, largest))
    for start in range(0, len(runs), size):
        some = runs[start : start + size]
        masks = [torch.stack([run[layer] | always for run in some]) for layer, always in enumerate(fixed)]
        edit = KeepUnits(dictionary, masks, values)
        found += traced_logit(traced, run_edited(traced.run, dictionary, edit, Freeze.nothing)).tolist()
    return found


def _empty(traced: Traced) -> Masks:
    sizes = [0 if units is None else units.size for units in traced.sources.dictionary.layers]
    device = traced.run.final.device
    return [torch.zeros(traced.run.length, size, dtype=torch.bool, device=device) for size in sizes]


def _fixed(traced: Traced) -> Masks:
    """What is never ablated."""
    masks = _empty(traced)
    for mask in masks if traced.sources.constant_first else ():
        mask[0] = True
    return masks


def _units_of(traced: Traced, kept: Sequence[Node]) -> Masks:
    masks = _empty(traced)
    for node in kept:
        if node.is_unit:
            masks[node.layer][node.position, node.index] = True
    return masks


def _with_remainders(units: Masks, kept: Sequence[Node]) -> Masks:
    masks = [mask.clone() for mask in units]
    for node in kept:
        if node.kind in REMAINDERS:
            masks[node.layer][node.position] = True
    return masks


def _random_like(traced: Traced, units: Masks, generator: np.random.Generator) -> Masks:
    """As many units at each place, drawn at random."""
    masks = _empty(traced)
    for mask, like in zip(masks, units, strict=True):
        for position, count in enumerate(like.sum(1).tolist()):
            chosen = generator.choice(mask.shape[1], count, replace=False) if count else []
            mask[position, torch.as_tensor(chosen, dtype=torch.long, device=mask.device)] = True
    return masks


@torch.no_grad()
def mean_activations(traced: Traced, generator: np.random.Generator) -> list[Tensor]:
    """Mean activations [P, F] of the units of each layer on prompts like the traced one, with all tokens but the first
    drawn at random."""
    run = traced.run
    drawn = generator.integers(0, run.anatomy.d_vocab, (PROMPTS, run.length))
    drawn[:, 0] = int(run.tokens[0])
    means = [torch.zeros_like(mask, dtype=run.final.dtype) for mask in _empty(traced)]
    for tokens in torch.from_numpy(drawn).to(run.tokens.device):
        for mean, values in zip(means, activations(traced, FrozenRun(run.model, tokens)), strict=True):
            mean += values / PROMPTS
    return means


@torch.no_grad()
def activations(traced: Traced, other: FrozenRun) -> list[Tensor]:
    """Activations [P, F] of the units of each layer in another run."""
    dictionary = traced.sources.dictionary
    found = [torch.zeros_like(mask, dtype=traced.run.final.dtype) for mask in _empty(traced)]
    for layer, units in enumerate(dictionary.layers):
        if units is not None:
            found[layer] = units.activations(other.unit_input(layer, dictionary.normed))
    return found
