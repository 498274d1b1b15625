"""How much a verification computes, decided before it begins.

The unit is FLOPs, counted from the shapes of model, rows and circuit: so equal inputs are verified alike on every
machine, and its cost is known in advance. Where everything fits the budget, everything is measured on all
rows. Else parts are measured on fewer rows, fewer random circuits are drawn, and a random sample of the circuit's edges
is removed one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.plan import VerificationPlan
from acdc.execution.removals import Reach
from acdc.execution.required_positions import Required
from acdc.graph import ComponentGraph, WriterKind
from acdc.model.load import Model
from acdc.options import Extent
from acdc.task.rows import Row

STANDARD_FLOPS, FULL_FLOPS = 2.8e12, 25e12  # less than one minute, and a few, on two cores
SEARCH_PASSES = 8  # forward passes over the discovery rows that a standard verification may always take
MEASURES_SHARE, RANDOM_SHARE = 0.5, 0.2  # of the budget; removals have what is left
FEWEST_ROWS, FEWEST_MEASURED = 16, 32  # rows of a part that does not fit, and of the metrics
RANDOM_CIRCUITS, FEWEST_RANDOM = 20, 5
STRONGEST = 10  # parts that are always removed


@dataclass(frozen=True)
class Costs:
    """FLOPs of one prompt: `plain` of the full model, `subgraph` of a run in which every slot sums up its senders (an
    upper bound for any circuit), and by writer `component` [writers] for one position."""

    plain: float
    subgraph: float
    component: np.ndarray
    length: float

    @classmethod
    def of(cls, model: Model, graph: ComponentGraph, rows: Sequence[Row]) -> "Costs":
        """For the mean length of some rows."""
        shape, config = model.anatomy, model.bridge.cfg
        length = float(np.mean([len(row.clean) for row in rows]))
        projections = 2 * shape.d_model * shape.d_head
        head = projections * (2 + 2 / shape.group_size) + 4 * length * shape.d_head
        products = 3 if getattr(config, "gated_mlp", False) else 2
        experts = getattr(config, "experts_per_token", None) or 1
        mlp = 2.0 * products * experts * shape.d_model * (getattr(config, "d_mlp", None) or 4 * shape.d_model)
        of_kind = {WriterKind.HEAD: head, WriterKind.MLP: mlp}
        component = np.array([of_kind.get(writer.kind, 0.0) for writer in graph.writers])
        plain = length * float(component.sum()) + 2 * shape.d_model * shape.d_vocab_out
        return cls(plain, plain + length * graph.n_edges * 2 * shape.d_model, component, length)

    def of_edges(self, edges: int, graph: ComponentGraph) -> float:
        """FLOPs of any circuit of so many edges for one prompt, at most: it has no more components than edges."""
        share = min(1.0, edges / len(graph.writers))
        return share * self.plain + self.length * edges * 2 * graph.anatomy.d_model


def plan_verification(
    model: Model, circuit: Circuit, discovery: Sequence[Row], unseen: Sequence[Row], extent: Extent, rows: int | None
) -> VerificationPlan:
    """Share a budget out. `rows`: at most so many of the `unseen` ones, in every part."""
    costs = Costs.of(model, circuit.graph, unseen)
    most = min(len(unseen), rows or len(unseen))
    full = extent is Extent.full
    budget = FULL_FLOPS if full else max(STANDARD_FLOPS, SEARCH_PASSES * len(discovery) * costs.plain)
    each = 4 * costs.plain + 2 * costs.subgraph  # clean twice, corrupted twice, circuit and complement
    measured = _within(MEASURES_SHARE * budget, each, min(most, FEWEST_MEASURED), most)
    spent = measured * each
    if extent is Extent.quick:
        return VerificationPlan(extent, measured, 0, 0, (), 0, spent)
    share, drawn = RANDOM_SHARE * budget, costs.of_edges(circuit.edges_effective, circuit.graph)
    random_rows = _within(share, RANDOM_CIRCUITS * drawn, min(measured, FEWEST_ROWS), measured)
    random = _within(share, random_rows * drawn, FEWEST_RANDOM, RANDOM_CIRCUITS) if circuit.size else 0
    spent += random * random_rows * drawn
    removal = _removal_flops(circuit, costs)
    removed, removal_rows = _removals(circuit, removal, budget - spent, measured)
    spent += removal_rows * (costs.subgraph + float(removal[list(removed)].sum()))
    return VerificationPlan(extent, measured, random, random_rows, removed, removal_rows, float(spent))


def rows_within(flops: float, runs: int, costs: Costs, fewest: int, rows: int) -> int:
    """On how many rows so many subgraphs are run for some FLOPs: at least `fewest`, at most all."""
    return _within(flops, runs * costs.subgraph, min(fewest, rows), rows)


def spread_over(rows: Sequence[str], count: int) -> list[str]:
    """So many of some rows, at even distances: rows of one template often stand together."""
    return [rows[place * len(rows) // count] for place in range(count)]


def _within(flops: float, each: float, fewest: int, most: int) -> int:
    """As many of something as fit, between two bounds; of what costs nothing, the most."""
    return max(fewest, min(most, int(flops // each))) if each else most


def _removal_flops(circuit: Circuit, costs: Costs) -> np.ndarray:
    """FLOPs of removing each part of a circuit, for one prompt [parts]."""
    if not circuit.units.are_edges:
        return np.full(len(circuit.parts), costs.subgraph)
    graph, kept = circuit.graph, circuit.kept
    reach = Reach(graph, kept)
    positions = np.where(reach.required.needs == Required.EVERYWHERE, costs.length, 1.0)
    width, unembedding = graph.anatomy.d_model, 2 * graph.anatomy.d_model * graph.anatomy.d_vocab_out
    sums = np.zeros(len(graph.writers))  # a slot whose input changes is summed up over all of its senders
    for group in graph.groups:
        for reader in group.readers:
            owners = [graph.writer_index[owner] for owner in graph.owners(reader)]
            sums[owners] += 2 * width * group.senders / max(1, len(owners))
    edges = np.array([graph.index[part.id] for part in circuit.parts], dtype=int)
    each = positions * (costs.component + sums)
    found = np.empty(len(edges))
    for start in range(0, len(edges), 1024):  # never edges x writers at once
        found[start : start + 1024] = reach.of(edges[start : start + 1024]) @ each
    return found + unembedding


def _removals(circuit: Circuit, flops: np.ndarray, budget: float, rows: int) -> tuple[tuple[int, ...], int]:
    """(places of the parts to remove, on how many rows): all parts where that fits, on fewer rows if need be; else the
    strongest, and of the others as many as fit, drawn at random."""
    if not len(flops):
        return (), rows
    affordable = int(budget // flops.sum())
    if affordable >= min(rows, FEWEST_ROWS):
        return tuple(range(len(flops))), min(rows, affordable)
    few = min(rows, FEWEST_ROWS)
    order = sample_order(circuit)
    fitting = int(np.searchsorted(np.cumsum(flops[order]) * few, budget, side="right"))
    return tuple(sorted(order[: max(min(STRONGEST, len(order)), fitting)])), few


def sample_order(circuit: Circuit) -> list[int]:
    """Places of a circuit's parts: the strongest by |score|, then the others as the circuit's seed draws them."""
    parts = circuit.parts
    by_size = sorted(range(len(parts)), key=lambda i: (-abs(parts[i].score), parts[i].id))
    others = sorted(by_size[STRONGEST:])
    drawn = np.random.default_rng(circuit.seed).permutation(len(others))
    return by_size[:STRONGEST] + [others[i] for i in drawn]
