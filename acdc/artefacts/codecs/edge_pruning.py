"""Edge-Pruning's circuits (Bhaskar et al. 2024): a JSON list of [writer, reader] pairs, without scores.

Writers are `tok_embeds` and `pos_embeds` (`embeds` where positions are not learnt), `a1.h5` and `m3`; readers
`a1.h5.q`, `m3` and `resid_post`. Under grouped-query attention the h of k and v readers counts the KV heads.
"""

import json
import re
from pathlib import Path

from acdc.artefacts.codecs.foreign import Codec, ForeignGraph, Mark
from acdc.artefacts.codecs.reading import parse_json, read_bytes
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph, Edge, ReaderKind, WriterKind

NAME = "edge-pruning"
_EMBEDDINGS = {WriterKind.TOKENS.value: "tok_embeds", WriterKind.POSITIONS.value: "pos_embeds"}
_RESIDUAL = "resid_post"
_READER = re.compile(r"a(\d+)\.h(\d+)\.([qkv])")


def encode(found: ForeignGraph, graph: ComponentGraph) -> bytes:
    """The circuit's edges. Raises InputError for scores without a circuit."""
    if found.edges is None:
        raise InputError(f"format {NAME} holds a circuit, but the run has only scores: use eap-ig or autocircuit")
    pairs = [_pair(Edge.parse(name), graph) for name in graph.names if name in found.edges]
    return ("[\n" + ",\n".join(json.dumps(pair) for pair in pairs) + "\n]\n").encode()


def _pair(edge: Edge, graph: ComponentGraph) -> tuple[str, str]:
    whole = {WriterKind.INPUT.value: "embeds"} | _EMBEDDINGS
    reader = edge.reader
    if reader.kind is ReaderKind.LOGITS:
        name = _RESIDUAL
    elif reader.kind is ReaderKind.MLP:
        name = reader.id
    else:
        name = f"a{reader.layer}.h{reader.head}.{reader.kind.value}"
    return whole.get(edge.writer.id, edge.writer.id), name


def decode(path: Path, anatomy: Anatomy) -> ForeignGraph:
    """Raises InputError naming the pair that is none, or is there twice.

    Where no pair names an embedding, the circuit was found without embeddings as writers: all readers read them.
    """
    convert = f"python -c \"import json, torch; json.dump(torch.load('{path.name}'), open('{path.stem}.json', 'w'))\""
    pairs = parse_json(read_bytes(path, convert), path)
    if not isinstance(pairs, list):
        raise InputError(f"{path}: expected Edge-Pruning's format, a list of [writer, reader] pairs")
    edges: dict[str, None] = {}
    for number, pair in enumerate(pairs):
        place = f"{path}, pair {number}"
        if not isinstance(pair, list) or [type(part) for part in pair] != [str, str]:
            raise InputError(f"{place}: expected [writer, reader], two names")
        writer, reader = pair
        name = _edge(writer, reader, anatomy)
        if name in edges:
            raise InputError(f"{place}: {pair} occurs twice")
        edges[name] = None
    graph = terms(anatomy, Mark())
    embeddings = tuple(f"{writer.id}->" for writer in graph.embeddings)
    if not edges or any(name.startswith(embeddings) for name in edges):
        return ForeignGraph(edges=edges)
    edges |= {name: None for name in graph.names if name.startswith(embeddings)}
    return ForeignGraph(edges=edges).losing(
        "no pair names an embedding, so all slots read them: their edges were added to the circuit"
    )


def _edge(writer: str, reader: str, anatomy: Anatomy) -> str:
    """The id of a pair; of names that are none, one that no graph has."""
    names = {"embeds": WriterKind.INPUT.value} | {theirs: ours for ours, theirs in _EMBEDDINGS.items()}
    slot = _READER.fullmatch(reader)
    if slot:
        layer, head, kind = slot.groups()
        letter = "kv" if anatomy.grouped and kind != "q" else "h"
        reader = f"a{layer}.{letter}{head}<{kind}>"
    return f"{names.get(writer, writer)}->{'logits' if reader == _RESIDUAL else reader}"


def terms(anatomy: Anatomy, mark: Mark) -> ComponentGraph:
    return ComponentGraph(anatomy, split_embeddings=anatomy.learned_positions)


CODEC = Codec(NAME, terms, encode, decode, scores=False, nodes=False, outside=False, partial=True)
