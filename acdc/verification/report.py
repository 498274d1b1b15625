"""What verification found (`verification.json`)."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from acdc.files import read_model, write_json
from acdc.verification.audit import Audit
from acdc.verification.stability import Stability

FILE_NAME = "verification.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Measure(_Record):
    """One metric, mean over the verification rows, in its own sign and unit.

    `circuit`: all other edges ablated. `complement`: the circuit's own edges ablated. `empty`: every edge ablated.
    `corrupted`: the plain model on the corrupted prompts. `faithfulness` = (circuit - empty) / (full - empty); None
    where full and empty do not differ.
    """

    full: float
    circuit: float
    complement: float
    empty: float
    corrupted: float
    faithfulness: float | None


class RandomCircuits(_Record):
    """Faithfulness of random circuits grown to about the circuit's size after pruning."""

    edges: list[int] = Field(min_length=1)
    faithfulness: list[float | None] = Field(min_length=1)


class Removal(_Record):
    """The circuit without one of its edges or nodes: change of the metric, and on what share of rows it got worse.

    `hurts`: worse on average, by more than a millionth of the range between full and empty.
    """

    id: str
    change: float
    rows_worse: float
    hurts: bool


class Report(_Record):
    """Verification on rows that discovery did not see; with no such rows, `rows` is 0 and `reason` says why.

    `audit`: what `acdc verify` adds to what every discovery measures; `stability` what its option adds.
    """

    format: Literal["acdc-verification"] = "acdc-verification"
    version: Literal[1] = 1
    rows: int = Field(ge=0)
    reason: str | None = None
    twins: int = 0
    metric: str
    ablation: str
    edges: int
    edges_total: int
    measures: dict[str, Measure] = {}
    random: RandomCircuits | None = None
    removals: list[Removal] = []
    audit: Audit | None = None
    stability: Stability | None = None

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

    @property
    def needed(self) -> int:
        """How many of the circuit's edges or nodes make it worse when removed alone."""
        return sum(removal.hurts for removal in self.removals)

    def __repr__(self) -> str:
        share = "unknown" if self.faithfulness is None else f"{self.faithfulness:.1%}"
        return f"<Report: faithfulness {share} in {self.metric} on {self.rows} rows>"

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from acdc.render.notebook import report_html  # drawing stands above verification in the pipeline

        return report_html(self)

    def save(self, path: str | Path) -> None:
        """Write `verification.json` into a folder, or the given file, atomically."""
        target = Path(path)
        write_json(target / FILE_NAME if target.is_dir() else target, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """Read a run directory or a verification file. Raises InputError when it is damaged."""
        target = Path(path)
        target = target / FILE_NAME if target.is_dir() else target
        return read_model(cls, target, "a verification of acdc")
