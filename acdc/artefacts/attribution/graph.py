"""An attribution graph: what every source adds to the value of every target, on one prompt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acdc.artefacts.attribution.influence import (
    EDGE_SHARE,
    NODE_SHARE,
    GraphScores,
    Pruning,
    graph_scores,
    prune,
    shares,
    total_influence,
)
from acdc.artefacts.attribution.nodes import CONSTANTS, REMAINDERS, Node, NodeKind
from acdc.artefacts.attribution.verification import GraphVerification
from acdc.display import show

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Origin:
    """Where a graph comes from: the model by name and content, the text of the prompt, what its units are, and how many
    were allowed, None for any number; the shares of influence that its nodes and edges are pruned to; the versions of
    libraries."""

    model: str
    content_hash: str
    dtype: str
    prompt: str
    units: Mapping[str, str]
    most_nodes: int | None = None
    node_share: float = NODE_SHARE
    edge_share: float = EDGE_SHARE
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenHints:
    """Tokens whose logits a unit raises and lowers most by what it writes itself, with how much (less the mean)."""

    raises: tuple[tuple[str, float], ...]
    lowers: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Link:
    """What a source adds to a target's value, and the influence on the logits that passes along."""

    source: Node
    target: Node
    weight: float
    influence: float


@dataclass(frozen=True, repr=False)
class AttributionGraph:
    """`nodes`: units, remainders, tokens, position embeddings, biases, what MLPs write at the first token, logits, in
    this order. `weights` [units + logits, sources]: what each source (all nodes but the logits) adds to each target's
    value; a row sums to that value. `hints`: of units, by their ids, where there are any. `groups`: supernodes by name,
    with the ids of their members.
    """

    nodes: tuple[Node, ...]
    weights: np.ndarray
    origin: Origin
    hints: Mapping[str, TokenHints] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<AttributionGraph: {self.origin.prompt!r} in {self.origin.model}, {len(self.nodes):,} nodes>"

    def to_dataframe(self) -> "pd.DataFrame":
        """A row for each node: `id`, `kind`, `layer`, `position` and `index` (-1 where there is none), `description`,
        `value`, `influence` on the logits, and whether pruning keeps it (`kept`). Raises InputError without pandas."""
        return show("rows as data frame", self._rows(self.prune()))

    def _rows(self, pruning: Pruning) -> Iterator[dict[str, Any]]:
        for place, node in enumerate(self.nodes):
            own = {name: getattr(node, name) for name in ("layer", "position", "index")}
            about = {"id": node.id, "kind": node.kind.value} | own | {"description": self.describe(node)}
            influence = float(self.influence[place])
            yield about | {"value": node.value, "influence": influence, "kept": bool(pruning.nodes[place])}

    def explore(self, verification: "GraphVerification | None" = None) -> Any:
        """The interactive page about it, which a notebook shows and `save` writes; `verification`: what `verify_graph`
        found."""
        return show("attribution explorer", self, verification)

    @cached_property
    def targets(self) -> tuple[Node, ...]:
        """The nodes of the rows of `weights`."""
        return tuple(node for node in self.nodes if node.is_target)

    @cached_property
    def sources(self) -> tuple[Node, ...]:
        """The nodes of its columns."""
        return tuple(node for node in self.nodes if node.kind is not NodeKind.LOGIT)

    @cached_property
    def index(self) -> dict[str, int]:
        """The place of each node, by id."""
        return {node.id: place for place, node in enumerate(self.nodes)}

    @cached_property
    def logits(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind is NodeKind.LOGIT)

    @cached_property
    def units(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.is_unit)

    @cached_property
    def tokens(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind is NodeKind.TOKEN)

    @cached_property
    def adjacency(self) -> np.ndarray:
        """The weights over all nodes, [n, n], rows targets, columns sources."""
        count = len(self.nodes)
        found = np.zeros((count, count), dtype=self.weights.dtype)
        rows = np.flatnonzero([node.is_target for node in self.nodes])
        found[rows, : len(self.sources)] = self.weights
        return found

    @cached_property
    def logit_weights(self) -> np.ndarray:
        """[n]: of the logits, what influence is counted for."""
        return np.array([node.weight for node in self.nodes])

    @cached_property
    def influence(self) -> np.ndarray:
        """Of every node on the logits, [n]; see `acdc.artefacts.attribution.influence`."""
        return total_influence(shares(self.adjacency), self.logit_weights)

    def without_constants(self) -> "AttributionGraph":
        """The same without position embeddings, biases and the MLPs of the first token, as circuit-tracer has it: rows
        then do not sum to their values."""
        left = [node.kind not in CONSTANTS for node in self.sources]
        nodes = tuple(node for node in self.nodes if node.kind not in CONSTANTS)
        return replace(self, nodes=nodes, weights=self.weights[:, left])

    def mask(self, *kinds: NodeKind) -> np.ndarray:
        """[n]: which nodes are of these kinds."""
        return np.array([node.kind in kinds for node in self.nodes])

    def prune(self, node_share: float | None = None, edge_share: float | None = None) -> Pruning:
        """Keep the nodes, then the edges, that make up these shares of all influence (by default those of its origin);
        tokens and logits stay."""
        node_share = self.origin.node_share if node_share is None else node_share
        edge_share = self.origin.edge_share if edge_share is None else edge_share
        always = self.mask(NodeKind.TOKEN, NodeKind.LOGIT)
        units = np.array([node.is_unit for node in self.nodes])
        return prune(self.adjacency, self.logit_weights, always, units, node_share, edge_share)

    def scores(self) -> GraphScores:
        """How much of the influence comes from what the graph accounts for."""
        leaves = self.mask(NodeKind.TOKEN, *CONSTANTS)
        return graph_scores(self.adjacency, self.logit_weights, self.mask(*REMAINDERS), leaves)

    def links(self, pruning: Pruning) -> list[Link]:
        """The edges that a pruning keeps, target by target."""
        adjacency, nodes = self.adjacency, self.nodes
        return [
            Link(nodes[s], nodes[t], float(adjacency[t, s]), float(pruning.through[t, s]))
            for t, s in zip(*np.nonzero(pruning.edges), strict=True)
        ]

    def kept(self, pruning: Pruning) -> tuple[Node, ...]:
        """The nodes that a pruning keeps."""
        return tuple(node for node, stays in zip(self.nodes, pruning.nodes, strict=True) if stays)

    def relevance(self, logit: int) -> np.ndarray:
        """What a logit's value consists of along all paths, [n]: a target's share is passed on to its sources in
        proportion to what they add to it. The sum over leaves and remainders is the logit's value."""
        order = np.argsort([-node.layer for node in self.targets], kind="stable")
        place = [row for row, node in enumerate(self.nodes) if node.is_target]
        found = np.zeros(len(self.nodes))
        found[self.index[self.logits[logit].id]] = self.logits[logit].value
        for row in order:
            value = self.targets[row].value
            if value and found[place[row]]:
                found[: len(self.sources)] += self.weights[row] * (found[place[row]] / value)
        return found

    def save(self, folder: str | Path) -> None:
        """Write it into a folder; `acdc.load_graph` reads it. Raises InputError where that fails."""
        show("attribution graph in a folder", self, Path(folder))

    def to_svg(self) -> str:
        """A picture of the pruned graph as SVG text."""
        return str(show("attribution graph as SVG", self, self.prune()))

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def row_sums(self) -> np.ndarray:
        """What the sources of each target add up to, [targets]."""
        return self.weights.sum(axis=1)

    def describe(self, node: Node | int | str) -> str:
        """A node in few words; by its place among `nodes`, or its id, too."""
        if isinstance(node, int | str):
            node = self.nodes[node if isinstance(node, int) else self.index[node]]
        at = f" at {self._label(node.position)}" if node.position >= 0 and self.tokens else ""
        match node.kind:
            case NodeKind.NEURON | NodeKind.FEATURE:
                return f"{node.kind.value} {node.index} of MLP {node.layer}{at}"
            case NodeKind.GROUP:
                return f"supernode {node.label!r}"
            case NodeKind.FOLDED:
                return f"{node.index} nodes of {node.label}"
            case NodeKind.REST:
                return f"all other neurons of MLP {node.layer}{at}"
            case NodeKind.ERROR:
                return f"what the dictionary leaves of MLP {node.layer}{at}"
            case NodeKind.TOKEN:
                return f"token {node.label!r} ({node.position})"
            case NodeKind.POSITION:
                return f"position embedding {node.position}"
            case NodeKind.BIAS:
                return "all biases"
            case NodeKind.FIRST:
                return "all MLPs at the first token"
            case NodeKind.LOGIT:
                return f"logit of {node.label!r}" if node.minus < 0 else f"logits {node.label}"

    def _label(self, position: int) -> str:
        return f"{self.tokens[position].label!r} ({position})"
