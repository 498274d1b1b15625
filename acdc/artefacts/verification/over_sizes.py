"""Faithfulness over circuits of all sizes."""

from dataclasses import dataclass

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


OWN_SCORES = "scores of all edges"


OWN_TESTS = "the change that ACDC measured when it tested each edge, with the edges of the circuit first"


@dataclass(frozen=True)
class Integrated:
    """`by_size`: f at each of `SHARES` of edges ranked by |score|; `cmd` and `cpr` as above; `basis`: see
    `EdgeRanking`."""

    by_size: tuple[float, ...]
    cmd: float
    cpr: float
    basis: str = OWN_SCORES
