"""JSON of the front ends of circuit-tracer and Neuronpedia (schema version 1): a pruned graph.

Their `feature` is the Cantor pairing of layer and unit; `influence` the cumulative share down to a node. Ids: `l_f_p`
of units, `0_l_p` of errors (which can be that of a unit: the type tells), `E_token_p`, `{layers + 1}_token_p` of
logits. Hidden neurons stand as units, what other neurons add as errors. Position embeddings and biases, which those
tools do not have as nodes, are of type `bias`.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from acdc.artefacts.attribution.graph import AttributionGraph, Origin
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node, NodeKind
from acdc.errors import InputError, without_prefix

UNIT, ERROR, TOKEN, LOGIT, BIAS = (
    "cross layer transcoder",
    "mlp reconstruction error",
    "embedding",
    "logit",
    "bias",
)
_NEURONS = "hidden neurons"
_SAYS = re.compile(r'Output "(.*)" \(p=[^)]*\)', re.DOTALL)


def cantor(layer: int, unit: int) -> int:
    """The number that stands for a pair of numbers."""
    return (layer + unit) * (layer + unit + 1) // 2 + unit


def to_front_end(graph: AttributionGraph, pruning: Pruning, slug: str) -> dict[str, Any]:
    """A pruned graph as JSON values. `slug`: its name in the front end."""
    metadata = {
        "slug": _slug(slug),
        "scan": _slug(graph.origin.model),
        "transcoder_list": [],
        "prompt_tokens": [token.label for token in graph.tokens],
        "prompt": graph.origin.prompt,
        "node_threshold": graph.origin.node_share,
        "schema_version": 1,
        "info": {"generator": {"name": "acdc"}, "units": graph.origin.units.get("units", "")},
    }
    size = (_layers(graph), len(graph.tokens))
    nodes = [
        _node(node, float(rank), size) | ({"is_target_logit": True} if node is graph.logits[0] else {})
        for node, rank, kept in zip(graph.nodes, pruning.rank, pruning.nodes, strict=True)
        if kept
    ]
    links = [
        {"source": _id(link.source, size), "target": _id(link.target, size), "weight": link.weight}
        for link in graph.links(pruning)
    ]
    supernodes = [
        [name, *(_id(graph.nodes[graph.index[one]], size) for one in ids)] for name, ids in graph.groups.items()
    ]
    parameters = {"pinnedIds": [], "supernodes": supernodes, "linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": metadata, "qParams": parameters, "nodes": nodes, "links": links}


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name) or "graph"


def _layers(graph: AttributionGraph) -> int:
    return graph.logits[0].layer


def _id(node: Node, size: tuple[int, int]) -> str:
    layers, length = size
    match node.kind:
        case NodeKind.NEURON | NodeKind.FEATURE:
            return f"{node.layer}_{node.index}_{node.position}"
        case NodeKind.GROUP | NodeKind.FOLDED:
            raise AssertionError("several nodes are not written as one")
        case NodeKind.REST | NodeKind.ERROR:
            return f"0_{node.layer}_{node.position}"
        case NodeKind.TOKEN:
            return f"E_{node.index}_{node.position}"
        case NodeKind.POSITION:
            return f"B_position_{node.position}"
        case NodeKind.BIAS | NodeKind.FIRST:
            return f"B_{node.kind.value}_0"
        case NodeKind.LOGIT:
            return f"{layers + 1}_{_logit(node)}_{length - 1}"


def _logit(node: Node) -> str:
    return str(node.index) if node.minus < 0 else f"{node.index}-{node.minus}"


def _node(node: Node, rank: float, size: tuple[int, int]) -> dict[str, Any]:
    layers, length = size
    position, layer = max(node.position, 0), str(node.layer)
    common = {
        "node_id": _id(node, size),
        "ctx_idx": position,
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "clerp": "",
        "influence": rank,
        "activation": None,
    }
    match node.kind:
        case NodeKind.NEURON | NodeKind.FEATURE:
            own = {
                "feature": cantor(node.layer, node.index),
                "layer": layer,
                "feature_type": UNIT,
                "jsNodeId": f"{layer}_{node.index}-0",
                "activation": node.value,
            }
        case NodeKind.REST | NodeKind.ERROR:
            own = {"feature": -1, "layer": layer, "feature_type": ERROR, "jsNodeId": f"{layer}_{position}-0"}
        case NodeKind.GROUP | NodeKind.FOLDED:
            raise AssertionError("several nodes are not written as one")
        case NodeKind.TOKEN:
            own = {
                "feature": position,
                "layer": "E",
                "feature_type": TOKEN,
                "jsNodeId": f"E_{node.index}-{position}",
            }
        case NodeKind.POSITION | NodeKind.BIAS | NodeKind.FIRST:
            said = {NodeKind.BIAS: "all biases", NodeKind.FIRST: "all MLPs at the first token"}.get(
                node.kind, f"position embedding {position}"
            )
            own = {"feature": -1, "layer": "E", "feature_type": BIAS, "jsNodeId": _id(node, size), "clerp": said}
        case NodeKind.LOGIT:
            own = {
                "feature": node.index,
                "layer": str(layers + 1),
                "feature_type": LOGIT,
                "jsNodeId": f"L_{_logit(node)}-{length - 1}",
                "clerp": f'Output "{node.label}" (p={node.weight:.3f})',
                "token_prob": node.weight,
                "influence": None,
            }
    return common | own


class _NodeJson(BaseModel):
    model_config = ConfigDict(extra="ignore")

    node_id: str
    layer: str
    ctx_idx: int
    feature_type: str
    feature: int | None = None
    clerp: str | None = ""
    token_prob: float | None = 0.0
    activation: float | None = None


class _LinkJson(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    source: str
    target: str
    weight: float


class _MetadataJson(BaseModel):
    model_config = ConfigDict(extra="ignore")

    scan: str
    prompt: str
    prompt_tokens: list[str]
    info: dict[str, Any] | None = None


class _ParametersJson(BaseModel):
    model_config = ConfigDict(extra="ignore")

    supernodes: list[list[str]] | None = None


class _GraphJson(BaseModel):
    model_config = ConfigDict(extra="ignore")

    qParams: _ParametersJson | None = None
    metadata: _MetadataJson
    nodes: list[_NodeJson]
    links: list[_LinkJson]


def is_front_end(content: Any) -> bool:
    """Whether JSON values look like a graph of a front end."""
    return isinstance(content, dict) and {"metadata", "nodes", "links"} <= content.keys()


def parse_front_end(content: Any, place: Path) -> AttributionGraph:
    """A graph of what a front end reads, with the links that it has; a logit's value is what they add up to.

    Raises InputError, naming the node or link, for what is no such graph.
    """
    try:
        found = _GraphJson.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{place} is not a graph of a front end: {'.'.join(map(str, first['loc']))}: {without_prefix(first['msg'])}"
        ) from None
    units = str((found.metadata.info or {}).get("units", "features"))
    read = [(one.node_id, _read_node(one, found.metadata, units == _NEURONS, place)) for one in found.nodes]
    order = list(NodeKind)
    read.sort(key=lambda one: order.index(one[1].kind))
    origin = Origin(found.metadata.scan, "", "float32", found.metadata.prompt, {"units": units})
    return replace(_linked(read, found, origin, place), groups=_groups(read, found, place))


def _groups(read: list[tuple[str, Node]], found: _GraphJson, place: Path) -> dict[str, tuple[str, ...]]:
    """Supernodes by name with our ids; front ends keep members that a graph does not have, which are left out."""
    ours: dict[str, str] = {}
    for name, node in read:
        if node.is_unit or node.kind in REMAINDERS:
            ours.setdefault(name, node.id)
    groups: dict[str, tuple[str, ...]] = {}
    for entry in (found.qParams and found.qParams.supernodes) or ():
        members = tuple(dict.fromkeys(ours[one] for one in entry[1:] if one in ours))
        if members:
            groups[entry[0]] = groups.get(entry[0], ()) + members
    listed = [one for members in groups.values() for one in members]
    if len(set(listed)) < len(listed):
        raise InputError(f"{place}: a node is in two supernodes")
    return groups


def _read_node(one: _NodeJson, metadata: _MetadataJson, neurons: bool, place: Path) -> Node:
    parts = one.node_id.split("_")
    try:
        match one.feature_type:
            case "cross layer transcoder":
                kind = NodeKind.NEURON if neurons else NodeKind.FEATURE
                return Node(kind, int(parts[0]), one.ctx_idx, int(parts[1]), value=one.activation or 0.0)
            case "mlp reconstruction error":
                return Node(NodeKind.REST if neurons else NodeKind.ERROR, int(one.layer), one.ctx_idx)
            case "embedding":
                label = metadata.prompt_tokens[one.ctx_idx]
                return Node(NodeKind.TOKEN, -1, one.ctx_idx, int(parts[1]), label=label)
            case "bias":
                constant = NodeKind(parts[1])
                return Node(constant, -1, one.ctx_idx if constant is NodeKind.POSITION else -1)
            case "logit":
                ids, says = parts[1].split("-"), _SAYS.fullmatch(one.clerp or "")
                label = says[1] if says else one.clerp or parts[1]
                minus, layer = int(ids[1]) if len(ids) > 1 else -1, int(one.layer) - 1
                return Node(NodeKind.LOGIT, layer, one.ctx_idx, int(ids[0]), minus, 0.0, one.token_prob or 0.0, label)
    except (ValueError, IndexError):
        raise InputError(f"{place}: node {one.node_id!r} has no id of its type {one.feature_type!r}") from None
    raise InputError(
        f"{place}: node {one.node_id!r} is of type {one.feature_type!r}; only "
        f"{', '.join((UNIT, ERROR, TOKEN, LOGIT, BIAS))} are read"
    )


def _linked(read: list[tuple[str, Node]], found: _GraphJson, origin: Origin, place: Path) -> AttributionGraph:
    """The graph of nodes and links; ids that an error shares with a unit are told apart by what follows from them."""
    nodes = tuple(node for _, node in read)
    graph = AttributionGraph(nodes, np.zeros((0, 0)), origin)
    if len(graph.index) < len(nodes):
        raise InputError(f"{place} has a node twice")
    if not graph.logits or not graph.tokens:
        raise InputError(f"{place} has no {'logits' if graph.tokens else 'tokens'}")
    sources = _places(read, graph.sources)
    targets = _places(read, graph.targets)
    weights = np.zeros((len(graph.targets), len(graph.sources)))
    for link in found.links:
        if link.source not in sources or link.target not in targets:
            wrong = link.source if link.source not in sources else link.target
            raise InputError(f"{place}: the link {link.source!r} to {link.target!r} has no node {wrong!r} at that end")
        weights[targets[link.target], sources[link.source]] += link.weight
    return _with_values(AttributionGraph(nodes, weights, origin))


def _places(read: list[tuple[str, Node]], among: tuple[Node, ...]) -> dict[str, int]:
    """Places of nodes by the ids of the file. Of two with the same id, units come first in a graph and win: a file does
    not tell which of them a link means."""
    place = {node.id: number for number, node in enumerate(among)}
    found: dict[str, int] = {}
    for name, node in read:
        if node.id in place:
            found.setdefault(name, place[node.id])
    return found


def _with_values(graph: AttributionGraph) -> AttributionGraph:
    sums = dict(zip((node.id for node in graph.targets), graph.row_sums().tolist(), strict=True))
    nodes = tuple(replace(node, value=sums[node.id]) if node.kind is NodeKind.LOGIT else node for node in graph.nodes)
    return replace(graph, nodes=nodes)
