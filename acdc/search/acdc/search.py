"""ACDC (Conmy et al. 2023, arXiv 2304.14997), exact, at the cost of the circuit instead of the model.

Receivers are visited from the logits backwards; at each, its senders from the latest. An edge is removed for good when
the objective rises by less than the threshold (strictly), in the subgraph as it stands. A receiver whose component has
no kept outgoing edge loses its incoming edges without a test. Over nodes, components are removed for all that read
them, from the latest; the embeddings stay. What a test costs is told in `acdc.search.acdc.state`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from acdc.artefacts.scores import Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError, NothingToFind
from acdc.graph.units import NeuronUnits, PositionUnits, Units, kind_of
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.acdc.polish import can_polish, check_polish, polish, polish_until
from acdc.search.acdc.pruning import Hopeless, Pruning
from acdc.search.acdc.receiver_steps import ReceiverStep, neuron_step, node_step, positional_steps, receiver_steps
from acdc.search.acdc.screening import Screen
from acdc.search.acdc.speculation import Speculation, can_foretell, make_tester
from acdc.search.acdc.to_faithfulness import to_faithfulness
from acdc.search.methods.tested_neurons import tested_candidates
from acdc.search.options import MANY_CANDIDATES, MANY_SCREEN, OrderOptions
from acdc.task.metrics import METRICS
from acdc.task.objective import Wanted

DEFAULT_THRESHOLD_SHARE = 0.005


def acdc(behaviour: Behaviour, options: OrderOptions, progress: Progress) -> Decisions:
    """Decide every edge or node. Without a threshold, 0.5 % of |metric(full) - metric(empty circuit)| is taken, or with
    a faithfulness what reaches it (`acdc.search.acdc.to_faithfulness`)."""
    proposed = candidates(behaviour, options, progress)
    if options.faithfulness is not None:
        search = _UnderThresholds(behaviour, options, progress, proposed)
        circuits = _circuits(behaviour, options.level)
        return to_faithfulness(behaviour, options.faithfulness, search.objective.rest, search, circuits)
    threshold = default_threshold(behaviour) if options.threshold is None else options.threshold
    return decide(behaviour, [threshold], options, progress, proposed)[0]


@dataclass(frozen=True)
class _UnderThresholds:
    """See `acdc.search.acdc.to_faithfulness.Search`."""

    behaviour: Behaviour
    options: OrderOptions
    progress: Progress
    proposed: np.ndarray | None

    @cached_property
    def objective(self) -> Wanted:
        return wanted_objective(self.behaviour, self.options)

    def decide(self, threshold: float, name: str, hopeless: Hopeless | None) -> Decisions | None:
        found = decide(self.behaviour, [threshold], self.options, self.progress, self.proposed, name, hopeless)
        return found[0] if found else None

    def polish(self, found: Decisions, enough: Callable[[float], bool]) -> Decisions:
        level, seed = self.options.level, self.options.seed
        if found.polish is not None or not can_polish(self.behaviour, level):
            return found
        return polish_until(self.behaviour, self.objective, found, seed, self.progress, level, enough)


def candidates(behaviour: Behaviour, options: OrderOptions, progress: Progress) -> np.ndarray | None:
    """Those that are decided about, boolean [candidates]; None for all. The other neurons go without a test."""
    units = behaviour.units(options.level)
    return tested_candidates(behaviour, units, options, progress) if isinstance(units, NeuronUnits) else None


def decide(
    behaviour: Behaviour,
    thresholds: Sequence[float],
    options: OrderOptions,
    progress: Progress,
    proposed: np.ndarray | None = None,
    name: str = "acdc",
    hopeless: Hopeless | None = None,
) -> list[Decisions]:
    """What ACDC decides under each threshold, in their order, with the work shared while their decisions agree.

    `proposed`: boolean [edges or nodes] of those to decide about, the others are removed without a test; None for all.
    `name`: under which progress is shown. `hopeless`: when to give up; what was given up is missing in the result.
    """
    if options.polish:
        check_polish(behaviour, options.level)
    level, plan = options.level, _plan(behaviour, options)
    objective = wanted_objective(behaviour, options)
    apart = sorted(set(thresholds))
    candidates = sum(len(step.candidates) for step in plan)
    share = screen_share(behaviour, options, candidates if proposed is None else int(proposed.sum()))
    together = [[threshold] for threshold in apart] if share else [apart]  # a screen is for one threshold
    found: dict[float, Decisions] = {}
    with progress(name, candidates * len(apart), kind_of(level).plural) as advance:
        for some in together:
            speculates = behaviour.workers.may_come and len(some) == 1
            tester = (Speculation if speculates else make_tester)(behaviour, level, objective)
            every = np.ones(len(tester.names), dtype=bool)
            screen = Screen(share, some[0], tester.names, options.seed)
            wanted = every if proposed is None else proposed
            waiting = [Pruning(behaviour, tester, some, plan, wanted, screen, options.journal, hopeless)]
            while waiting:
                run = waiting.pop()
                waiting += run.finish(advance)
                found |= run.results()
    if options.polish:
        found = {t: polish(behaviour, objective, one, options.seed, progress, level) for t, one in found.items()}
    return [_of_level(behaviour, level, found[t]) for t in thresholds if t in found]


def screen_share(behaviour: Behaviour, options: OrderOptions, candidates: int) -> float:
    """Below which share of the threshold edges are screened: as asked for, else by how many candidates there are."""
    if options.screen is not None:
        return options.screen
    able = can_foretell(behaviour, options.level) and not behaviour.metric.steps
    return MANY_SCREEN if able and candidates > MANY_CANDIDATES else 0.0


def _plan(behaviour: Behaviour, options: OrderOptions) -> list[ReceiverStep]:
    """What is visited, in order."""
    graph, order = behaviour.graph, options.sender_order
    if options.level is Level.nodes:
        return [node_step(graph, order)]
    units = behaviour.units(options.level)
    if isinstance(units, NeuronUnits):
        return [neuron_step(units, order)]
    if isinstance(units, PositionUnits):
        return list(positional_steps(units.positional, order))
    return list(receiver_steps(graph, order))


def _circuits(behaviour: Behaviour, level: Level) -> Units:
    """The units of which decisions at a level say what is kept: over nodes, edges."""
    return behaviour.units(Level.edges if kind_of(level).keep_whole_edges else level)


def wanted_objective(behaviour: Behaviour, options: OrderOptions) -> Wanted:
    """What to minimise. KL is weighted so that the empty circuit's counts as much as all that the metric spans."""
    if options.screen and behaviour.metric.steps:
        raise InputError(
            f"--screen estimates edges from gradients, and metric {behaviour.metric.name!r} is a step function without "
            "one: test every edge with --screen 0"
        )
    if not options.kl_share:
        return Wanted(options.objective)
    full, empty = behaviour.ends()
    nothing = np.ones((1, behaviour.graph.n_edges), dtype=bool)
    nats = float(behaviour.measure(nothing, [METRICS["kl"]])[0, 0].mean())
    if nats <= 0:
        raise NothingToFind("the empty circuit gives the full model's output, so that its KL weighs nothing")
    return Wanted(options.objective, options.kl_share * abs(full - empty) / nats, 1 - options.kl_share)


def default_threshold(behaviour: Behaviour) -> float:
    """A share of the range that the metric spans. Raises InputError where that is nothing."""
    full, empty = behaviour.ends()
    return DEFAULT_THRESHOLD_SHARE * abs(full - empty)


def _of_level(behaviour: Behaviour, level: Level, found: Decisions) -> Decisions:
    """Decisions with changes in the shape of what they are about."""
    if level is Level.nodes:
        return _over_nodes(behaviour, found)
    if level is Level.neurons:
        return replace(found, values=behaviour.units(level).placed(found.values))
    return found


def _over_nodes(behaviour: Behaviour, found: Decisions) -> Decisions:
    """Decisions over nodes with the change of each kept node, and of its sender for each edge."""
    writers, _ = behaviour.graph.ends
    kept = {test.candidate for test in found.tests if test.kept}
    changes = {writer.id: float(found.values[i]) for i, writer in enumerate(behaviour.graph.writers)}
    nodes = {name: change for name, change in changes.items() if name in kept}
    return replace(found, values=found.values[writers], units=nodes)
