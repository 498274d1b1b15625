"""Faithfulness over circuits of all sizes."""

from dataclasses import dataclass

import numpy as np

from acdc.options import ScoreKind

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


OWN_SCORES = "scores of all edges"


OWN_TESTS = "the change that ACDC measured when it tested each edge, with the edges of the circuit first"


@dataclass(frozen=True)
class EdgeRanking:
    """Values of all edges [edges] by which they rank, of a kind (see `acdc.artefacts.scores.Scores`); `basis` says in
    words what they are."""

    values: np.ndarray
    kind: ScoreKind
    basis: str = OWN_SCORES


@dataclass(frozen=True)
class Integrated:
    """`by_size`: f at each of `SHARES` of edges ranked by |score|; `cmd` and `cpr` as above; `basis`: see
    `EdgeRanking`."""

    by_size: tuple[float, ...]
    cmd: float
    cpr: float
    basis: str = OWN_SCORES
