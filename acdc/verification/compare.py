"""Two circuits of one model side by side: what they share, and how faithful each, both and what they share are."""

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.comparison import Comparison, Overlap
from acdc.artefacts.verification.interval import Interval
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.graph.masks import concatenate
from acdc.graph.units import EdgeUnits
from acdc.model.load import Model
from acdc.task.metrics import METRICS
from acdc.task.rows import Task
from acdc.verification.binding import behaviour_of, check_same
from acdc.verification.intervals import Bootstrap, recovered
from acdc.verification.sampled_units import SampledUnits


def compare(model: Model, task: Task, first: Circuit, second: Circuit) -> Comparison:
    """Which edges two circuits of a task share, and how faithful each is, both together, and what they share.

    Faithfulness is measured by the metric and under the ablation of the first, on the rows that neither discovery used.
    Raises InputError for circuits of different models, tasks or graphs.
    """
    for circuit in (first, second):
        check_same(model, task, circuit)
        if not circuit.units.keep_whole_edges and circuit.units.parts is not circuit.level:
            raise InputError(
                f"a circuit of {circuit.level} keeps parts of what edges carry: only circuits of whole edges, of edges "
                "at spans, or of neurons are compared"
            )
    if first.spans != second.spans:
        raise InputError("one circuit says at which positions or spans its edges are, and the other does not")
    if first.mlp_width != second.mlp_width:
        raise InputError("one circuit consists of neurons, and the other does not")
    if first.edges_total != second.edges_total or first.graph.names != second.graph.names:
        raise InputError(
            "the circuits are of different graphs: one splits embeddings or tests within-head edges, the other does not"
        )
    edges = [set(_scores(circuit)) for circuit in (first, second)]
    nodes = [_nodes(circuit) for circuit in (first, second)]
    theirs = set(second.task.verification)
    rows = [row for row in first.task.verification if row in theirs]
    return Comparison(
        edges=Overlap.of(*edges),
        nodes=Overlap.of(*nodes),
        correlation=_correlation(first, second),
        metric=first.metric,
        ablation=first.ablation,
        rows=len(rows),
        faithfulness=_faithfulness(model, task, first, second, rows) if rows else {},
        only_first=sorted(edges[0] - edges[1]),
        only_second=sorted(edges[1] - edges[0]),
    )


def _scores(circuit: Circuit) -> dict[str, float]:
    """Its edges with their scores; at spans, those there, and of neurons all units."""
    units = circuit.units
    return {edge.id: edge.score for edge in (circuit.effective if units.keep_whole_edges else circuit.members)}


def _nodes(circuit: Circuit) -> set[str]:
    """Its components and slots; at spans, those there."""
    if not circuit.units.count_as_edges or circuit.units.keep_whole_edges:
        return set(circuit.to_networkx().nodes)
    return {end for edge in circuit.members for end in edge.id.split("->")}


def _correlation(first: Circuit, second: Circuit) -> float | None:
    ours, theirs = _scores(first), _scores(second)
    shared = sorted(ours.keys() & theirs.keys())
    pairs = np.array([[ours[name], theirs[name]] for name in shared])
    alike = (first.score_kind, first.metric) == (second.score_kind, second.metric)
    if not alike or len(shared) < 3 or (np.ptp(pairs, axis=0) == 0).any():
        return None
    return float(np.corrcoef(pairs.T)[0, 1])


def _faithfulness(model: Model, task: Task, first: Circuit, second: Circuit, rows: list[str]) -> dict[str, Interval]:
    if first.metric not in METRICS:
        raise InputError(f"the first circuit was found with a user-defined metric, {first.metric!r}")
    units = EdgeUnits(first.graph) if first.units.keep_whole_edges else first.units
    ours, theirs = (
        circuit.units.edges(circuit.kept) if units.are_edges else circuit.kept for circuit in (first, second)
    )
    kept = {"first": ours, "second": theirs, "union": ours | theirs, "intersection": ours & theirs}
    with fixed_threads(first.batch.threads):
        behaviour = behaviour_of(model, task, first, rows, METRICS[first.metric])
        values = behaviour.measure(concatenate([units.ablated(own) for own in kept.values()]))[0]
        full, empty, bootstrap = (
            behaviour.full(),
            behaviour.empty(),
            Bootstrap(SampledUnits.of(behaviour.rows), first.seed),
        )
    return {name: bootstrap.of(recovered, own, full, empty) for name, own in zip(kept, values, strict=True)}
