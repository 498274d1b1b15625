"""The search methods by name: one signature for all. Other packages may add their own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acdc.artefacts.scores import Decisions, Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.extensions import Registry
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.acdc.search import acdc
from acdc.search.methods.acdc_complete import acdc_complete
from acdc.search.methods.atp_star import atp_star
from acdc.search.methods.eap import eap
from acdc.search.methods.eap_ig import clean_corrupted, eap_ig_activations, eap_ig_inputs
from acdc.search.methods.edge_pruning import edge_pruning
from acdc.search.methods.exact import exact
from acdc.search.methods.gradients import check_gradient, check_gradient_at_clean
from acdc.search.methods.hisp import hisp
from acdc.search.methods.hybrid import hybrid
from acdc.search.methods.ifr import ifr
from acdc.search.methods.random import random
from acdc.search.methods.relp import relp
from acdc.search.methods.subnetwork_probing import subnetwork_probing
from acdc.search.methods.ugs import ugs
from acdc.search.options import RESERVED, HybridOptions, IntegralOptions, MaskOptions, OrderOptions, SearchOptions
from acdc.task.metrics import Metric

_EDGES, _BOTH, _ALL = (Level.edges,), (Level.edges, Level.nodes), tuple(Level)


@dataclass(frozen=True)
class Method:
    """A search.

    `run` takes a behaviour, `options` and where to show progress. `decides`: it returns a circuit (Decisions) and no
    scores. `check` refuses unfit metrics. `levels`: what it can search over. `options`: the type of what it is told;
    what this adds to `SearchOptions` are the method's own options. `random`: its result depends on the seed.
    `direct_edges`: it can test the edges from attention slots to their heads. `takes_edges`: it decides, and takes a
    number of edges besides a threshold. Raises InputError for an option that has the name of something else.
    """

    name: str
    run: Callable[[Behaviour, Any, Progress], Scores | Decisions]
    summary: str
    decides: bool = False
    check: Callable[[Metric], None] = lambda metric: None
    levels: tuple[Level, ...] = _EDGES
    options: type[SearchOptions] = SearchOptions
    random: bool = False
    direct_edges: bool = False
    takes_edges: bool = False

    def __post_init__(self) -> None:
        if taken := RESERVED & self.options.own().keys():
            raise InputError(
                f"method {self.name!r}: an option cannot be called {min(taken)!r}, which means something else"
            )

    @property
    def learns_masks(self) -> bool:
        return issubclass(self.options, MaskOptions)


METHODS = Registry(
    "method",
    "acdc.methods",
    Method,
    (
        Method(
            "acdc",
            acdc,
            "tests every edge within the remaining circuit, backwards from the logits",
            decides=True,
            levels=_BOTH,
            options=OrderOptions,
            direct_edges=True,
        ),
        Method(
            "acdc-complete",
            acdc_complete,
            "acdc, repeated without the edges that the model can replace, to find backup components too",
            decides=True,
            options=OrderOptions,
        ),
        Method(
            "hybrid",
            hybrid,
            "acdc on the edges that eap-ig-inputs ranks highest",
            decides=True,
            check=check_gradient,
            options=HybridOptions,
            takes_edges=True,
        ),
        Method("exact", exact, "ablates every edge alone in the full model", levels=_ALL),
        Method(
            "eap",
            eap,
            "first-order estimate of exact, from the gradient at the clean prompt",
            check=check_gradient_at_clean,
            levels=_ALL,
        ),
        Method(
            "eap-ig-inputs",
            eap_ig_inputs,
            "eap with gradients averaged between ablated and clean inputs",
            check=check_gradient,
            levels=_ALL,
            options=IntegralOptions,
        ),
        Method(
            "eap-ig-activations",
            eap_ig_activations,
            "eap with gradients averaged between ablated and clean outputs of each group of components",
            check=check_gradient,
            levels=_ALL,
            options=IntegralOptions,
        ),
        Method(
            "clean-corrupted",
            clean_corrupted,
            "eap with the mean of the gradients at the clean and the ablated inputs",
            check=check_gradient,
            levels=_ALL,
        ),
        Method(
            "atp-star",
            atp_star,
            "eap with recomputed attention patterns, and with paths that cancel each other separated",
            check=check_gradient_at_clean,
        ),
        Method("relp", relp, "eap with relevance propagation instead of gradients", check=check_gradient_at_clean),
        Method(
            "hisp",
            hisp,
            "output times gradient of each component; an edge scores as the lower of its two ends",
            check=check_gradient_at_clean,
            levels=_BOTH,
        ),
        Method("ifr", ifr, "information flow routes: the share of a component in the input of a slot"),
        Method(
            "subnetwork-probing",
            subnetwork_probing,
            "learned masks (hard concrete), with a penalty on every kept edge",
            options=MaskOptions,
            random=True,
        ),
        Method(
            "edge-pruning",
            edge_pruning,
            "learned masks (hard concrete), trained towards a given number of edges",
            options=MaskOptions,
            random=True,
        ),
        Method(
            "ugs",
            ugs,
            "learned masks by uniform gradient sampling, with a penalty on every kept edge",
            options=MaskOptions,
            random=True,
        ),
        Method("random", random, "random scores, the baseline", levels=(Level.edges, Level.coordinates), random=True),
    ),
)
DEFAULT_METHOD = "acdc"
