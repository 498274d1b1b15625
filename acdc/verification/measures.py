"""What every verification measures of a circuit: its metrics, random circuits beside it, and each of its parts."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.removal import Removal
from acdc.artefacts.verification.report import Measure, RandomCircuits, RemovalSample
from acdc.behaviour.behaviour import Behaviour
from acdc.graph.masks import EdgeMask, Mask, concatenate
from acdc.graph.units import Choice
from acdc.progress import Advance, nobody
from acdc.search.choosing import Ranking
from acdc.task.metrics import NOISE, Metric, recovered_fraction
from acdc.verification.budget import STRONGEST
from acdc.verification.full_verification import measured_metrics
from acdc.verification.intervals import Bootstrap, mean, wilson
from acdc.verification.removals import without_each
from acdc.verification.sampled_units import SampledUnits

CHUNK = 32  # circuits that are measured at a time where they are run whole


def measure_circuit(behaviour: Behaviour, ablated: Mask, own: Mask, advance: Advance = nobody) -> dict[str, Measure]:
    """Every metric that the rows have answers for, of a circuit given by all that is not in it and by what is its
    own."""
    metrics = measured_metrics(behaviour)
    runs = [concatenate([ablated, own]), EdgeMask(np.ones((1, behaviour.graph.n_edges), dtype=bool))]
    if isinstance(own, EdgeMask):  # then one pass over the rows does
        runs = [concatenate(runs)]
    means = np.concatenate([behaviour.measure(removed, metrics, advance).mean(axis=2) for removed in runs], axis=1)
    plain = behaviour.plain(metrics).mean(axis=1)
    corrupted: list[float | None] = [None] * len(metrics)
    if behaviour.has_corrupted:
        corrupted = behaviour.plain(metrics, corrupted=True).mean(axis=1).tolist()
    return measures_of(metrics, np.stack([plain, *means.T]), corrupted)


def measures_of(metrics: Sequence[Metric], means: np.ndarray, corrupted: Sequence[float | None]) -> dict[str, Measure]:
    """By the metrics' names, from means [4, metrics] of full model, circuit, complement and empty circuit, and those on
    corrupted prompts, None where there are none."""
    return {
        metric.name: Measure(
            full=full,
            circuit=circuit,
            complement=complement,
            empty=empty,
            corrupted=outside,
            faithfulness=recovered_fraction(circuit, full, empty),
        )
        for metric, (full, circuit, complement, empty), outside in zip(
            metrics, means.T.tolist(), corrupted, strict=True
        )
    }


def random_circuits(behaviour: Behaviour, circuit: Circuit, count: int, advance: Advance = nobody) -> RandomCircuits:
    """So many random rankings cut where pruning leaves at most as many edges as the effective circuit has; for a
    circuit of other units, as many random ones. The circuit is not empty."""
    generator = np.random.default_rng(circuit.seed)
    chosen = [_random_choice(circuit, generator) for _ in range(count)]
    values = behaviour.measure(concatenate([choice.ablated for choice in chosen]), advance=advance)[0].mean(axis=1)
    full, empty = float(behaviour.full().mean()), float(behaviour.empty().mean())
    return RandomCircuits(
        edges=[int(choice.edges.sum()) for choice in chosen],
        faithfulness=[recovered_fraction(value, full, empty) for value in values.tolist()],
        rows=len(behaviour.rows),
    )


def _random_choice(circuit: Circuit, generator: np.random.Generator) -> Choice:
    units = circuit.units
    if units.are_edges:
        return Ranking(units, generator.random(units.shape)).by_edges(circuit.size)
    return units.choose(units.drawn_like(circuit.listed, generator))


def remove_each(
    behaviour: Behaviour,
    circuit: Circuit,
    places: Sequence[int],
    tolerance: float,
    known: Mapping[str, Removal] | None = None,
    advance: Advance = nobody,
) -> list[Removal]:
    """The circuit without each of some of its parts, given by their places, in turn. A part is needed if the metric
    gets worse by more than `tolerance` without it. `known`: what has been measured on the same rows before."""
    known = known or {}
    ids = [circuit.parts[place].id for place in places]
    asked = [name for name in ids if name not in known]
    base = behaviour.measure(circuit.ablated)[0, 0]
    noise = NOISE * abs(float(behaviour.full().mean() - behaviour.empty().mean()))
    bootstrap, sign = Bootstrap(SampledUnits.of(behaviour.rows), circuit.seed), behaviour.metric.sign
    found = {name: old.model_copy(update={"hurts": sign * old.change > tolerance}) for name, old in known.items()}
    for names, values in _without(behaviour, circuit, asked, advance):
        for name, change in zip(names, values - base, strict=True):
            found[name] = removal_of(name, change, sign, noise, tolerance, bootstrap)
    return [found[name] for name in ids]


def removal_of(
    name: str, change: np.ndarray, sign: float, noise: float, tolerance: float, bootstrap: Bootstrap
) -> Removal:
    """What a circuit's metric, of that `sign`, changes by without a part, [rows]. On rows where it gets worse by more
    than `noise`, it is worse."""
    worse = sign * change
    return Removal(
        id=name,
        change=float(change.mean()),
        rows_worse=float((worse > noise).mean()),
        hurts=bool(worse.mean() > tolerance),
        worse=bootstrap.of(mean, worse),
    )


def _without(
    behaviour: Behaviour, circuit: Circuit, names: Sequence[str], advance: Advance
) -> Iterator[tuple[Sequence[str], np.ndarray]]:
    """(parts by their ids, the metric without each of them [those parts, rows]), some at a time."""
    graph = circuit.graph
    if circuit.units.are_edges:
        edges = np.array([graph.index[name] for name in names], dtype=int)
        for some, values in without_each(behaviour, circuit.kept, edges, advance):
            yield [graph.names[edge] for edge in some], values
        return
    for start in range(0, len(names), CHUNK):
        some_names = names[start : start + CHUNK]
        removed = concatenate([circuit.ablated_without(name) for name in some_names])
        yield some_names, behaviour.measure(removed, advance=advance)[0]


def sample_of(parts: int, removals: Sequence[Removal], strongest: Sequence[str], rows: int) -> RemovalSample:
    """What share of so many parts of a circuit is needed, from those that were removed: the `strongest`, of which all
    were, and a random sample of the others."""
    first = set(strongest)
    hits = sum(removal.hurts for removal in removals)
    if len(removals) == parts:
        share = hits / parts if parts else None
        needed = Interval(low=share, value=share, high=share)
    else:
        sure = sum(removal.hurts for removal in removals if removal.id in first)
        drawn, others = len(removals) - len(first), parts - len(first)
        of_others = wilson(hits - sure, drawn) if drawn else Interval(low=0.0, value=None, high=1.0)
        ends = (of_others.low, of_others.value, of_others.high)
        low, value, high = (None if end is None else (sure + end * others) / parts for end in ends)
        needed = Interval(low=low, value=value, high=high)
    return RemovalSample(parts=parts, measured=len(removals), strongest=min(STRONGEST, parts), rows=rows, needed=needed)
