"""Choices that users make by name and that several parts of the pipeline record or act on."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Literal, TypeVar

from acdc.errors import InputError
from acdc.words import did_you_mean

ScoreKind = Literal["effect", "importance"]  # what a score says: how much the metric changes, or a rank alone


# Bounds on what a user can ask for: what is more is a slip, and would run without end.
MOST_THREADS = MOST_WORKERS = 1024
MOST_COUNT, MOST_SEED = 2**31 - 1, 2**63 - 1
MOST_STEPS, MOST_UPDATES, MOST_THRESHOLDS, MOST_REPEATS = 10_000, 1_000_000, 1_000, 10_000


def check_count(option: str, value: int, most: int = MOST_COUNT) -> None:
    """Raises InputError, naming the option, for a number of things that is below 1 or above a bound."""
    if isfinite(value) and value != int(value):  # a caller from Python may give a share
        raise InputError(f"{option} {value} must be a whole number: how many, not a share")
    if not value >= 1:  # so written, as NaN is not below 1 either
        raise InputError(f"{option} {value} must be at least 1")
    if value > most:
        raise InputError(f"{option} {value if value < 10**20 else 'of so many digits'} must be at most {most:,}")


FEATURES = "features"  # a level of circuits that are not of a model's components


Option = TypeVar("Option", bound=StrEnum)


def choice(options: type[Option], name: str, value: str) -> Option:
    """The option that a caller names. Raises InputError, with the `name` of the argument, where there is none."""
    if value not in set(options):
        raise InputError(f"{name} {value!r} is not one of {', '.join(options)}{did_you_mean(str(value), options)}")
    return options(value)


class Level(StrEnum):
    """What a circuit consists of: edges, whole components, single coordinates of what components write into the
    residual stream, edges at single positions or spans of the prompts, or attention heads and hidden neurons."""

    edges = "edges"
    nodes = "nodes"
    coordinates = "coordinates"
    positions = "positions"
    neurons = "neurons"

    @classmethod
    def named(cls, name: str, option: str = "--level") -> "Level":
        """The level that a user asks for by name. Raises InputError, naming the `option`, where there is none."""
        if name == FEATURES:
            raise InputError(
                f"{option} {FEATURES}: 'acdc discover --level {FEATURES} --dictionary FOLDER' finds circuits of a "
                "dictionary's features, acdc.discover_features in Python; nothing else takes this level"
            )
        if name not in set(cls):
            raise InputError(f"{option} {name!r} is not one of {', '.join(cls)}")
        return cls(name)


class ObjectiveKind(StrEnum):
    """What ACDC minimises: the metric, or each row's distance from the full model's."""

    raw = "raw"
    match = "match"


class SenderOrder(StrEnum):
    """In which order ACDC tries the heads of one layer as senders."""

    descending = "descending"
    ascending = "ascending"


class Choosing(StrEnum):
    """How a circuit is chosen from scores: the best edges overall, greedily backwards from the logits, edges that help
    before edges that hurt, or whole paths from the input to the logits."""

    top = "top"
    greedy = "greedy"
    signed = "signed"
    paths = "paths"


class Extent(StrEnum):
    """How far a circuit is verified: not at all; its metrics alone; with random circuits and single removals, within a
    budget of about a minute; or with everything that `acdc verify` asks, within a larger one."""

    none = "none"
    quick = "quick"
    standard = "standard"
    full = "full"


@dataclass(frozen=True)
class Scope:
    """How far a circuit is verified, and on at most how many of the rows that discovery did not see; None: on all."""

    extent: Extent = Extent.standard
    rows: int | None = None

    def check(self, option: str = "--verify-rows") -> None:
        """Raises InputError, naming the option that gave the rows, where there would be none."""
        if self.rows is not None:
            check_count(option, self.rows)

    def __or__(self, other: "Scope") -> "Scope":
        """The least that covers both; one that measures nothing asks for no rows."""
        extent = max(self.extent, other.extent, key=list(Extent).index)
        rows = (scope.rows for scope in (self, other) if scope.extent is not Extent.none)
        return Scope(extent, max(rows, key=lambda most: inf if most is None else most, default=None))

    def includes(self, other: "Scope") -> bool:
        return self | other == self


class Grouping(StrEnum):
    """What makes heads stand together in a picture: their layer alone, or in it also what they do."""

    layer = "layer"
    role = "role"


class Detail(StrEnum):
    """What a picture shows: every edge, or of a circuit with many a summary; `auto` takes what can be read."""

    auto = "auto"
    full = "full"
    summary = "summary"


class Legend(StrEnum):
    """Where a picture says what its colours mean."""

    right = "right"
    below = "below"
    none = "none"


class Colouring(StrEnum):
    """What the colour of an edge says: into which input it leads, or its score, on a scale."""

    input = "input"
    score = "score"


class Page(StrEnum):
    """A page that a picture has to fit on."""

    a4 = "a4"
    letter = "letter"


class Directions(StrEnum):
    """From which run patches are taken: from the clean one into the corrupted one, the other way round, or both."""

    denoise = "denoise"
    noise = "noise"
    both = "both"


class By(StrEnum):
    """What the columns of a map are: spans of the task, or single positions."""

    spans = "spans"
    positions = "positions"


DEFAULT_THREADS = 2
INTERVALS = 4  # equal parts of the range of activations, from each of which explain draws prompts
