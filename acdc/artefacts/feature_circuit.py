"""A feature circuit as an artefact (`feature-circuit.json`), and the file of features to ablate (`acdc ablate`)."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from acdc.files import json_text, read_model, write_text

FILE_NAME = "feature-circuit.json"
SIGN_CONVENTION = "effect = metric(node ablated) - metric(not ablated), mean over rows, in the metric's own sign"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DictionaryRecord(_Record):
    """`given`: the folder or name as the user wrote it."""

    given: str
    name: str
    format: str
    digest: str


class NodeRecord(_Record):
    id: str
    effect: float


class FeatureEdge(_Record):
    source: str
    target: str
    effect: float


class MeasuredRecord(_Record):
    """Mean metrics on rows, see `acdc.feature_circuits.discover.Measured`; None where a share is not defined."""

    rows: int
    full: float
    circuit: float
    complement: float
    empty: float
    errors_removed: float
    empty_without_errors: float
    faithfulness: float
    completeness: float
    faithfulness_without_errors: float


class FeatureCircuitRecord(_Record):
    """Everything that a feature circuit is, and how it came to be."""

    version: Literal[1] = 1
    kind: Literal["feature circuit"] = "feature circuit"
    sign_convention: str = SIGN_CONVENTION
    model: str
    model_hash: str
    task: str
    task_hash: str
    dictionary: DictionaryRecord
    metric: str
    method: str
    ablation: str
    errors: str
    seed: int
    discovery_rows: tuple[int, ...]
    candidates: int
    nodes: tuple[NodeRecord, ...]
    edges: tuple[FeatureEdge, ...]
    curve: tuple[tuple[int, float], ...]
    discovery: MeasuredRecord
    unseen: MeasuredRecord | None
    removals: tuple[NodeRecord, ...]
    random: tuple[float, ...]
    libraries: dict[str, str]

    def save(self, folder: Path) -> Path:
        """Write it into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FILE_NAME, json_text(self.model_dump(mode="json")))
        return folder / FILE_NAME

    @classmethod
    def load(cls, path: Path) -> "FeatureCircuitRecord":
        """From a run's folder. Raises InputError for what is none."""
        return read_model(cls, path / FILE_NAME, "a feature circuit of acdc")


class AblatedFeatures(_Record):
    """Features that are ablated everywhere but at first tokens (Marks et al. 2024 call the use of it SHIFT). `set`: the
    same in the syntax of interventions."""

    version: Literal[1] = 1
    kind: Literal["ablated features"] = "ablated features"
    model: str
    model_hash: str
    dictionary: DictionaryRecord
    features: tuple[str, ...] = Field(min_length=1)
    to: Literal["zero", "mean"] = "zero"
    set: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        write_text(path, json_text(self.model_dump(mode="json")))

    @classmethod
    def load(cls, path: Path) -> "AblatedFeatures":
        return read_model(cls, path, "a file of features to ablate")
