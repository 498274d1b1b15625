"""Supernodes: nodes of an attribution graph that a person puts together under a name, as front ends have them.

In pictures a supernode is one node: what its members add to others, and what others add to them, is summed up. What
they add to each other is inside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node, NodeKind
from acdc.errors import InputError
from acdc.files import check_text, read_json
from acdc.words import shortened

MOST_LETTERS = 60  # of a name


def read_supernodes(path: Path) -> dict[str, tuple[str, ...]]:
    """Names with ids of nodes, from a JSON object of lists. Raises InputError for anything else."""
    content = read_json(path)
    is_table = isinstance(content, dict) and all(
        isinstance(ids, list) and ids and all(isinstance(one, str) for one in ids) for ids in content.values()
    )
    if not content or not is_table:
        raise InputError(f'{path} holds no supernodes: write {{"name": ["m3.n244@12", "m2.n13@12"], ...}}')
    for name in content:
        check_text(name)
        if not 0 < len(name.strip()) <= MOST_LETTERS:
            raise InputError(f"{path}: the name {shortened(name)} must have 1 to {MOST_LETTERS} letters")
    return {name: tuple(ids) for name, ids in content.items()}


def with_supernodes(
    graph: AttributionGraph, pruning: Pruning, groups: Mapping[str, tuple[str, ...]]
) -> AttributionGraph:
    """The same with these supernodes. Raises InputError for a member that the pruned graph does not have, that is not a
    neuron, a feature or what is left of an MLP, or that is in two supernodes."""
    kept = {node.id: node for node in graph.kept(pruning)}
    owner: dict[str, str] = {}
    for name, ids in groups.items():
        for one in ids:
            if one not in kept:
                raise InputError(f"supernode {name!r}: the pruned graph has no node {shortened(one)}")
            if not (kept[one].is_unit or kept[one].kind in REMAINDERS):
                raise InputError(f"supernode {name!r}: {one!r} is no neuron, feature or rest of an MLP")
            if one in owner:
                raise InputError(f"node {one!r} is in supernode {owner[one]!r} and again in {name!r}")
            owner[one] = name
    return replace(graph, groups=dict(groups))


def merged(graph: AttributionGraph, pruning: Pruning) -> tuple[AttributionGraph, Pruning]:
    """A graph and its pruning with one node in the place of each supernode's members, for a picture."""
    made = [(_node(graph, name, ids), ids) for name, ids in graph.groups.items()]
    whole, pruned = put_together(graph, pruning, made)
    return replace(whole, groups={}), pruned


def put_together(
    graph: AttributionGraph, pruning: Pruning, made: Sequence[tuple[Node, Sequence[str]]]
) -> tuple[AttributionGraph, Pruning]:
    """A graph and its pruning with one node each in the place of some others, given by their ids: links between these
    and the rest are summed up, those among them are left out."""
    if not made:
        return graph, pruning
    owner = {one: node.id for node, ids in made for one in ids}
    single, order = [node for node in graph.nodes if node.id not in owner], list(NodeKind)
    nodes = tuple(sorted([*single, *(node for node, _ in made)], key=lambda node: order.index(node.kind)))  # stable
    place = {node.id: number for number, node in enumerate(nodes)}
    to = np.array([place[owner.get(node.id, node.id)] for node in graph.nodes])

    def summed(matrix: np.ndarray) -> np.ndarray:
        found = np.zeros((len(nodes), len(nodes)))
        np.add.at(found, (to[:, None], to[None, :]), matrix)
        np.fill_diagonal(found, 0.0)
        return found

    whole = summed(graph.adjacency)
    targets = [number for number, node in enumerate(nodes) if node.is_target]
    sources = [number for number, node in enumerate(nodes) if node.kind is not NodeKind.LOGIT]
    rank, kept = np.ones(len(nodes)), np.zeros(len(nodes), dtype=bool)
    np.minimum.at(rank, to, pruning.rank)
    np.logical_or.at(kept, to, pruning.nodes)
    through = summed(np.where(pruning.edges, pruning.through, 0.0))
    together = replace(graph, nodes=nodes, weights=whole[np.ix_(targets, sources)])
    return together, Pruning(kept, summed(pruning.edges) > 0, rank, through)


def _node(graph: AttributionGraph, name: str, ids: tuple[str, ...]) -> Node:
    """Where the last of its members stands, with the sum of their values."""
    members = [graph.nodes[graph.index[one]] for one in ids]
    last = max(members, key=lambda node: (node.layer, node.position))
    total = sum(node.value for node in members)
    return Node(NodeKind.GROUP, last.layer, last.position, list(graph.groups).index(name), value=total, label=name)
