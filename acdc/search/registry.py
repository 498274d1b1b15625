"""The search methods by name: one signature for all. Other packages may add their own.

Listing methods imports no torch: what a built-in one computes with is imported when it is first run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc.errors import InputError
from acdc.extensions import Registry, deferred
from acdc.options import Level, ScoreKind
from acdc.search.acdc.acdc_tests import ROUNDS, AcdcTests
from acdc.search.options import (
    RESERVED,
    AcdcOptions,
    EnsembleOptions,
    HybridOptions,
    IntegralOptions,
    MaskOptions,
    OrderOptions,
    RelevanceOptions,
    RowOptions,
    SearchOptions,
    TestingOptions,
)

if TYPE_CHECKING:
    from acdc.search.cost import Cost, Run
    from acdc.task.metrics import Metric

_EDGES, _BOTH, _ALL = (Level.edges,), (Level.edges, Level.nodes), tuple(Level)


@dataclass(frozen=True)
class Method:
    """A search.

    `run` takes a behaviour, `options` and where to show progress. `decides`: it returns a circuit (Decisions) and no
    scores. `check` refuses unfit metrics. `levels`: what it can search over. `options`: the type of what it is told;
    what this adds to `SearchOptions` are the method's own options. `random`: its result depends on the seed.
    `direct_edges`: it can test the edges from attention slots to their heads. `takes_edges`, `takes_faithfulness`: it
    decides, and takes a number of edges besides a threshold, or a faithfulness instead of one. `score_kind`: what its
    scores say, if it gives any. `row_means`: these are means over rows of what each row alone would give, so that they
    can be bootstrapped. `cost` counts what it computes and the memory it takes for one batch, see `acdc.search.cost`;
    without it no plan can be made. `tests`: of a method that tests edges as ACDC does. Raises InputError for an option
    that has the name of something else, and for tests without an order of senders.
    """

    name: str
    run: "Run"
    summary: str
    decides: bool = False
    check: "Callable[[Metric], None]" = lambda metric: None
    levels: tuple[Level, ...] = _EDGES
    options: type[SearchOptions] = SearchOptions
    random: bool = False
    direct_edges: bool = False
    takes_edges: bool = False
    takes_faithfulness: bool = False
    score_kind: ScoreKind = "effect"
    row_means: bool = False
    cost: "Cost | None" = None
    tests: AcdcTests | None = None

    def __post_init__(self) -> None:
        if taken := RESERVED & self.options.own().keys():
            raise InputError(
                f"method {self.name!r}: an option cannot be called {min(taken)!r}, which means something else"
            )
        if self.tests and not issubclass(self.options, OrderOptions):
            raise InputError(f"method {self.name!r} tests edges as acdc does: its options must be OrderOptions")

    def __reduce__(self) -> tuple[Callable[[str], "Method"], tuple[str]]:
        """A worker is sent the name, and looks it up among its own."""
        return _find, (self.name,)

    @property
    def learns_masks(self) -> bool:
        return issubclass(self.options, MaskOptions)


def _find(name: str) -> Method:
    return METHODS.find(name)


_once, _training = deferred("acdc.search.cost:once"), deferred("acdc.search.methods.masks:training_cost")
_gradient = deferred("acdc.search.methods.gradients:check_gradient")
_gradient_at_clean = deferred("acdc.search.methods.gradients:check_gradient_at_clean")

METHODS = Registry(
    "method",
    "acdc.methods",
    Method,
    (
        Method(
            "acdc",
            deferred("acdc.search.acdc.search:acdc"),
            "tests every edge within the remaining circuit, backwards from the logits",
            decides=True,
            levels=(Level.edges, Level.nodes, Level.positions, Level.neurons),
            options=AcdcOptions,
            direct_edges=True,
            takes_faithfulness=True,
            cost=deferred("acdc.search.acdc.cost:acdc_cost"),
            tests=AcdcTests(),
        ),
        Method(
            "acdc-complete",
            deferred("acdc.search.methods.acdc_complete:acdc_complete"),
            "acdc, repeated without the edges that the model can replace, to find backup components too",
            decides=True,
            options=OrderOptions,
            cost=deferred("acdc.search.methods.acdc_complete:acdc_complete_cost"),
            tests=AcdcTests(rounds=ROUNDS),
        ),
        Method(
            "hybrid",
            deferred("acdc.search.methods.hybrid:hybrid"),
            "acdc on the edges that eap-ig-inputs ranks highest",
            decides=True,
            check=_gradient,
            levels=(Level.edges, Level.positions),
            options=HybridOptions,
            takes_edges=True,
            cost=deferred("acdc.search.methods.hybrid:hybrid_cost"),
            tests=AcdcTests(edges=deferred("acdc.search.methods.hybrid:likely_proposal")),
        ),
        Method(
            "exact",
            deferred("acdc.search.methods.exact:exact"),
            "ablates every edge alone in the full model",
            levels=_ALL,
            options=TestingOptions,
            row_means=True,
            cost=deferred("acdc.search.methods.exact:exact_cost"),
        ),
        Method(
            "eap",
            deferred("acdc.search.methods.eap:eap"),
            "first-order estimate of exact, from the gradient at the clean prompt",
            check=_gradient_at_clean,
            levels=_ALL,
            options=RowOptions,
            row_means=True,
            cost=_once,
        ),
        Method(
            "eap-ig-inputs",
            deferred("acdc.search.methods.eap_ig:eap_ig_inputs"),
            "eap with gradients averaged between ablated and clean inputs",
            check=_gradient,
            levels=_ALL,
            options=IntegralOptions,
            row_means=True,
            cost=_once,
        ),
        Method(
            "eap-ig-activations",
            deferred("acdc.search.methods.eap_ig:eap_ig_activations"),
            "eap with gradients averaged between ablated and clean outputs of each group of components",
            check=_gradient,
            levels=_ALL,
            options=IntegralOptions,
            row_means=True,
            cost=_once,
        ),
        Method(
            "clean-corrupted",
            deferred("acdc.search.methods.eap_ig:clean_corrupted"),
            "eap with the mean of the gradients at the clean and the ablated inputs",
            check=_gradient,
            levels=_ALL,
            options=RowOptions,
            row_means=True,
            cost=_once,
        ),
        Method(
            "ensemble",
            deferred("acdc.search.methods.ensemble:ensemble"),
            "mean of eap, eap-ig-inputs and eap-ig-activations, each divided by its mean |score|",
            check=_gradient_at_clean,
            levels=_ALL,
            options=EnsembleOptions,
            random=True,
            cost=deferred("acdc.search.methods.ensemble:ensemble_cost"),
        ),
        Method(
            "atp-star",
            deferred("acdc.search.methods.atp_star:atp_star"),
            "eap with recomputed attention patterns, and with paths that cancel each other separated",
            check=_gradient_at_clean,
            levels=(Level.edges, Level.positions),
            cost=_once,
        ),
        Method(
            "peap",
            deferred("acdc.search.methods.peap:peap"),
            "eap at positions or spans, with every query, key and value patched exactly inside its head",
            check=_gradient_at_clean,
            levels=(Level.positions,),
            row_means=True,
            cost=_once,
        ),
        Method(
            "relp",
            deferred("acdc.search.methods.relp:relp"),
            "eap with relevance propagation instead of gradients",
            check=_gradient_at_clean,
            levels=(Level.edges, Level.positions, Level.neurons),
            options=RelevanceOptions,
            row_means=True,
            cost=_once,
        ),
        Method(
            "hisp",
            deferred("acdc.search.methods.hisp:hisp"),
            "output times gradient of each component; an edge scores as the lower of its two ends",
            check=_gradient_at_clean,
            levels=_BOTH,
            score_kind="importance",
            cost=_once,
        ),
        Method(
            "ifr",
            deferred("acdc.search.methods.ifr:ifr"),
            "information flow routes: the share of a component in the input of a slot",
            score_kind="importance",
            cost=_once,
        ),
        Method(
            "subnetwork-probing",
            deferred("acdc.search.methods.subnetwork_probing:subnetwork_probing"),
            "learned masks (hard concrete), with a penalty on every kept edge",
            options=MaskOptions,
            random=True,
            score_kind="importance",
            cost=_training,
        ),
        Method(
            "edge-pruning",
            deferred("acdc.search.methods.edge_pruning:edge_pruning"),
            "learned masks (hard concrete), trained towards a given number of edges",
            options=MaskOptions,
            random=True,
            score_kind="importance",
            cost=_training,
        ),
        Method(
            "ugs",
            deferred("acdc.search.methods.ugs:ugs"),
            "learned masks by uniform gradient sampling, with a penalty on every kept edge",
            options=MaskOptions,
            random=True,
            score_kind="importance",
            cost=_training,
        ),
        Method(
            "random",
            deferred("acdc.search.methods.random:random"),
            "random scores, the baseline",
            levels=(Level.edges, Level.coordinates, Level.positions, Level.neurons),
            random=True,
            score_kind="importance",
            cost=_once,
        ),
    ),
)
DEFAULT_METHOD = METHODS.built_in["acdc"]
