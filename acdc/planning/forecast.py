"""Estimate what ACDC will take from a preview of it on some of the rows (`acdc.planning.preview`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from acdc.behaviour.behaviour import Behaviour, split_into_batches
from acdc.execution.machine import timed
from acdc.graph.units import kind_of
from acdc.model.load import Model
from acdc.options import ObjectiveKind
from acdc.planning.preview import Preview, Receiver
from acdc.planning.speed import Load, Speed
from acdc.progress import Progress, silent
from acdc.search.acdc.acdc_tests import AcdcTests
from acdc.search.acdc.pace import Pace, widths
from acdc.search.acdc.pruning import CHECK_TESTS
from acdc.search.acdc.receiver_steps import receiver_steps
from acdc.search.acdc.screening import Screen
from acdc.search.acdc.search import default_threshold, screen_share
from acdc.search.acdc.slot_cost import Scale
from acdc.search.discover import bind
from acdc.search.options import OrderOptions, SearchOptions
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Row, Task
from acdc.words import count_of

PREVIEW_FLOPS = {"cpu": 2e12, "cuda": 2e14}  # some ten seconds
MOST_ROWS, FEWEST_ROWS = 16, 4
PASSES = 30  # forward passes over its rows that a preview should have room for
# Factors by which the work may be larger or smaller: at receivers where every edge was tested, at those where some
# effects were estimated, at those that were not reached, and for all of them if the preview had fewer rows; and by
# which the machine may be faster or slower later on. They come from comparing forecasts with searches: see
# benchmarks/README.md.
TESTED, ESTIMATED, UNREACHED, OTHER_ROWS, MACHINE = 1.3, 2.0, 3.0, 1.5, 1.5
LATEST = 0.25  # of the live receivers: the last ones, whose tests cost about as much as the next ones'


@dataclass(frozen=True)
class Range:
    """A likely value between bounds."""

    least: float
    likely: float
    most: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.least + other.least, self.likely + other.likely, self.most + other.most)

    @classmethod
    def within(cls, likely: float, factor: float) -> "Range":
        return cls(likely / factor, likely, likely * factor)

    @property
    def bounds(self) -> tuple[float, float, float]:
        return self.least, self.likely, self.most


@dataclass(frozen=True)
class Forecast:
    """What deciding takes: `tests`, of which so many have the edge `kept`, FLOPs and seconds.

    The preview had `rows` rows and so many live `receivers`. At `tested` of them every edge was tested; at the others
    some effects were estimated. `unreached`: the share of all edges that it did not reach.
    """

    rows: int
    receivers: int
    tested: int
    unreached: float
    tests: float
    kept: float
    flops: Range
    seconds: Range

    def repeated(self, rounds: tuple[int, int, int], passed: float) -> "Forecast":
        """Of so many rounds of ACDC, see `AcdcTests`. `passed`: FLOPs of the full model on all rows."""
        alone = 2 * self.kept * passed
        of_time = self.seconds.likely / self.flops.likely * alone
        flops, seconds = (
            Range(*(times * (value + more) for times, value in zip(rounds, found.bounds, strict=True)))
            for found, more in ((self.flops, alone), (self.seconds, of_time))
        )
        return replace(self, tests=rounds[1] * self.tests, flops=flops, seconds=seconds)


def can_forecast(model: Model, settings: DiscoverySettings) -> bool:
    """Whether a search makes passes that cost what they reach (`Increments`), and decides about every edge once by the
    metric itself, which is what a preview does."""
    options = settings.search_options
    if settings.method.tests is None or not isinstance(options, OrderOptions):
        return False
    by_whole_runs = model.executor(settings.split_embeddings, settings.direct_edges).scaled_bias
    once = options.faithfulness is None and not options.polish
    raw = options.objective is ObjectiveKind.raw and not options.kl_share
    return kind_of(settings.level).are_edges and not by_whole_runs and once and raw


def forecast(
    model: Model,
    task: Task,
    settings: DiscoverySettings,
    discovery: Sequence[int],
    plain: float,
    progress: Progress = silent,
) -> Forecast:
    """Preview a search over the rows in `discovery`. `plain`: FLOPs of the full model on one of them.

    Raises InputError as the search would.
    """
    budget = PREVIEW_FLOPS[model.device.type]
    count = min(len(discovery), max(FEWEST_ROWS, min(MOST_ROWS, int(budget / (PASSES * plain)))))
    behaviour = bind(model, task, settings, [discovery[place * len(discovery) // count] for place in range(count)])
    threshold = default_threshold(behaviour) if settings.threshold is None else settings.threshold
    options, tests = settings.search_options, settings.method.tests
    assert isinstance(options, OrderOptions) and tests is not None  # see `can_forecast`
    plan, proposed = list(receiver_steps(behaviour.graph, options.sender_order)), _tested(behaviour, tests, options)
    share = screen_share(behaviour, options, int(proposed.sum()))
    screen = Screen(share, threshold, behaviour.graph.names, options.seed) if share else None
    preview = Preview(behaviour, threshold, plan, proposed, budget, screen)
    with progress(f"acdc on {count_of(count, 'row')}", sum(len(step.candidates) for step in plan), "edges") as advance:
        preview.finish(advance)
    found = _Extrapolation(preview, _scale(behaviour, task.select(discovery), settings)).forecast()
    return found.repeated(tests.rounds, plain * len(discovery)) if tests.rounds else found


def _tested(behaviour: Behaviour, tests: AcdcTests, options: SearchOptions) -> np.ndarray:
    """Boolean [edges]: those that a search tests."""
    return np.ones(behaviour.graph.n_edges, dtype=bool) if tests.edges is None else tests.edges(behaviour, options)


def _scale(behaviour: Behaviour, rows: Sequence[Row], settings: DiscoverySettings) -> Scale:
    """All rows compared with those of a behaviour."""
    places = split_into_batches(rows, behaviour.model, behaviour.graph, settings.batch_size)
    sizes = [len(index) * max(len(rows[i].clean) for i in index) for index in places]
    ours = [batch.tokens.numel() for batch in behaviour.batches]
    return Scale(sum(sizes) / sum(ours), len(sizes) / len(ours), max(sizes) / max(ours))


@dataclass(frozen=True)
class _Cost:
    """The cost of some tests: their number, edges kept, FLOPs, seconds."""

    tests: float = 0.0
    kept: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "_Cost") -> "_Cost":
        return _Cost(
            self.tests + other.tests,
            self.kept + other.kept,
            self.flops + other.flops,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class _Extrapolation:
    """From the rows of a preview to all rows."""

    preview: Preview
    scale: Scale

    def forecast(self) -> Forecast:
        preview, costs = self.preview, self._costs()
        in_full = [receiver.tested == len(receiver.kept) for receiver in preview.receivers]
        tested = sum((cost for cost, full in zip(costs, in_full, strict=True) if full), _Cost())
        estimated = sum((cost for cost, full in zip(costs, in_full, strict=True) if not full), _Cost())
        unreached = self._unreached(costs)
        total = tested + estimated + unreached
        checks, other_rows = self._checks(total.tests), OTHER_ROWS if self.scale.tokens > 1 else 1.0
        parts = ((tested + checks, TESTED), (estimated, ESTIMATED), (unreached, UNREACHED))

        def within(name: str, also: float = 1.0) -> Range:
            ranges = (Range.within(getattr(part, name), factor * other_rows * also) for part, factor in parts)
            return sum(ranges, Range(0, 0, 0))

        return Forecast(
            rows=len(preview.behaviour.rows),
            receivers=len(costs),
            tested=sum(in_full),
            unreached=preview.unreached / (preview.reached + preview.unreached),
            tests=total.tests,
            kept=total.kept,
            flops=within("flops"),
            seconds=within("seconds", also=MACHINE),
        )

    def _costs(self) -> list[_Cost]:
        """Of every live receiver that the preview visited."""
        speed, pace, found = Speed.learnt(self.preview.loads, self.preview.seconds), Pace(), []
        for receiver in self.preview.receivers:
            load, pace = self._load(receiver, pace)
            tests = int((~receiver.found.screened).sum())
            found.append(_Cost(tests, int(receiver.kept.sum()), load.flops, speed.seconds(load)))
        return found

    def _load(self, receiver: Receiver, pace: Pace) -> tuple[Load, Pace]:
        """(the work of the passes at a receiver, the pace after them)."""
        cost = receiver.cost.scaled(self.scale)
        passes = list(widths(receiver.kept, receiver.found, cost.of_pass(self.preview.behaviour.model), pace))
        tried = sum(width for width, _ in passes)
        load = Load(
            flops=(tried + receiver.settling) * cost.each,
            starting=(len(passes) + receiver.settling) * cost.fixed,
            numbers=(tried + len(receiver.kept)) * receiver.numbers * self.scale.tokens,
        )
        return load, passes[-1][1]

    def _unreached(self, costs: Sequence[_Cost]) -> _Cost:
        """Of the receivers that the preview did not reach: the same share of live ones, whose tests cost as much as the
        latest ones, and more for the layers in between, as a test reaches all layers after it."""
        preview, layers = self.preview, self.preview.behaviour.graph.anatomy.n_layers
        if not preview.unreached:
            return _Cost()
        more, total = preview.unreached / preview.reached, sum(costs, _Cost())
        latest = sum(costs[-max(1, round(LATEST * len(costs))) :], _Cost())
        deeper = (layers - preview.layer / 2) / max(1, layers - preview.layer)
        times = more * total.tests / latest.tests * deeper
        return _Cost(more * total.tests, more * total.kept, times * latest.flops, times * latest.seconds)

    def _checks(self, tests: float) -> _Cost:
        """Of measuring the present circuit from scratch, every `CHECK_TESTS` tests and at the end."""
        behaviour, removed = self.preview.behaviour, ~self.preview.tester.edges()
        before = behaviour.work.flops
        seconds = timed(lambda: behaviour.measure(removed[None]), behaviour.model.device)
        times = (1 + tests // CHECK_TESTS) * self.scale.tokens
        return _Cost(flops=times * (behaviour.work.flops - before), seconds=times * seconds)
