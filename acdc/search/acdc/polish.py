"""A second pass over a finished circuit, until no single edge should go and none that was tested should come.

In each round, the circuit is measured without each of its edges: an edge leaves where the objective rises by less than
the threshold. Then it is measured with each of some candidates added, see `acdc.search.acdc.missing`: an edge enters
where the objective falls by at least the threshold, a path of two edges where it falls by at least twice that. Edges
are taken one after the other, the smallest rise and the largest fall first, each decided by a run of the circuit as it
is then. Every step lowers the objective plus the threshold times the number of edges, or leaves it as it is and adds
an edge: so under resample ablation no circuit comes back. The last round changes nothing, and is the certificate.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from acdc.artefacts.scores import Decisions, Polish, PolishStep
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.graph.units import kind_of
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.acdc.circuits import Circuits, circuits_of
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.missing import find_candidates
from acdc.search.options import OrderOptions
from acdc.task.objective import Wanted

ROUNDS = 10  # at most; the last of so many changes nothing


def check_polish(behaviour: Behaviour, options: OrderOptions) -> None:
    """Raises InputError for what cannot be polished."""
    if not options.polish:
        return
    if not kind_of(options.level).count_as_edges:
        raise InputError(
            f"--polish tests edges and is not available over {options.level}: leave it out, or use --level edges or "
            "--level positions"
        )
    if behaviour.graph.direct_edges:
        raise InputError("--polish does not test the edges within heads: leave out --direct-edges or --polish")
    if behaviour.executor.scaled_bias:
        raise InputError("--polish is not available for models whose post-norms scale an attention bias: leave it out")
    if behaviour.metric.steps:
        raise InputError(
            f"--polish estimates which edges a circuit lacks from gradients, and metric {behaviour.metric.name!r} is a "
            "step function without one: leave out --polish, or use another metric"
        )


def polish(
    behaviour: Behaviour,
    wanted: Wanted,
    found: Decisions,
    seed: int,
    progress: Progress,
    level: Level = Level.edges,
) -> Decisions:
    """The polished circuit, each edge with the change of the metric without it, in the finished circuit."""
    with progress("polish", ROUNDS, "rounds") as advance:
        run = _Polishing(circuits_of(behaviour, level), wanted, found.kept, found.threshold, seed)
        for number in range(1, ROUNDS + 1):
            settled = run.round(number, may_change=number < ROUNDS)
            advance(1, f"{int(run.kept.sum())} kept, {run.measured.objective.shown(run.current)}")
            if settled:
                break
        advance(ROUNDS - number)
    return replace(found, kept=run.kept, values=run.values(), objective=run.current, polish=run.record(number))


class _Polishing:
    """The circuit `kept` as it is now, boolean [edges], its objective, and what the last round measured of it."""

    def __init__(self, circuits: Circuits, wanted: Wanted, kept: np.ndarray, threshold: float, seed: int):
        self.circuits, self.threshold = circuits, threshold
        self.measured = MeasuredObjective(circuits.behaviour, wanted)
        self._before = self.kept = circuits.pruned(kept)
        self.current = self._objective(self.kept)
        self._generator, self._steps = np.random.default_rng(seed), list[PolishStep]()

    def round(self, number: int, may_change: bool) -> bool:
        """Test all edges and the candidates; whether the circuit is as it was."""
        before = len(self._steps)
        self._candidates = find_candidates(self.circuits, self.measured, self.kept, self._generator)
        additions = self._candidates.additions
        falls = -self._changes(additions)
        self._helps = falls >= self.threshold * np.array([len(edges) for edges in additions])
        if may_change:
            self._add(number, additions, falls)
        self._edges = np.flatnonzero(self.kept)
        self._rises = self._changes([*self._edges[:, None]])
        if may_change:
            self._remove(number)
        return len(self._steps) == before

    def _remove(self, number: int) -> None:
        for place in np.argsort(self._rises, kind="stable"):
            edge = self._edges[place]
            if self._rises[place] >= self.threshold:
                return
            if not self.kept[edge]:  # it has gone with another that it led to, or came from
                continue
            without = self.circuits.pruned(self.kept & (np.arange(len(self.kept)) != edge))
            after = self._objective(without)
            self._rises[place] = after - self.current
            if after - self.current < self.threshold:
                self._take(number, without, after)

    def _add(self, number: int, additions: Sequence[np.ndarray], falls: np.ndarray) -> None:
        for place in np.argsort(-falls, kind="stable"):
            if not self._helps[place]:
                continue
            joined = self.kept | np.isin(np.arange(len(self.kept)), additions[place])
            after, more = self._objective(joined), int(joined.sum() - self.kept.sum())
            self._helps[place] = more and self.current - after >= more * self.threshold
            if self._helps[place]:
                self._take(number, joined, after)

    def _take(self, number: int, new: np.ndarray, after: float) -> None:
        added, names = bool((new & ~self.kept).any()), self.circuits.names(new ^ self.kept)
        self._steps.append(PolishStep(number, added, tuple(names), after - self.current))
        self.kept, self.current = new, after

    def values(self) -> np.ndarray:
        """The change of the metric without each edge of the circuit, 0 elsewhere: [edges]."""
        changes = np.zeros(len(self.kept))
        changes[self._edges] = self.measured.objective.sign * self._rises
        return changes

    def record(self, rounds: int) -> Polish:
        """What it did, and what the last round found."""
        tested = self._candidates
        return Polish(
            steps=tuple(self._steps),
            rounds=rounds,
            added=int((self.kept & ~self._before).sum()),
            removed=int((self._before & ~self.kept).sum()),
            needed=int((self._rises >= self.threshold).sum()),
            possible=tested.possible,
            best=len(tested.best),
            drawn=len(tested.drawn),
            paths=len(tested.paths),
            helping=int(self._helps.sum()),
        )

    def _objective(self, kept: np.ndarray) -> float:
        """By a run from scratch."""
        return float(self.measured.of_subgraphs(self.circuits.ablated(kept[None]))[0])

    def _changes(self, changed: Sequence[np.ndarray]) -> np.ndarray:
        """By how much the objective rises in each variant of the circuit."""
        metrics = self.measured.objective.metrics
        parts = self.circuits.variants(self.kept, changed, metrics)
        return np.concatenate([self.measured.of(values) for values in parts] or [np.empty(0)]) - self.current
