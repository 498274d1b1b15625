"""The search methods by name: one signature for all."""

from collections.abc import Callable
from dataclasses import dataclass

from acdc.errors import InputError
from acdc.progress import Progress
from acdc.search.acdc import acdc
from acdc.search.eap import check_gradient, eap
from acdc.search.exact import exact
from acdc.search.options import SearchOptions
from acdc.search.random import random
from acdc.search.result import Decisions, Scores
from acdc.task.behaviour import Behaviour
from acdc.task.metrics import Metric


@dataclass(frozen=True)
class Method:
    """A search; `decides` says that it returns a circuit (Decisions) and no scores, `check` refuses unfit metrics."""

    name: str
    run: Callable[[Behaviour, SearchOptions, Progress], Scores | Decisions]
    summary: str
    decides: bool = False
    check: Callable[[Metric], None] = lambda metric: None


METHODS = {
    method.name: method
    for method in (
        Method("acdc", acdc, "greedy edge pruning, every edge tested in the subgraph that is left", decides=True),
        Method("exact", exact, "every edge ablated alone in the full model"),
        Method("eap", eap, "first-order estimate of exact, from one backward pass", check=check_gradient),
        Method("random", random, "random scores, the baseline"),
    )
}
DEFAULT_METHOD = "acdc"


def find_method(name: str) -> Method:
    """Raises InputError for a method that does not exist."""
    if name not in METHODS:
        raise InputError(f"method {name!r} is not one of {', '.join(METHODS)}")
    return METHODS[name]
