"""Files of scores: `scores.json` by id, or of more than a million units `scores.safetensors`, an array.

The array file holds one float64 tensor [candidates], named after the level, in the order of the graph; what
`scores.json` of `acdc score` says besides is JSON in the header, under `acdc`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model
from safetensors import SafetensorError
from safetensors.numpy import load, save

from acdc.artefacts.circuit import Circuit, ModelRecord
from acdc.artefacts.digests import check_unchanged, has_artefact, read_artefact
from acdc.artefacts.named_scores import NamedScores
from acdc.errors import InputError, first_line
from acdc.files import json_text, parse_model, read_bytes
from acdc.graph import Anatomy, ComponentGraph
from acdc.graph.units import EdgeUnits, Units
from acdc.options import Level

SCORES, ARRAY = "scores.json", "scores.safetensors"
HEADER, WHAT = "acdc", "a score file of acdc"
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Writing(Protocol):
    """A folder that files are written into."""

    @property
    def path(self) -> Path: ...

    def write(self, name: str, text: str | bytes) -> None: ...


class ScoresRecord(BaseModel):
    """What reading the scores of `acdc score` relies on, besides those; the rest is kept as it is."""

    model_config = ConfigDict(extra="allow")

    format: Literal["acdc-scores"]
    version: Literal[1]
    model: ModelRecord
    task: dict[str, JsonValue]
    score_kind: Literal["effect", "importance"]

    @property
    def graph(self) -> ComponentGraph:
        model = self.model
        return ComponentGraph(Anatomy(**model.anatomy), model.split_embeddings, model.direct_edges)


class _NamedRecord(ScoresRecord):
    edges: dict[str, float]


def write_scores(
    run: Writing, level: Level, scores: Mapping[str, float], record: Mapping[str, Any] | None = None
) -> Path:
    """Write all scores of a level, with what `acdc score` says of them besides; the file."""
    if isinstance(scores, NamedScores):
        header = {} if record is None else {HEADER: json.dumps(record, allow_nan=False)}
        run.write(ARRAY, save({level.value: scores.values_in_order}, metadata=header))
        return run.path / ARRAY
    run.write(SCORES, json_text({**(record or {}), level.value: scores}))
    return run.path / SCORES


def scores_path(path: Path) -> Path | None:
    """The file of scores in a run's folder; None where there is none. Raises ChangedFile where it is gone."""
    return next((path / name for name in (SCORES, ARRAY) if has_artefact(path / name)), None)


def read_scores(path: Path, units: Units) -> Mapping[str, float]:
    """All scores of a discovery over units, from its folder. Raises InputError for a damaged file, or one of another
    graph."""
    file = scores_path(path) or path / SCORES
    if file.name == ARRAY:
        return _read_array(file, units, read_bytes(file))
    fields: dict[str, Any] = {units.level.value: (dict[str, Finite], ...)}
    found = getattr(read_artefact(create_model("DiscoveryScores", **fields), file, WHAT), units.level.value)
    _check_names(found, units, file)
    return found


def read_values(path: Path, circuit: Circuit) -> np.ndarray:
    """The same as an array [edges], for a circuit of edges."""
    scores = read_scores(path, circuit.units)
    if isinstance(scores, NamedScores):
        return scores.values_in_order
    return np.array([scores[name] for name in circuit.graph.names])


def read_score_run(path: Path) -> tuple[ScoresRecord, Mapping[str, float]]:
    """What `acdc score` has written into a folder: (the record, scores of all edges). Raises InputError for a damaged
    file, or one of another graph than it says."""
    file = scores_path(path) or path / SCORES
    if file.name == ARRAY:
        content = read_bytes(file)
        record = parse_model(ScoresRecord, _header(file, content).get(HEADER, "").encode(), file, WHAT)
        return record, _read_array(file, EdgeUnits(record.graph), content)
    named = read_artefact(_NamedRecord, file, WHAT)
    _check_names(named.edges, EdgeUnits(named.graph), file)
    return ScoresRecord.model_validate(named.model_dump(mode="json", exclude={"edges"})), named.edges


def _check_names(scores: Mapping[str, float], units: Units, file: Path) -> None:
    if scores.keys() != set(units.names()):
        raise InputError(f"{file} does not hold the {units.plural} of the run's graph")


def _read_array(file: Path, units: Units, content: bytes) -> NamedScores:
    """Raises InputError for what is no array of so many finite numbers."""
    try:
        found = load(content)
    except SafetensorError as error:
        raise InputError(f"{file} is damaged: not valid safetensors ({first_line(error)})") from None
    values = found.get(units.level.value)
    if len(found) != 1 or values is None or values.dtype != np.float64 or values.shape != (units.count,):
        there = ", ".join(f"{name} {list(x.shape)} {x.dtype}" for name, x in sorted(found.items()))
        raise InputError(
            f"{file} is not {WHAT}: it holds {there or 'nothing'}, not {units.level.value} [{units.count}] float64"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{file} holds a score that is not finite, at {units.level.value} {_first_bad(values)}")
    check_unchanged(file, content)
    return NamedScores(values, units)


def _first_bad(values: np.ndarray) -> int:
    return int(np.flatnonzero(~np.isfinite(values))[0])


def _header(file: Path, content: bytes) -> dict[str, str]:
    """What the header of a safetensors file says besides its tensors. Raises InputError for another file."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length].decode("utf-8"))
        return dict(header.get("__metadata__") or {})
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{file} is damaged: not valid safetensors") from None
