"""What a search returns: scores for every edge, or decisions edge by edge."""

import math
from dataclasses import dataclass, fields

import numpy as np

from acdc.options import Level, ScoreKind


@dataclass(frozen=True)
class Decision:
    """One test of ACDC: the objective before and with the edge or node removed, as `decisions.jsonl` has it. It is
    minimised: where a larger metric is better, it is the negated metric (`Metric.objective`)."""

    candidate: str
    before: float
    after: float
    kept: bool


@dataclass(frozen=True)
class Scores:
    """A score for every unit of a level, float64 of these units' shape: [edges], [writers] or [writers, d].

    `kind` is `effect` when a score is the (estimated) change of the metric, in the metric's own sign, when that unit
    alone is ablated in the full model; `importance` when it only ranks. `batch_splits`: how often batches had to be
    halved because memory was short, at most."""

    values: np.ndarray
    kind: ScoreKind
    batch_splits: int = 0
    level: Level = Level.edges


@dataclass(frozen=True)
class Proposal:
    """The edges that ACDC was let decide about: how many, the objective with all of them kept, the largest |score|
    among the others, and the scores' `batch_splits`."""

    edges: int
    objective: float
    left_out: float
    batch_splits: int


@dataclass(frozen=True)
class GroupRemoval:
    """Screened candidates of one receiver that left together: the first of them, how many, and by how much their
    removal raised the objective."""

    first: str
    count: int
    change: float


@dataclass(frozen=True)
class Screening:
    """What an ACDC run removed without a test, as its estimated effect was below a `share` of the threshold: groups of
    candidates in the order in which they left. Of the candidates so estimated, `sampled` were tested all the same, and
    `sampled_kept` of these were kept."""

    share: float
    groups: tuple[GroupRemoval, ...]
    sampled: int
    sampled_kept: int

    @property
    def removed(self) -> int:
        return sum(group.count for group in self.groups)

    def __add__(self, later: "Screening") -> "Screening":
        """That of two runs with the same share."""
        sampled, kept = self.sampled + later.sampled, self.sampled_kept + later.sampled_kept
        return Screening(self.share, self.groups + later.groups, sampled, kept)

    def totals(self) -> dict[str, int | float]:
        """What a circuit records of it: how many candidates left in how many groups, by how much that raised the
        objective together, and the sample."""
        return {
            "edges": self.removed,
            "groups": len(self.groups),
            "change": math.fsum(group.change for group in self.groups),
            "sampled": self.sampled,
            "sampled_kept": self.sampled_kept,
        }


@dataclass(frozen=True)
class PolishStep:
    """Edges that a polish `added` to a circuit together, or else removed from it, in a round; and by how much that
    raised the objective. With removed edges go those that lose their last path."""

    round: int
    added: bool
    edges: tuple[str, ...]
    change: float


@dataclass(frozen=True)
class Polish:
    """A second pass over a finished circuit: its steps, the `threshold` of the last, how many rounds it took, how many
    edges it `added` and `removed` in the end; and what the last round found. Without each of so many `needed` edges the
    objective rises by at least the threshold. Of `possible` edges between components of the circuit that are not in it,
    the `best` by estimate were added one by one, and others `drawn` at random; so were `paths` of two edges through
    absent components. So many were `helping`: the objective fell by at least the threshold for each of their edges."""

    steps: tuple[PolishStep, ...]
    threshold: float
    rounds: int
    added: int
    removed: int
    needed: int
    possible: int
    best: int
    drawn: int
    paths: int
    helping: int

    @property
    def counts(self) -> dict[str, int]:
        """All but the steps, as circuits record it."""
        return {f"polish_{one.name}": getattr(self, one.name) for one in fields(self) if one.name != "steps"}


@dataclass(frozen=True)
class Decisions:
    """The tests of an ACDC run in order, the edges it kept as a boolean vector [edges], which at spans are those there,
    and the threshold it used.

    `values` holds the change of the metric, in its own sign, at the test of each kept edge (0 elsewhere); over nodes,
    at that of its sender. `units` are the kept nodes with their changes, None over edges. `objective` is that of the
    final circuit, measured from scratch, and `drift` how far the search's own account was ever off. `tried` counts
    computed candidates: more than tests, as those after a kept one in the same pass do not count. `proposal`: what was
    decided about, None for all edges. `screening`: None where every candidate was tested.
    `minimised`: the name of the objective.
    `polish`: what a second pass changed of the circuit, None without one; then `kept`, `values` and `objective` are of
    the circuit after it.
    """

    tests: tuple[Decision, ...]
    kept: np.ndarray
    values: np.ndarray
    threshold: float
    objective: float
    drift: float
    tried: int
    units: dict[str, float] | None = None
    proposal: Proposal | None = None
    screening: Screening | None = None
    polish: Polish | None = None
    minimised: str = ""
    kind: ScoreKind = "effect"
