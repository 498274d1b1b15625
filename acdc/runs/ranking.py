"""How all edges rank in a run: by its scores, or by what ACDC saw when it tested them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model

from acdc.artefacts.circuit import Circuit, ModelRecord
from acdc.artefacts.digests import check_unchanged, has_artefact, read_artefact
from acdc.artefacts.verification.over_sizes import OWN_TESTS, EdgeRanking
from acdc.errors import InputError, without_prefix
from acdc.files import read_bytes
from acdc.options import Level

SCORES, DECISIONS = "scores.json", "decisions.jsonl"
SCREENING, POLISH = "screening.json", "polish.json"
Finite = Annotated[float, Field(allow_inf_nan=False)]


class ScoresRecord(BaseModel):
    """What reading `scores.json` of `acdc score` relies on; the rest is kept as it is."""

    model_config = ConfigDict(extra="allow")

    format: Literal["acdc-scores"]
    version: Literal[1]
    model: ModelRecord
    task: dict[str, JsonValue]
    score_kind: Literal["effect", "importance"]
    edges: dict[str, float]


class TestedEdge(BaseModel):
    """A line of `decisions.jsonl` over edges: the objective, which is minimised, before and with the edge removed."""

    edge: str
    before: Finite
    after: Finite
    kept: bool


def read_scores(path: Path, level: Level) -> dict[str, float]:
    """`scores.json` of a discovery at a level, in a run's folder. Raises InputError for a damaged file."""
    fields: dict[str, Any] = {level.value: (dict[str, Finite], ...)}
    expected = create_model("DiscoveryScores", **fields)
    return getattr(read_artefact(expected, path / SCORES, "a score file of acdc"), level.value)


def rank_edges(path: Path, circuit: Circuit) -> EdgeRanking | None:
    """The ranking of all edges in a run's folder; None where it has none. Raises InputError for a damaged file."""
    if not circuit.units.are_edges:
        return None
    if has_artefact(path / SCORES):
        return rank_by(circuit, read_scores(path, circuit.level), str(path / SCORES))
    return by_tests(circuit, _read_tests(path / DECISIONS)) if has_artefact(path / DECISIONS) else None


def rank_by(circuit: Circuit, scores: Mapping[str, float], where: str = "scores=") -> EdgeRanking:
    """The ranking by scores of all edges. Raises InputError, saying `where` they are, for those of another graph."""
    graph = circuit.graph
    if scores.keys() != graph.index.keys():
        raise InputError(f"{where} does not hold the edges of the circuit's graph")
    return EdgeRanking(np.array([scores[name] for name in graph.names]), circuit.score_kind)


def by_tests(circuit: Circuit, tests: list[TestedEdge]) -> EdgeRanking:
    """The circuit's edges first, then by how far their removal raised the objective at their last test; what was never
    tested, as nothing that was left read it, comes last with 0. Raises InputError for an edge that is none."""
    graph = circuit.graph
    rises = {test.edge: test.after - test.before for test in tests}
    tested, kept = graph.mask(rises), circuit.mask
    changes = np.array([rises.get(name, 0.0) for name in graph.names])
    order = np.lexsort((changes, tested, kept))
    ranks = np.zeros(graph.n_edges)
    ranks[order] = np.arange(1, graph.n_edges + 1) - (~tested & ~kept).sum()
    return EdgeRanking(np.maximum(ranks, 0.0), "importance", OWN_TESTS)


def _read_tests(path: Path) -> list[TestedEdge]:
    content = read_bytes(path)
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    tests = []
    for number, line in enumerate(lines, start=1):
        try:
            tests.append(TestedEdge.model_validate_json(line))
        except ValidationError as error:
            problem = without_prefix(error.errors()[0]["msg"])
            raise InputError(f"{path}, line {number} is damaged: {problem}") from None
    check_unchanged(path, content)
    return tests
