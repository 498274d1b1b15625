"""Try one method on a prepared case under one ablation, and score what it finds."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from pydantic import BaseModel, ConfigDict

from acdc.artefacts.scores import Decisions, Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.benchmark.case import PreparedCase
from acdc.benchmark.scoring import Agreement, Staircase, widest_gap
from acdc.benchmark.truth import Truth
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.graph import ATTENTION_SLOTS, Edge
from acdc.graph.units import Units
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.acdc.search import decide
from acdc.search.choosing import Ranking, helpfulness
from acdc.search.discover import bind, prepare
from acdc.search.methods.exact import exact
from acdc.search.options import OrderOptions
from acdc.search.registry import METHODS, Method
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import as_metric, distance
from acdc.verification.integrated import integrate

METRICS, OF_NUMBERS = ("kl", "logit_diff"), ("squared_error", "value")  # the first that a method can work with
RANKING_SHARES = (0.001, 0.01, 0.05, 0.2)  # of the metric's range: thresholds that rank what ACDC keeps


class BenchmarkRow(BaseModel):
    """What a method found in a case, and how right that is; scores are None where the circuit is not known, or where
    the method was not run, which `status` then explains. `variant` tells kinds of cases in a suite apart.

    `edge_f1` and the like are at the size that the widest gap between scores suggests (of a method that decides by a
    threshold: between the effects of single edges); `edge_f1_at_true_size` at that of the true circuit. `cmd` and
    `cpr` are of the faithfulness of KL, or of a number's squared error. `work`: component evaluations of the search;
    of a method that scores with the clean run, of one that decides without it.
    """

    model_config = ConfigDict(frozen=True)

    suite: str
    case: str
    method: str
    ablation: str
    variant: str | None = None
    status: str = "done"
    redundant: bool | None = None
    edges_true: int | None = None
    edges_found: int | None = None
    edge_precision: float | None = None
    edge_recall: float | None = None
    edge_f1: float | None = None
    edge_f1_at_true_size: float | None = None
    edge_auroc: float | None = None
    edge_auprc: float | None = None
    node_precision: float | None = None
    node_recall: float | None = None
    node_f1: float | None = None
    cmd: float | None = None
    cpr: float | None = None
    metric: str | None = None
    threshold: float | None = None
    accuracy: float | None = None
    edges_total: int | None = None
    found: list[str] = []
    roc: list[tuple[float, float]] = []
    work: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Search:
    """What a method gave: the chosen edges, boolean [edges], scores of all of them that rank by size, and how much each
    helps [edges], of all those of a `Trial.level`, how the size came to be, and what it took."""

    chosen: np.ndarray
    ranking: np.ndarray
    helps: np.ndarray
    metric: str
    threshold: float | None
    work: int
    seconds: float


def settings_of(method: Method, shared: DiscoverySettings) -> DiscoverySettings:
    """Those of shared settings that a method reads, for it."""
    own = method.options.own()
    return replace(shared, method=method, options={name: x for name, x in shared.options.items() if name in own})


class Trial:
    """A prepared case under one ablation."""

    def __init__(self, prepared: PreparedCase, ablation: str, settings: DiscoverySettings):
        """`settings` are those of every method, but for the method, metric and ablation."""
        self.prepared, self.ablation = prepared, ablation
        rows = len(prepared.task.rows)
        self._settings = replace(settings, ablation=ablation, limit=rows, split_embeddings=prepared.split_embeddings)
        self._exact = settings_of(METHODS.find("exact"), self._settings)
        self._effects: dict[str, np.ndarray] = {}

    def behaviour(self, settings: DiscoverySettings) -> Behaviour:
        """The behaviour that these settings measure, on all rows. Raises InputError where they do not fit."""
        prepare(self.prepared.model, self.prepared.task, settings)
        return bind(self.prepared.model, self.prepared.task, settings, range(len(self.prepared.task.rows)))

    @property
    def level(self) -> Level:
        """Edges, or edges at positions."""
        return self._settings.level

    @cached_property
    def units(self) -> Units:
        """All edges, of which a part is the circuit."""
        return self.judge.units(self.level)

    @cached_property
    def judge(self) -> Behaviour:
        """What faithfulness is measured of: of all that the model says, whatever a method may look at."""
        return self.behaviour(replace(self._exact, metric=distance(self.prepared.model.anatomy.d_vocab_out).name))

    def effects(self, metric: str, progress: Progress) -> np.ndarray:
        """The effect of every edge alone [edges]."""
        if metric not in self._effects:
            behaviour = self.behaviour(replace(self._exact, metric=metric))
            self._effects[metric] = exact(behaviour, self._exact.search_options, progress).values
        return self._effects[metric]

    def search(self, method: Method, progress: Progress) -> Search:
        """Run a method under the first metric that it can work with. Raises InputError where there is none."""
        outputs = self.prepared.model.anatomy.d_vocab_out
        settings = replace(settings_of(method, self._settings), metric=_metric_for(method, outputs))
        with fixed_threads(settings.threads):
            find = _decided if method.decides else _scored
            return find(self, method, self.behaviour(settings), settings, progress)

    def score(self, row: BenchmarkRow, progress: Progress) -> BenchmarkRow:
        """A row with all that its method scores; a refusal is its status."""
        row = row.model_copy(update={"accuracy": self.prepared.accuracy})
        try:
            found = self.search(METHODS.find(row.method), progress)
        except InputError as error:
            return row.model_copy(update={"status": str(error)})
        except Exception as error:
            if row.method in METHODS.built_in:
                raise
            return row.model_copy(update={"status": f"it broke: {type(error).__name__}: {error}"})
        truth = self.prepared.truths[self.ablation]
        integrated = integrate(self.judge, found.ranking, found.helps, level=self.level)
        measured = {
            "edges_found": int(found.chosen.sum()),
            "cmd": integrated.cmd if integrated else None,
            "cpr": integrated.cpr if integrated else None,
            "metric": found.metric,
            "threshold": found.threshold,
            "edges_total": self.units.count,
            "found": self.names(found.chosen),
            "work": found.work,
            "seconds": round(found.seconds, 3),
        }
        return row.model_copy(update=measured | (_against(truth, self, found) if truth else {}))

    @cached_property
    def _names(self) -> Sequence[str]:
        return list(self.units.names())

    def names(self, chosen: np.ndarray) -> list[str]:
        """Ids of some edges, boolean [edges]."""
        return [self._names[place] for place in np.flatnonzero(chosen).tolist()]


def _metric_for(method: Method, outputs: int) -> str:
    for name in OF_NUMBERS if outputs == 1 else METRICS:
        try:
            method.check(as_metric(name))
            return name
        except InputError as error:
            refusal = error
    raise refusal


def _scored(
    trial: Trial, method: Method, behaviour: Behaviour, settings: DiscoverySettings, progress: Progress
) -> Search:
    began = time.perf_counter()
    found = method.run(behaviour, settings.search_options, progress)
    assert isinstance(found, Scores)  # see `Method.decides`
    seconds, work = time.perf_counter() - began, behaviour.work.evaluations
    threshold = widest_gap(np.abs(found.values))
    none = np.zeros(len(found.values), dtype=bool)
    units = trial.units
    chosen = none if threshold is None else units.pruned(Ranking(units, found.values).by_threshold(threshold).kept)
    helps = helpfulness(found.values, found.kind, behaviour.metric.sign)
    return Search(chosen, found.values, helps, behaviour.metric.name, threshold, work, seconds)


def _decided(
    trial: Trial, method: Method, behaviour: Behaviour, settings: DiscoverySettings, progress: Progress
) -> Search:
    """The threshold is in the widest gap between the effects of single edges; what it takes to know these is not
    counted, as any other way to a threshold would do."""
    threshold = widest_gap(np.abs(trial.effects(behaviour.metric.name, progress)))
    options = replace(settings, threshold=threshold).search_options
    before, began = behaviour.work.evaluations, time.perf_counter()
    found = method.run(behaviour, options, progress)
    assert isinstance(found, Decisions)  # see `Method.decides`
    seconds, work = time.perf_counter() - began, behaviour.work.evaluations - before
    ranking = behaviour.metric.sign * found.values
    if method.name == "acdc":
        assert isinstance(options, OrderOptions)
        ranking = _by_threshold(behaviour, options, found.threshold, progress)
    chosen = trial.units.pruned(found.kept)
    return Search(chosen, ranking, ranking, behaviour.metric.name, found.threshold, work, seconds)


def _by_threshold(behaviour: Behaviour, options: OrderOptions, own: float, progress: Progress) -> np.ndarray:
    """The largest of several thresholds, its own among them, under which ACDC keeps each edge, 0 where none is."""
    full, empty = behaviour.ends()
    thresholds = sorted({own, *(share * abs(full - empty) for share in RANKING_SHARES)})
    ranking = np.zeros(behaviour.units(options.level).count)
    for found in decide(behaviour, thresholds, options, progress):
        ranking[found.kept] = found.threshold
    return ranking


def _against(truth: Truth, trial: Trial, found: Search) -> dict:
    true, chosen = trial.units.mask(truth.edges), trial.names(found.chosen)
    edges = Agreement.of(chosen, truth.edges)
    nodes = Agreement.of(_nodes(chosen), _nodes(truth.edges))
    first = np.lexsort((true, -np.abs(found.ranking)))[: len(truth.edges)]  # of those alike, false ones first
    best = np.isin(np.arange(trial.units.count), first) & (found.ranking != 0)
    sized = Agreement.of(trial.names(best), truth.edges)
    stairs = Staircase.of(np.abs(found.ranking), true)
    return {
        "redundant": truth.redundant,
        "edges_true": len(truth.edges),
        "edge_precision": edges.precision,
        "edge_recall": edges.recall,
        "edge_f1": edges.f1,
        "edge_f1_at_true_size": sized.f1,
        "edge_auroc": stairs.auroc,
        "edge_auprc": stairs.auprc,
        "node_precision": nodes.precision,
        "node_recall": nodes.recall,
        "node_f1": nodes.f1,
        "roc": stairs.roc,
    }


def _nodes(edges: Collection[str]) -> set[str]:
    """Components at the ends of edges, embeddings and logits included, at positions where the edges are; a slot that
    heads share counts by itself."""
    found = set()
    for name in edges:
        (writer, *source), (slot, *at) = (end.split("@") for end in name.split("->"))
        reader = Edge.parse(f"{writer}->{slot}").reader
        of_head = reader.kind in ATTENTION_SLOTS and not reader.shared
        found |= {"@".join([writer, *source]), "@".join([f"a{reader.layer}.h{reader.head}" if of_head else slot, *at])}
    return found
