"""What verification found (`verification.json`)."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from acdc.artefacts.digests import read_artefact
from acdc.artefacts.verification.full_verification import FullVerification
from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.minimality import TOLERANCE
from acdc.artefacts.verification.removal import Removal
from acdc.artefacts.verification.rivals import Rivals
from acdc.artefacts.verification.specificity import Specificity
from acdc.artefacts.verification.stability import Bootstraps, Stability
from acdc.display import show
from acdc.errors import InputError
from acdc.files import json_text, write_text
from acdc.options import Extent, Scope
from acdc.words import count_of

if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "verification.json"
_LATER = ("bootstraps", "specificity", "rivals")  # extras that came after version 1 of the file
UNVERIFIED = "no verification has been run yet; 'acdc verify RUN' runs one"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Measure(_Record):
    """One metric, mean over the verification rows, in its own sign and unit.

    `circuit`: all other edges ablated. `complement`: the circuit's own edges ablated. `empty`: every edge ablated.
    `corrupted`: the plain model on the corrupted prompts; None where rows have none. `faithfulness` = (circuit - empty)
    / (full - empty); None where full and empty do not differ.
    """

    full: float
    circuit: float
    complement: float
    empty: float
    corrupted: float | None
    faithfulness: float | None


class RandomCircuits(_Record):
    """Faithfulness of random circuits grown to about the circuit's size after pruning, and on how many rows; None in
    files of before there was a choice, where it was all."""

    edges: list[int] = Field(min_length=1)
    faithfulness: list[float | None] = Field(min_length=1)
    rows: int | None = None


class RemovalSample(_Record):
    """Which of a circuit's parts were removed one by one, and on how many rows: the `strongest` by |score|, and of the
    others a random sample, or all. `needed`: the estimated share of all parts that are needed (`Removal.hurts`), with
    its 95 % interval where it is an estimate."""

    parts: int
    measured: int
    strongest: int
    rows: int
    needed: Interval

    @property
    def is_whole(self) -> bool:
        return self.measured == self.parts


class Report(_Record):
    """Verification on rows that discovery did not see; with no such rows, `rows` is 0 and `reason` says why.

    `extent`: what was asked for; `complete`: whether all of that has been measured. `unseen`: rows that there were,
    of which `rows` were used for the metrics: as the budget allowed, and at most `most_rows` where that was asked for.
    `full_verification`: what a full verification adds; `stability`, `bootstraps`, `specificity` and `rivals`: what an
    option of each name adds (specificity: `--against`).
    """

    format: Literal["acdc-verification"] = "acdc-verification"
    version: Literal[1] = 1
    rows: int = Field(ge=0)
    reason: str | None = None
    extent: Extent | None = None
    complete: bool = True
    unseen: int | None = None
    most_rows: int | None = None
    duplicates: int = Field(0, validation_alias=AliasChoices("duplicates", "twins"))
    metric: str
    ablation: str
    edges: int
    edges_total: int
    measures: dict[str, Measure] = {}
    random: RandomCircuits | None = None
    removals: list[Removal] = []
    sample: RemovalSample | None = None
    full_verification: FullVerification | None = Field(
        None, validation_alias=AliasChoices("full_verification", "audit")
    )
    stability: Stability | None = None
    bootstraps: Bootstraps | None = None
    specificity: Specificity | None = None
    rivals: Rivals | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not asked for and that files of before did not have."""
        written = write(self)
        return {name: value for name, value in written.items() if value is not None or name not in _LATER}

    @model_validator(mode="after")
    def _has_its_metric(self) -> "Report":
        if self.rows and self.metric not in self.measures:
            raise ValueError(f"no measure of its metric {self.metric!r}")
        return self

    @property
    def faithfulness(self) -> float | None:
        """Recovered fraction of the metric that discovery used."""
        measure = self.measures.get(self.metric)
        return measure.faithfulness if measure else None

    def covers(self, asked: Scope) -> bool:
        """Whether all that a verification of this scope measures has been measured."""
        if asked.extent is Extent.none:
            return True
        return self.complete and self._limited(self.scope).includes(self._limited(asked))

    @property
    def scope(self) -> Scope:
        """What was asked for; files of before there was a choice say it by what they hold."""
        return Scope(
            self.extent or (Extent.full if self.full_verification is not None else Extent.standard), self.most_rows
        )

    @property
    def measured(self) -> Scope:
        """What it has measured all of: while it is unfinished, that is less than what was asked for."""
        if self.complete:
            return self.scope
        extent = Extent.standard if self.random and self.sample else Extent.quick if self.measures else Extent.none
        return replace(self.scope, extent=extent)

    def surpasses(self, other: "Report") -> bool:
        """Whether it goes further than another of the same circuit, and lacks nothing that the other has measured. Of
        two that have measured as much, the one does that is finished, or closer to it."""
        if not self._includes(other):
            return False
        return not other._includes(self) or (self.complete, bool(self.random)) > (other.complete, bool(other.random))

    def _includes(self, other: "Report") -> bool:
        own, others = self._limited(self.measured), other._limited(other.measured)
        return own.includes(others) and all(a >= b for a, b in zip(self._amounts, other._amounts, strict=True))

    @property
    def _amounts(self) -> tuple[int, ...]:
        """How much of each extra was measured."""
        return (
            0 if self.stability is None else self.stability.repeats,
            0 if self.bootstraps is None else self.bootstraps.count,
            0 if self.specificity is None else len(self.specificity.tasks),
            0 if self.rivals is None else len(self.rivals.each),
        )

    @property
    def extras(self) -> dict[str, Any]:
        """What was measured only because it was asked for, by name."""
        return {name: getattr(self, name) for name in ("stability", *_LATER)}

    def _limited(self, scope: Scope) -> Scope:
        """A scope that says all rows where it allows as many as there are."""
        there = self.unseen or self.rows
        return replace(scope, rows=None) if scope.rows is not None and scope.rows >= there else scope

    @property
    def needed(self) -> int:
        """How many of the edges or nodes that were removed alone are needed."""
        return sum(removal.hurts for removal in self.removals)

    @property
    def tolerance(self) -> float:
        """By how much its metric must get worse, in the metric's unit, without a part that is needed."""
        own = self.measures[self.metric]
        return 0.0 if own.faithfulness is None else TOLERANCE * abs(own.full - own.empty)

    @property
    def audit(self) -> FullVerification:
        """What `full_verification` was called before."""
        raise InputError("'audit' of a report is now called 'full_verification'")

    def __repr__(self) -> str:
        if not self.rows:
            return f"<Report: not verified: {self.reason or 'no rows were left'}>"
        share = "unknown" if self.faithfulness is None else f"{self.faithfulness:.1%}"
        return f"<Report: faithfulness {share} in {self.metric} on {count_of(self.rows, 'row')}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """What notebooks show."""
        return str(show("report as HTML", self))

    def to_dataframe(self, what: str = "measures") -> "pd.DataFrame":
        """`measures`, `removals`, `random`, `faithfulness` or `tests` as rows: see
        `acdc.artefacts.frames.report_frame`. Raises InputError for anything else, for what was not measured, and
        without pandas."""
        return show("report as data frame", self, what)

    def save(self, path: str | Path) -> None:
        """Write `verification.json` into a folder, or the given file, atomically."""
        target = Path(path)
        write_text(target / FILE_NAME if target.is_dir() else target, self.to_json())

    def to_json(self) -> str:
        """What `verification.json` holds."""
        return json_text(self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """Read a run directory or a verification file. Raises InputError when it is damaged."""
        target = Path(path)
        target = target / FILE_NAME if target.is_dir() else target
        return read_artefact(cls, target, "a verification of acdc")


def unverified(metric: str, ablation: str, edges: int, edges_total: int) -> Report:
    """The report of a circuit before any verification."""
    return Report(
        extent=Extent.none,
        complete=False,
        rows=0,
        reason=UNVERIFIED,
        metric=metric,
        ablation=ablation,
        edges=edges,
        edges_total=edges_total,
        duplicates=0,
        full_verification=None,
    )
