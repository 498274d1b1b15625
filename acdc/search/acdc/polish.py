"""A second pass over a finished circuit, until no single edge should go and none that was tested should come.

In each round, the circuit is measured with each of some candidates added, see `acdc.search.acdc.missing`: an edge
enters where the objective falls by at least the threshold, a path of two edges where it falls by at least twice that.
Then it is measured without each of its edges: an edge leaves where the objective rises by less than the threshold. The
largest falls and the smallest rises come first, and all together: a group may enter or leave by the same rule for each
of its edges on average, if the objective changes by what its members foretell, to within the threshold. Else it is
halved, down to single ones. Every step is decided by a run of the circuit as it is then, and lowers the objective plus
the threshold times the number of edges, or leaves it as it is and adds an edge: so under resample ablation no circuit
comes back. The last round changes nothing, and is the certificate.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from acdc.artefacts.scores import Decisions, Polish, PolishStep
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.graph.units import kind_of
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.acdc.circuits import Circuits, circuits_of
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.missing import BEST, PATHS, SAMPLE, find_candidates
from acdc.task.objective import Wanted

ROUNDS = 10  # at most; the last of so many changes nothing
HALVED, ROUNDS_EACH = 2, 2  # how often a threshold is halved for a faithfulness, and the rounds under each
UNTIL_ROUNDS = (HALVED + 1) * ROUNDS_EACH + 1


def check_polish(behaviour: Behaviour, level: Level) -> None:
    """Raises InputError for what cannot be polished."""
    if not kind_of(level).count_as_edges:
        raise InputError(
            f"--polish tests edges and is not available over {level}: leave it out, or use --level edges or "
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


def can_polish(behaviour: Behaviour, level: Level) -> bool:
    """Whether `polish` is available."""
    try:
        check_polish(behaviour, level)
    except InputError:
        return False
    return True


def most_runs(edges: int) -> int:
    """Runs of a circuit of so many edges at most that `polish_until` makes: in each round, one for each edge and each
    candidate alone, and as many again for groups, each of which halves at most twice as often as it has members."""
    return UNTIL_ROUNDS * 3 * (edges + BEST + SAMPLE + PATHS)


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
        run = _Polishing(circuits_of(behaviour, level), wanted, found, seed)
        for number in range(1, ROUNDS + 1):
            settled = run.round(number, may_change=number < ROUNDS)
            advance(1, run.note)
            if settled:
                break
        advance(ROUNDS - number)
    return run.polished(number)


def polish_until(
    behaviour: Behaviour,
    wanted: Wanted,
    found: Decisions,
    seed: int,
    progress: Progress,
    level: Level,
    enough: Callable[[float], bool],
) -> Decisions:
    """The same until a circuit's mean metric is `enough`, after which no edge leaves that would undo it: at most two
    rounds under the threshold, then under half of it and a quarter. A last round changes nothing."""
    with progress("polish", UNTIL_ROUNDS, "rounds") as advance:
        run = _Polishing(circuits_of(behaviour, level), wanted, found, seed, enough)
        numbers = count(1)
        for halved in range(HALVED + 1):
            run.threshold = found.threshold / 2**halved
            for _ in range(ROUNDS_EACH):
                settled = run.round(next(numbers), may_change=True)
                advance(1, run.note)
                if settled or enough(run.current.metric):
                    break
            if enough(run.current.metric):
                break
        last = next(numbers)
        run.round(last, may_change=False)
        advance(UNTIL_ROUNDS - last + 1)
    return run.polished(last)


@dataclass(frozen=True)
class _Means:
    """The objective of a circuit, and its mean metric."""

    objective: float
    metric: float


class _Polishing:
    """The circuit `kept` as it is now, boolean [edges], what is measured of it, and what the last round found. With
    `enough`, a mean metric that is enough is not given up for fewer edges."""

    def __init__(
        self,
        circuits: Circuits,
        wanted: Wanted,
        found: Decisions,
        seed: int,
        enough: Callable[[float], bool] = lambda metric: False,
    ):
        self.circuits, self.threshold, self._found, self._enough = circuits, found.threshold, found, enough
        self.measured = MeasuredObjective(circuits.behaviour, wanted)
        self._before = self.kept = circuits.pruned(found.kept)
        self.current = self._measured(self.kept)
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
        """Let edges go, the smallest rise first."""

        def without(places: np.ndarray) -> np.ndarray:
            return self.circuits.pruned(self.kept & ~np.isin(np.arange(len(self.kept)), self._edges[places]))

        order = np.argsort(self._rises, kind="stable")
        some = order[self._rises[order] < self.threshold]
        for place, rise in self._in_groups(number, some, self._rises, without):
            self._rises[place] = rise

    def _add(self, number: int, additions: Sequence[np.ndarray], falls: np.ndarray) -> None:
        """Let edges and paths come, the largest fall first."""

        def joined(places: np.ndarray) -> np.ndarray:
            edges = np.concatenate([additions[place] for place in places])
            return self.kept | np.isin(np.arange(len(self.kept)), edges)

        order = np.argsort(-falls, kind="stable")
        for place, _ in self._in_groups(number, order[self._helps[order]], -falls, joined):
            self._helps[place] = False

    def _in_groups(
        self, number: int, places: np.ndarray, rises: np.ndarray, changed: Callable[[np.ndarray], np.ndarray]
    ) -> Iterator[tuple[int, float]]:
        """Take as many of some changes at once as fit, in their order: half of a group that does not. Yields single
        ones that do not, with the rise; nothing comes after one that would undo what is enough."""
        size = len(places)
        while len(places):
            group = places[:size]
            new = changed(group)
            if (new == self.kept).all():  # gone with others that they led to or came from, or come with them
                places = places[size:]
                continue
            after = self._measured(new)
            rise, edges = after.objective - self.current.objective, int(self.kept.sum()) - int(new.sum())
            limit = self.threshold * min(edges, len(group))
            pays = rise < limit if edges > 0 else rise <= limit
            foreseen = len(group) == 1 or rise < rises[group].sum() + self.threshold
            lost = self._enough(self.current.metric) and not self._enough(after.metric)
            if pays and foreseen and not lost:
                self._take(number, new, after)
            elif len(group) > 1:
                size = len(group) // 2
                continue
            elif lost:
                return
            else:
                yield int(places[0]), rise
            places, size = places[size:], 2 * size

    def _take(self, number: int, new: np.ndarray, after: _Means) -> None:
        added, names = bool((new & ~self.kept).any()), self.circuits.names(new ^ self.kept)
        self._steps.append(PolishStep(number, added, tuple(names), after.objective - self.current.objective))
        self.kept, self.current = new, after

    @property
    def note(self) -> str:
        return f"{int(self.kept.sum())} kept, {self.measured.objective.shown(self.current.objective)}"

    def polished(self, rounds: int) -> Decisions:
        """The circuit, with what so many rounds did and what the last one found."""
        values = np.zeros(len(self.kept))
        values[self._edges] = self.measured.objective.sign * self._rises
        record = self._record(rounds)
        return replace(self._found, kept=self.kept, values=values, objective=self.current.objective, polish=record)

    def _record(self, rounds: int) -> Polish:
        tested = self._candidates
        return Polish(
            steps=tuple(self._steps),
            threshold=self.threshold,
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

    def _measured(self, kept: np.ndarray) -> _Means:
        """By a run from scratch."""
        mask, metrics = self.circuits.ablated(kept[None]), self.measured.objective.metrics
        values = self.circuits.behaviour.measure(mask, metrics)
        return _Means(float(self.measured.of(values)[0]), float(values[0, 0].mean()))

    def _changes(self, changed: Sequence[np.ndarray]) -> np.ndarray:
        """By how much the objective rises in each variant of the circuit."""
        metrics = self.measured.objective.metrics
        parts = self.circuits.variants(self.kept, changed, metrics)
        return np.concatenate([self.measured.of(values) for values in parts] or [np.empty(0)]) - self.current.objective
