"""The search methods by name: one signature for all. Other packages may add their own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from acdc.artefacts.scores import Decisions, Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.extensions import load_named
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
from acdc.search.options import SearchOptions
from acdc.task.metrics import Metric

_EDGES, _BOTH, _ALL = (Level.edges,), (Level.edges, Level.nodes), tuple(Level)


@dataclass(frozen=True)
class Method:
    """A search.

    `decides`: it returns a circuit (Decisions) and no scores. `check` refuses unfit metrics. `levels`: what it can
    search over. `takes`: which settings it reads besides those that all do.
    """

    name: str
    run: Callable[[Behaviour, SearchOptions, Progress], Scores | Decisions]
    summary: str
    decides: bool = False
    check: Callable[[Metric], None] = lambda metric: None
    levels: tuple[Level, ...] = _EDGES
    takes: tuple[str, ...] = ()


METHODS = {
    method.name: method
    for method in (
        Method(
            "acdc",
            acdc,
            "greedy edge pruning: every edge is tested in the remaining subgraph",
            decides=True,
            levels=_BOTH,
            takes=("direct_edges", "sender_order"),
        ),
        Method(
            "acdc-complete",
            acdc_complete,
            "acdc, repeated without edges that have an alternative, so that backup components are found too",
            decides=True,
            takes=("sender_order",),
        ),
        Method(
            "hybrid",
            hybrid,
            "acdc on the edges that eap-ig-inputs ranks highest",
            decides=True,
            check=check_gradient,
            takes=("edges", "steps", "sender_order"),
        ),
        Method("exact", exact, "every edge ablated alone in the full model", levels=_ALL),
        Method(
            "eap",
            eap,
            "first-order estimate of exact, from one backward pass",
            check=check_gradient_at_clean,
            levels=_ALL,
        ),
        Method(
            "eap-ig-inputs",
            eap_ig_inputs,
            "eap with gradients averaged on the way from the ablated to the clean prompt",
            check=check_gradient,
            levels=_ALL,
            takes=("steps",),
        ),
        Method(
            "eap-ig-activations",
            eap_ig_activations,
            "eap with gradients averaged on the way between the outputs of one group of components",
            check=check_gradient,
            levels=_ALL,
            takes=("steps",),
        ),
        Method(
            "clean-corrupted",
            clean_corrupted,
            "eap with the mean of the gradients at both ends",
            check=check_gradient,
            levels=_ALL,
        ),
        Method(
            "atp-star",
            atp_star,
            "eap with attention patterns computed anew and cancelling paths told apart",
            check=check_gradient_at_clean,
        ),
        Method("relp", relp, "eap with relevance in the place of gradients", check=check_gradient_at_clean),
        Method(
            "hisp",
            hisp,
            "importance of components by output times gradient, lifted to edges",
            check=check_gradient_at_clean,
            levels=_BOTH,
        ),
        Method("ifr", ifr, "information flow routes: the share of a component in what a slot reads"),
        Method(
            "subnetwork-probing",
            subnetwork_probing,
            "learnt masks, every open edge at a price",
            takes=("updates",),
        ),
        Method("edge-pruning", edge_pruning, "learnt masks, steered to a number of edges", takes=("updates",)),
        Method("ugs", ugs, "learnt masks that are mostly open or shut", takes=("updates",)),
        Method("random", random, "random scores, the baseline", levels=(Level.edges, Level.neurons)),
    )
}
DEFAULT_METHOD, ENTRY_POINTS = "acdc", "acdc.methods"


@cache
def all_methods() -> dict[str, Method]:
    """The methods of acdc and those of other packages, which have entry points to a `Method` in the group
    `acdc.methods`. Raises InputError for one that is none, or that has the name of another."""
    return load_named(ENTRY_POINTS, Method, METHODS)


def find_method(name: str) -> Method:
    """Raises InputError for a method that does not exist."""
    methods = all_methods()
    if name not in methods:
        raise InputError(f"method {name!r} is not one of {', '.join(methods)}")
    return methods[name]
