"""EAP-IG's graph as JSON (Hanna et al. 2024), which MIB takes too.

`{"cfg": {"n_layers", "n_heads", "parallel_attn_mlp", "d_model"}, "nodes": {"a0.h0": {"in_graph": true}}, "edges":
{"input->a0.h0<q>": {"score": -0.3, "in_graph": false}}}`: every candidate edge, each head with k and v slots of its
own, one embedding, an MLP in every layer. Keys that EAP-IG does not know it leaves alone; acdc's note is one.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from acdc.artefacts.codecs.foreign import MARK, Codec, ForeignGraph, Mark
from acdc.artefacts.codecs.reading import boolean, number, parse_json, read_bytes, table
from acdc.artefacts.codecs.translate import per_head
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph, Edge

NAME, LOGITS = "eap-ig", "logits"


def encode(found: ForeignGraph, graph: ComponentGraph, scored: bool = True) -> bytes:
    """The file's content; without `scored`, with membership alone, as MIB's circuits are: 1 and 0, as EAP-IG reads no
    edge that lacks a score."""
    shape = graph.anatomy
    record = {
        "cfg": {
            "n_layers": shape.n_layers,
            "n_heads": shape.n_heads,
            "parallel_attn_mlp": shape.parallel,
            "d_model": shape.d_model,
        },
        "nodes": _write_nodes(found, graph, scored),
        "edges": {name: _write_edge(found, name, scored) for name in graph.names},
        MARK: found.mark.model_dump(mode="json"),
    }
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def _write_edge(found: ForeignGraph, name: str, scored: bool) -> dict[str, Any]:
    kept = found.edges is not None and name in found.edges
    if not scored:
        return {"score": int(kept), "in_graph": kept}
    score = found.scores[name] if found.scores is not None else (found.edges or {}).get(name)
    return {"score": score or 0.0, "in_graph": kept}


def _write_nodes(found: ForeignGraph, graph: ComponentGraph, scored: bool) -> dict[str, Any]:
    """Components that an edge of the circuit touches are in it; of a circuit of nodes, those and the embedding."""
    names, edges = [writer.id for writer in graph.writers], [Edge.parse(name) for name in found.edges or ()]
    inside = {edge.writer.id for edge in edges} | {owner.id for edge in edges for owner in graph.owners(edge.reader)}
    if found.nodes is not None:
        inside = {*found.nodes, graph.embeddings[0].id}
    scores = found.node_scores if found.node_scores is not None else found.nodes or {}
    nodes: dict[str, Any] = {}
    for name in names:
        score = {"score": scores[name]} if scored and scores.get(name) is not None else {}
        nodes[name] = {"in_graph": name in inside} | score
    return nodes | {LOGITS: {"in_graph": True}}


def decode(path: Path, anatomy: Anatomy) -> ForeignGraph:
    """Raises InputError naming the place of what is not EAP-IG's, or not of a model of that shape."""
    convert = f"python -c \"from eap.graph import Graph; Graph.from_pt('{path.name}').to_json('{path.stem}.json')\""
    record = table(parse_json(read_bytes(path, convert), path), str(path))
    for key in ("cfg", "nodes", "edges"):
        table(record.get(key), f"{path}: {key}")
    _check_shape(record["cfg"], anatomy, path)
    mark = Mark.read(record.get(MARK), str(path))
    found = ForeignGraph(mark=mark)
    return _read_nodes(_read_edges(found, record["edges"], path), record["nodes"], path)


def _check_shape(cfg: Any, anatomy: Anatomy, path: Path) -> None:
    ours = {
        "n_layers": anatomy.n_layers,
        "n_heads": anatomy.n_heads,
        "parallel_attn_mlp": anatomy.parallel,
        "d_model": anatomy.d_model,
    }
    for key, here in ours.items():
        if key not in cfg:
            raise InputError(f"{path}: cfg lacks {key}")
        if cfg[key] != here:
            raise InputError(f"{path}: cfg.{key} is {cfg[key]!r}, but the model's is {here!r}")


def _read_edges(found: ForeignGraph, record: Any, path: Path) -> ForeignGraph:
    """A graph in which no edge is, is one of scores alone."""
    scores: dict[str, float] = {}
    kept, scored = [], found.mark.scored != "none"
    for name, value in record.items():
        place = f"{path}: edges[{name!r}]"
        edge = table(value, place)
        if scored and "score" in edge:
            scores[name] = number(edge["score"], f"{place}.score")
        if boolean(edge.get("in_graph", False), f"{place}.in_graph"):
            kept.append(name)
    if scores and len(scores) < len(record):
        lacking = next(name for name in record if name not in scores)
        raise InputError(f"{path}: edges[{lacking!r}] has no score, but others have")
    edges = {name: scores.get(name) for name in kept} if kept or not scores else None
    every = scores if scores and found.mark.scored == "all" and any(scores.values()) else None
    return replace(found, scores=every, edges=edges)


def _read_nodes(found: ForeignGraph, record: Any, path: Path) -> ForeignGraph:
    scores, kept = {}, []
    for name, value in record.items():
        place = f"{path}: nodes[{name!r}]"
        node = table(value, place)
        if node.get("neurons") is not None:
            raise InputError(f"{place}.neurons: a circuit of neurons, but only edges and nodes are imported")
        if node.get("score") is not None:
            scores[name] = number(node["score"], f"{place}.score")
        if boolean(node.get("in_graph", False), f"{place}.in_graph"):
            kept.append(name)
    nodes = {name: scores.get(name) for name in kept if name not in ("input", LOGITS)}
    return replace(found, node_scores=scores or None, nodes=nodes or None)


def terms(anatomy: Anatomy, mark: Mark) -> ComponentGraph:
    if anatomy.attn_only:
        raise InputError(f"format {NAME} has an MLP in every layer, this model has none: use autocircuit or networkx")
    return per_head(anatomy)


CODEC = Codec(NAME, terms, encode, decode)
