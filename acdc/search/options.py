"""What a search is told: what all share, and the options of each method.

The command line, the Python interface, job files and artefacts take the names, types, defaults and descriptions from
here. This file imports no torch, as the command line reads it before anything runs.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from acdc.errors import InputError
from acdc.options import MOST_STEPS, MOST_UPDATES, Choosing, Level, ObjectiveKind, SenderOrder
from acdc.search.acdc.journal import Journal

# Above so many candidates ACDC screens by default, with this share: see the tables in benchmarks/README.md.
MANY_CANDIDATES, MANY_SCREEN = 10_000, 0.5
# What commands, job files and runs record beside the options of a method, which therefore have other names.
RESERVED = frozenset(
    (
        *("model", "task", "task_metric", "revision", "device", "dtype", "verify", "verify_rows", "settings"),
        *("method", "metric", "ablation", "faithfulness", "choose", "bootstrap", "hurting", "limit", "batch_size"),
        *(
            "split_embeddings",
            "direct_edges",
            "threads",
            "options",
            "option",
            "out",
            "as_json",
            "json",
            "format",
            "file",
            "thresholds",
        ),
    )
)


class SearchOptions(BaseModel):
    """What every search is told. A method that takes more declares a subclass of this.

    `threshold`: ACDC's tau in the metric's unit; None takes a share of the range that the metric spans. `edges`: how
    many edges the user wants, or lets a hybrid decide about. `faithfulness`: that ACDC's circuit must have. `journal`:
    where ACDC records its passes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    threshold: float | None = None
    edges: int | None = None
    faithfulness: float | None = None
    seed: int = 0
    level: Level = Level.edges
    journal: Journal | None = None

    @property
    def absolute_rows(self) -> bool:
        """Whether rows' scores are averaged without their signs."""
        return False

    @classmethod
    def own(cls) -> dict[str, FieldInfo]:
        """The options that a subclass adds, by name."""
        return {name: field for name, field in cls.model_fields.items() if name not in SearchOptions.model_fields}

    @classmethod
    def of(cls, own: Mapping[str, Any], **shared: Any) -> Self:
        """Options of which `own` are the user's. Raises InputError for the first value that a method cannot use."""
        try:
            return cls(**shared, **own)
        except ValidationError as error:
            raise InputError(_sentence(error.errors()[0])) from None

    def own_values(self) -> dict[str, JsonValue]:
        """The values of `own`, as JSON has them; of options that acdc got later, only those that are not the default:
        so that what was recorded before is the same run."""
        values = self.model_dump(mode="json", include=set(self.own()))
        return {name: x for name, x in values.items() if name not in LATER or x != LATER[name]}


def flag(name: str) -> str:
    """An option as it is given on the command line."""
    return "--" + name.replace("_", "-")


_WORDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _sentence(problem: Any) -> str:
    option, value, context = flag(str(problem["loc"][0])), problem["input"], problem.get("ctx", {})
    option = option if value is True else f"{option} {value}"
    if problem["type"] == "value_error":
        return f"{option} {context['error']}"
    bounds = [f"must be {_WORDS[name]} {limit}" for name, limit in context.items() if name in _WORDS]
    return f"{option} {bounds[0] if bounds else problem['msg'].replace('Input should be', 'must be')}"


class OrderOptions(SearchOptions):
    """Of methods that decide edge by edge, as ACDC does."""

    sender_order: SenderOrder = Field(
        SenderOrder.descending, description="Order in which the heads of a layer are tested as senders."
    )
    screen: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Remove edges in groups, without a test for each, where gradients estimate an effect below this "
        f"share of the threshold; 0 tests every edge, and is the default up to {MANY_CANDIDATES:,} edges; above that "
        f"it is {MANY_SCREEN}.",
    )
    objective: ObjectiveKind = Field(
        ObjectiveKind.raw,
        description="Minimise the metric (raw), or each row's distance from the full model's metric, which a circuit "
        "cannot overshoot (match).",
    )
    kl_share: float = Field(0.0, ge=0, le=1, description="Share of KL from the full model in what is minimised.")
    polish: bool = Field(
        False,
        description="At the end, test each edge of the circuit again, and the best of the others; remove and add edges "
        "until nothing changes.",
    )


class TestingOptions(SearchOptions):
    """Of methods that test units one by one."""

    neurons: int = Field(
        1000,
        ge=1,
        description="With --level neurons, test all heads and at most this many neurons, those that eap ranks highest.",
    )


class AcdcOptions(OrderOptions, TestingOptions):
    """Of ACDC, which can also decide neuron by neuron."""


class RowOptions(SearchOptions):
    """Of attributions, which give every row scores of its own and average them."""

    absolute: bool = Field(
        False,
        description="Average the absolute effects of the rows, so that effects of opposite sign in different rows do "
        "not cancel each other; the scores then have no sign.",
    )

    @property
    def absolute_rows(self) -> bool:
        return self.absolute

    @field_validator("absolute")
    @classmethod
    def _is_of_edges(cls, absolute: bool, info: ValidationInfo) -> bool:
        if absolute and info.data.get("level") not in (Level.edges, Level.positions):
            raise ValueError("works only with --level edges and --level positions")
        return absolute


class IntegralOptions(RowOptions):
    """Of integrated gradients."""

    steps: int = Field(5, description="Number of points between ablated and clean run at which gradients are taken.")

    @field_validator("steps")
    @classmethod
    def _is_integral(cls, steps: int) -> int:
        if steps < 2:
            raise ValueError("must be at least 2: an integral needs two points")
        if steps > MOST_STEPS:
            raise ValueError(f"must be at most {MOST_STEPS:,}")
        return steps


class RelevanceOptions(RowOptions):
    """Of relevance propagation."""

    hold_attention: bool = Field(
        False,
        description="Hold attention patterns, as acdc trace does: what only decides where heads attend scores 0.",
    )


class MaskOptions(SearchOptions):
    """Of learned masks."""

    updates: int = Field(400, ge=1, le=MOST_UPDATES, description="Maximum number of optimiser steps.")
    warm_start: bool = Field(
        False, description="Begin with masks that are the more open the more an edge helps by eap-ig-inputs."
    )


class EnsembleOptions(IntegralOptions):
    """Of the mean of several scores."""

    masks: int = Field(
        0,
        ge=0,
        le=MOST_UPDATES,
        description="Average in masks as well, learned by ugs in at most this many steps from a warm start.",
    )


class ProposalOptions(SearchOptions):
    """Of methods that propose edges by their scores, before these are tested."""

    propose: Choosing = Field(Choosing.top, description="How the edges to test are chosen from scores, as by --choose.")


class HybridOptions(IntegralOptions, OrderOptions, ProposalOptions):
    """Of attribution that proposes and ACDC that decides."""


DECIDING, SCORING = (
    (OrderOptions, ProposalOptions, TestingOptions),
    (RowOptions, IntegralOptions, MaskOptions, EnsembleOptions, RelevanceOptions),
)  # acdc's own, each option once, by what a method gives


def own_options(*kinds: type[SearchOptions]) -> dict[str, FieldInfo]:
    """The options that some kinds add, by name."""
    return {name: field for kind in kinds for name, field in kind.own().items()}


BUILT_IN = own_options(*DECIDING, *SCORING)  # in the order in which runs record them
# Settings that acdc got later than the first runs that are still read, with their defaults; runs record others alone.
LATER = {
    "bootstrap": 0,
    "hurting": 0.0,
    **{name: one.default for name, one in BUILT_IN.items() if name not in ("sender_order", "steps", "updates")},
}
