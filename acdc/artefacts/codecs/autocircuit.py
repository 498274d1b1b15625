"""AutoCircuit's prune scores (Miller et al. 2024): a tensor for each place that reads.

`blocks.{l}.hook_{q,k,v}_input` [heads, sources], `blocks.{l}.hook_mlp_in` [sources], `blocks.{L-1}.hook_resid_post`
[sources]; sources are the embedding and then, layer by layer, the heads and the MLP, as far as they come before. So a
tensor is the block of one group of readers in the vector of edges. AutoCircuit itself keeps them as a pickle; here they
are safetensors, or JSON of nested lists.
"""

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from acdc.artefacts.codecs.foreign import MARK, Codec, ForeignGraph, Mark
from acdc.artefacts.codecs.reading import is_safetensors, number, parse_json, read_bytes, table
from acdc.artefacts.codecs.translate import per_head
from acdc.errors import InputError
from acdc.files import unique_keys
from acdc.graph import Anatomy, ComponentGraph, ReaderGroup, ReaderKind

NAME = "autocircuit"
_CIRCUIT = "circuit"  # ids of the circuit's edges, in the mark
_NUMBERS = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL")


def encode(found: ForeignGraph, graph: ComponentGraph) -> bytes:
    """Float64 safetensors; the circuit's edges are named in the metadata, as a score may be 0."""
    scores = found.scores if found.scores is not None else found.edges or {}
    vector = np.array([scores.get(name) or 0.0 for name in graph.names])
    tensors = {
        _module(group, graph.anatomy): vector[group.start : group.stop].reshape(_shape(group)) for group in graph.groups
    }
    note = found.mark.model_dump(mode="json")
    if found.edges is not None:
        note[_CIRCUIT] = [name for name in graph.names if name in found.edges]
    return safetensors.numpy.save(tensors, {MARK: json.dumps(note)})  # one key, as several come in any order


def decode(path: Path, anatomy: Anatomy) -> ForeignGraph:
    """Raises InputError for tensors that are not those of a model of that shape. Scores by position are added up."""
    convert = (
        f'python -c "import torch; from safetensors.torch import save_file; save_file({{k: v.contiguous() for k, v in '
        f"torch.load('{path.name}', weights_only=True).items()}}, '{path.stem}.safetensors')\""
    )
    content = read_bytes(path, convert)
    tensors, metadata = _read_safetensors(content, path) if is_safetensors(content) else _read_json(content, path)
    note = parse_json(metadata[MARK].encode(), path) if MARK in metadata else None
    mark = Mark.read(note, str(path))
    graph, vector, by_position = terms(anatomy, mark), [], False
    groups = {_module(group, anatomy): group for group in graph.groups}
    _check_modules(tensors.keys(), groups.keys(), path)
    for module, group in groups.items():
        block = _check_block(tensors[module], _shape(group), f"{path}: {module}")
        by_position |= block.ndim > len(_shape(group))
        vector.append(block.reshape(-1, group.stop - group.start).sum(axis=0))
    values = dict(zip(graph.names, np.concatenate(vector).tolist(), strict=True))
    found = _found(values, note, mark, path)
    return found.losing("which position of the prompt: scores were added up over positions") if by_position else found


def _found(values: dict[str, float], note: Any, mark: Mark, path: Path) -> ForeignGraph:
    if not isinstance(note, dict) or _CIRCUIT not in note:
        return ForeignGraph(values, mark=mark)
    kept = note[_CIRCUIT]
    if not isinstance(kept, list) or not all(isinstance(name, str) for name in kept):
        raise InputError(f"{path}: {_CIRCUIT} in its metadata is not a list of edges")
    edges = {name: values.get(name) for name in kept}
    return ForeignGraph(values if mark.scored == "all" else None, edges, mark=mark)


def _check_modules(found: Set[str], wanted: Set[str], path: Path) -> None:
    for name in sorted(found - wanted):
        raise InputError(f"{path}: {name!r} does not exist in this model")
    for name in sorted(wanted - found):
        raise InputError(f"{path}: lacks {name!r}, which this model has")


def _check_block(block: np.ndarray, shape: tuple[int, ...], place: str) -> np.ndarray:
    if block.shape[-len(shape) :] != shape or block.ndim > len(shape) + 1:
        raise InputError(f"{place} has the shape {list(block.shape)}, but this model's is {list(shape)}")
    if not np.isfinite(block).all():
        raise InputError(f"{place} holds a number that is not finite")
    return block


def _read_safetensors(content: bytes, path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")], object_pairs_hook=unique_keys)
        for name, tensor in header.items():
            if name != "__metadata__" and tensor["dtype"] not in _NUMBERS:
                raise InputError(f"{path}: {name!r} is of type {tensor['dtype']}: convert it to float32")
        tensors = {name: np.asarray(value, dtype=float) for name, value in safetensors.numpy.load(content).items()}
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from None
    return tensors, header.get("__metadata__") or {}


def _read_json(content: bytes, path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    record = table(parse_json(content, path), str(path))
    try:
        return {module: _array(value, f"{path}: {module}") for module, value in record.items()}, {}
    except RecursionError:
        raise InputError(f"{path}: lists are nested too deeply") from None


def _array(value: Any, place: str) -> np.ndarray:
    def check(part: Any, at: str) -> Any:
        if isinstance(part, list):
            return [check(inner, f"{at}[{i}]") for i, inner in enumerate(part)]
        return number(part, at)

    try:
        return np.array(check(value, place), dtype=float)
    except ValueError:
        raise InputError(f"{place}: its lists are not of one length") from None
    except RecursionError:
        raise InputError(f"{place}: its lists are nested too deeply") from None


def _module(group: ReaderGroup, anatomy: Anatomy) -> str:
    if group.kind is ReaderKind.LOGITS:
        return f"blocks.{anatomy.n_layers - 1}.hook_resid_post"
    return f"blocks.{group.layer}.hook_{'mlp_in' if group.kind is ReaderKind.MLP else f'{group.kind.value}_input'}"


def _shape(group: ReaderGroup) -> tuple[int, ...]:
    alone = group.kind in (ReaderKind.MLP, ReaderKind.LOGITS)
    return (group.senders,) if alone else (len(group.readers), group.senders)


def terms(anatomy: Anatomy, mark: Mark) -> ComponentGraph:
    return per_head(anatomy)


CODEC = Codec(NAME, terms, encode, decode, nodes=False)
