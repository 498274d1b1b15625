"""How all edges rank in a run: by its scores, or by what ACDC saw when it tested them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.digests import check_unchanged, has_artefact
from acdc.artefacts.named_scores import NamedScores
from acdc.artefacts.verification.over_sizes import OWN_TESTS, EdgeRanking
from acdc.errors import InputError, without_prefix
from acdc.files import read_bytes
from acdc.runs.score_files import Finite, read_values, scores_path

DECISIONS, SCREENING, POLISH = "decisions.jsonl", "screening.json", "polish.json"


class TestedEdge(BaseModel):
    """A line of `decisions.jsonl` over edges: the objective, which is minimised, before and with the edge removed."""

    edge: str
    before: Finite
    after: Finite
    kept: bool


def rank_edges(path: Path, circuit: Circuit) -> EdgeRanking | None:
    """The ranking of all edges in a run's folder; None where it has none. Raises InputError for a damaged file."""
    if not circuit.units.are_edges:
        return None
    if scores_path(path):
        return EdgeRanking(read_values(path, circuit), circuit.score_kind)
    return by_tests(circuit, _read_tests(path / DECISIONS)) if has_artefact(path / DECISIONS) else None


def rank_by(circuit: Circuit, scores: Mapping[str, float]) -> EdgeRanking:
    """The ranking by scores of all edges. Raises InputError for those of another graph."""
    graph = circuit.graph
    if isinstance(scores, NamedScores) and len(scores) == graph.n_edges:
        return EdgeRanking(scores.values_in_order, circuit.score_kind)
    if scores.keys() != graph.index.keys():
        raise InputError("scores= does not hold the edges of the circuit's graph")
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
