"""The curve of a sweep (`curve.json`): size, metric and faithfulness of the circuit under each threshold."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from acdc.artefacts.circuit import BatchRecord, ModelRecord, TaskRecord
from acdc.artefacts.digests import CIRCUITS
from acdc.options import Level

FILE_NAME = "curve.json"


def circuit_file(threshold: float) -> str:
    """Where in a sweep's run directory the circuit of a threshold is."""
    return f"{CIRCUITS}/{threshold}.json"


class CurvePoint(BaseModel):
    """One threshold of a sweep, metrics in their own sign and unit.

    `nodes` is None over edges, unseen values are None where no rows were left; `circuit` is the file of the circuit in
    the run directory.
    """

    threshold: float
    edges: int
    edges_effective: int
    nodes: int | None
    tests: int
    metric: float
    faithfulness: float | None
    unseen_metric: float | None
    unseen_faithfulness: float | None
    circuit: str


class CurveRecord(BaseModel):
    """A curve with its provenance; points by rising threshold."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal["acdc-curve"] = "acdc-curve"
    version: Literal[1] = 1
    model: ModelRecord
    task: TaskRecord
    metric: str
    larger_is_better: bool
    ablation: str
    level: Level
    sender_order: str
    edges_total: int
    seed: int
    dtype: str
    batch: BatchRecord
    versions: dict[str, str]
    points: list[CurvePoint] = Field(min_length=1)
