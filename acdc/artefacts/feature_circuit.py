"""A feature circuit as an artefact (`feature-circuit.json`), and the file of features to ablate (`acdc ablate`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from acdc.artefacts.digests import FEATURE_CIRCUIT, read_artefact
from acdc.display import Tabled
from acdc.errors import InputError
from acdc.files import is_there, json_text, read_model, write_text

FILE_NAME = FEATURE_CIRCUIT
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
    """Mean metrics on rows, see `acdc.feature_circuits.circuits.Measured`."""

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


class FeatureCircuitRecord(Tabled, _Record):
    """Everything that a feature circuit is, and how it came to be; free of times and machine facts.

    `discovery_rows`, `verification_rows`: ids of rows; `duplicates`: of the latter that repeat one of the former.
    `places`: spans or positions at which nodes are, and `spans_hash` where the spans are in each row; none where nodes
    are at all tokens."""

    version: Literal[2] = 2
    kind: Literal["feature circuit"] = "feature circuit"
    sign_convention: str = SIGN_CONVENTION
    model: str
    model_hash: str
    dtype: str
    task: str
    task_hash: str
    dictionary: DictionaryRecord
    metric: str
    larger_is_better: bool
    method: str
    steps: int | None
    ablation: str
    errors: str
    seed: int
    batch_size: int
    threads: int
    split: str
    discovery_rows: tuple[str, ...]
    verification_rows: tuple[str, ...]
    duplicates: int
    places: tuple[str, ...] = ()
    spans_hash: str | None = None
    candidates: int
    nodes: tuple[NodeRecord, ...]
    edges: tuple[FeatureEdge, ...]
    curve: tuple[tuple[int, float], ...]
    discovery: MeasuredRecord
    libraries: dict[str, str]

    def summary(self) -> str:
        size = f"{len(self.nodes):,} of {self.candidates:,} {self.part_name}, {len(self.edges):,} edges"
        return f"{self.task} in {self.model}, {self.dictionary.name}, {self.method}, {size}"

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each node: `id`, and `effect` (see `sign_convention`)."""
        return ({"id": node.id, "effect": node.effect} for node in self.nodes)

    @property
    def part_name(self) -> str:
        """What its parts are called, in the plural."""
        return "features and errors" if self.errors == "rank" else "features"

    def to_json(self) -> str:
        """What `feature-circuit.json` holds."""
        return json_text(self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> "FeatureCircuitRecord":
        """From a run's folder. Raises InputError for what is none, and for one that was changed."""
        return read_artefact(cls, path / FILE_NAME, "a feature circuit of acdc")


def is_feature_circuit(path: Path) -> bool:
    """Whether a path is a folder with a feature circuit."""
    return path.is_dir() and is_there(path / FILE_NAME)


class AblatedFeatures(_Record):
    """Features that are ablated everywhere but at first tokens (Marks et al. 2024 call the use of it SHIFT). `set`: the
    same in the syntax of interventions; none of means, which are those of each task's prompts."""

    version: Literal[1] = 1
    kind: Literal["ablated features"] = "ablated features"
    model: str
    model_hash: str
    dictionary: DictionaryRecord
    features: tuple[str, ...] = Field(min_length=1)
    to: Literal["zero", "mean"] = "zero"
    set: tuple[str, ...] = ()

    def interventions(self) -> tuple[str, ...]:
        """What `acdc intervene --set` takes to do the same. Raises InputError where it cannot be said so."""
        if self.to != "zero":
            raise InputError(
                "the features are set to their means over each task's prompts, which interventions do not have: "
                "'acdc ablate' measures them, and with --to zero writes a file of interventions"
            )
        return tuple(f"{one}@1:=0" for one in self.features)

    def save(self, path: Path) -> None:
        write_text(path, json_text(self.model_dump(mode="json")))

    @classmethod
    def load(cls, path: Path) -> "AblatedFeatures":
        return read_model(cls, path, "a file of features to ablate")
