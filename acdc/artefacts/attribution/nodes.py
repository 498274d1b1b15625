"""Nodes of an attribution graph, and their ids: `m3.n512@5` (a hidden neuron at a position), `m3.f1041@5` (a feature of
a dictionary), `m3.rest@5` (all other neurons there), `m3.error@5` (what a dictionary does not reconstruct), `token@4`,
`position@4`, `bias`, `first` (what all MLPs write at the first token), `logit:TOKENID` and `logit:TOKENID-TOKENID` (the
first less the second). In pictures, `group:NUMBER` is a supernode, `folded:PLACE` several nodes as one box."""

from dataclasses import dataclass
from enum import StrEnum


class NodeKind(StrEnum):
    """What a node is; in a graph, nodes stand in this order."""

    NEURON = "neuron"
    FEATURE = "feature"
    GROUP = "group"
    FOLDED = "folded"
    REST = "rest"
    ERROR = "error"
    TOKEN = "token"
    POSITION = "position"
    BIAS = "bias"
    FIRST = "first"
    LOGIT = "logit"


UNITS = (NodeKind.NEURON, NodeKind.FEATURE)
REMAINDERS = (NodeKind.REST, NodeKind.ERROR)
TOGETHER = (NodeKind.GROUP, NodeKind.FOLDED)  # several nodes as one, in pictures
CONSTANTS = (NodeKind.POSITION, NodeKind.BIAS, NodeKind.FIRST)  # nodes that circuit-tracer does not have


@dataclass(frozen=True)
class Node:
    """`layer` and `position` are -1 where they mean nothing.

    `index`: the unit in its layer; the id of a token or of a logit's token; of folded nodes, how many. `minus`: the id
    of the logit that is taken off. `value`: a unit's activation, or a logit less the mean of all logits; 0 for what is
    no target. `weight`: of a logit, its share of what influence is counted for: its probability. `label`: the text of a
    token.
    """

    kind: NodeKind
    layer: int = -1
    position: int = -1
    index: int = -1
    minus: int = -1
    value: float = 0.0
    weight: float = 0.0
    label: str = ""

    @property
    def id(self) -> str:
        match self.kind:
            case NodeKind.NEURON | NodeKind.FEATURE:
                return f"m{self.layer}.{self.kind.value[0]}{self.index}@{self.position}"
            case NodeKind.GROUP:
                return f"group:{self.index}"
            case NodeKind.FOLDED:
                return f"folded:{self.label}"
            case NodeKind.REST | NodeKind.ERROR:
                return f"m{self.layer}.{self.kind.value}@{self.position}"
            case NodeKind.TOKEN | NodeKind.POSITION:
                return f"{self.kind.value}@{self.position}"
            case NodeKind.BIAS | NodeKind.FIRST:
                return self.kind.value
            case NodeKind.LOGIT:
                return f"logit:{self.index}" + (f"-{self.minus}" if self.minus >= 0 else "")

    @property
    def is_unit(self) -> bool:
        return self.kind in UNITS

    @property
    def is_target(self) -> bool:
        """Whether a graph says what its value consists of."""
        return self.is_unit or self.kind in (*TOGETHER, NodeKind.LOGIT)
