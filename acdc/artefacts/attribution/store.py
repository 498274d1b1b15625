"""Attribution graphs in files: `attribution.json` with the nodes and where the graph comes from, and beside it
`attribution.safetensors` with the weights. JSON of circuit-tracer's and Neuronpedia's front ends is read too."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from acdc.artefacts.attribution.front_end import is_front_end, parse_front_end
from acdc.artefacts.attribution.graph import AttributionGraph, Origin, TokenHints
from acdc.artefacts.attribution.nodes import Node, NodeKind
from acdc.artefacts.digests import ATTRIBUTION, check_unchanged, digest
from acdc.errors import InputError, first_line, without_prefix
from acdc.files import check_text, is_there, json_text, open_file, read_bytes, read_json, write_bytes

NODES, WEIGHTS = ATTRIBUTION, "attribution.safetensors"
FORMAT, PICKLES = "acdc-attribution-graph", (".pt", ".pth", ".pkl")
_FIELDS = ("layer", "position", "index", "minus", "value", "weight", "label")
_CONVERT = (
    'write it as JSON where circuit-tracer is installed: python -c "from circuit_tracer.utils.create_graph_files '
    "import create_graph_files as f; f('FILE.pt', slug='graph', output_path='out')\""
)


class _Nodes(BaseModel):
    """Columns, one entry per node."""

    model_config = ConfigDict(extra="forbid")

    kind: list[NodeKind]
    layer: list[int]
    position: list[int]
    index: list[int]
    minus: list[int]
    value: list[float]
    weight: list[float]
    label: list[str]

    @model_validator(mode="after")
    def _of_one_length(self) -> "_Nodes":
        if len({len(getattr(self, name)) for name in ("kind", *_FIELDS)}) > 1:
            raise ValueError("its columns are of different lengths")
        order = list(NodeKind)
        if sorted(self.kind, key=order.index) != self.kind:
            raise ValueError("its nodes are not in the order of their kinds")
        return self


class _Hints(BaseModel):
    raises: tuple[tuple[str, float], ...]
    lowers: tuple[tuple[str, float], ...]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: Literal["acdc-attribution-graph"]
    version: Literal[1]
    model: str
    content_hash: str
    dtype: str
    prompt: str
    units: dict[str, str]
    most_nodes: int | None
    node_share: float
    edge_share: float
    versions: dict[str, str]
    weights: str  # SHA-256 of the other file
    nodes: _Nodes
    hints: dict[str, _Hints]
    groups: dict[str, tuple[str, ...]] = {}


def to_files(graph: AttributionGraph) -> dict[str, bytes]:
    """The files of a graph by name, in the order in which they are to be written."""
    weights = save_tensors({"weights": np.ascontiguousarray(graph.weights)})
    origin = graph.origin
    record: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        **asdict(origin),
        "weights": digest(weights),
        "nodes": {name: [getattr(node, name) for node in graph.nodes] for name in ("kind", *_FIELDS)},
        "hints": {name: asdict(hint) for name, hint in graph.hints.items()},
        **({"groups": graph.groups} if graph.groups else {}),
    }
    return {WEIGHTS: weights, NODES: json_text(record).encode()}


def save_graph(graph: AttributionGraph, folder: Path) -> None:
    """Write a graph's files into a folder. Raises InputError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None
    for name, content in to_files(graph).items():
        write_bytes(folder / name, content)


def is_trace(path: Path) -> bool:
    """Whether a path looks like an attribution graph: a folder with one, a file of one, or a pickle of circuit-tracer,
    which `load_graph` refuses with a sentence."""
    if path.is_dir():
        return is_there(path / NODES)
    if path.suffix in PICKLES:
        return True
    if path.suffix != ".json" or not path.is_file():
        return False
    content = read_json(path)
    return is_front_end(content) or (isinstance(content, dict) and content.get("format") == FORMAT)


def load_graph(path: Path) -> AttributionGraph:
    """Read the graph in a folder, or in a file: our own or a front end's. Raises InputError for what is none."""
    check_text(path.name)
    if path.suffix in PICKLES:
        raise InputError(f"{path} is a pickle, which can run any program and is never loaded: {_CONVERT}")
    place = path / NODES if path.is_dir() else path
    content = read_json(place)
    if is_front_end(content):
        return parse_front_end(content, place)
    check_unchanged(place, read_bytes(place))
    try:
        record = _Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(
            f"{place} is not an attribution graph, version 1: {where}: {without_prefix(first['msg'])}"
        ) from None
    return _graph(record, place)


def _graph(record: _Record, place: Path) -> AttributionGraph:
    columns = zip(*(getattr(record.nodes, name) for name in ("kind", *_FIELDS)), strict=True)
    nodes = tuple(Node(*values) for values in columns)
    path = place.parent / WEIGHTS
    with open_file(path) as file:
        stored = file.read()
    if digest(stored) != record.weights:
        raise InputError(f"{path} does not belong to {place.name}: trace again")
    try:
        weights = load_tensors(stored)["weights"]
    except (SafetensorError, KeyError) as error:
        raise InputError(f"{path} is damaged: {first_line(error)}") from None
    origin = Origin(**{one.name: getattr(record, one.name) for one in fields(Origin)})
    hints = {name: TokenHints(hint.raises, hint.lowers) for name, hint in record.hints.items()}
    graph = AttributionGraph(nodes, weights, origin, hints, record.groups)
    if weights.shape != (len(graph.targets), len(graph.sources)) or not np.isfinite(weights).all():
        raise InputError(f"{path} does not hold the weights of the nodes in {place.name}")
    return graph
