"""A finished run of a feature circuit as it lies on disk. Reading it needs no torch."""

from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.feature_circuit import FeatureCircuitRecord
from acdc.artefacts.verification.report import Report, unverified
from acdc.files import is_there
from acdc.runs.finished import VERIFICATION


@dataclass(frozen=True)
class FinishedFeatures:
    """A run directory with its feature circuit and what is known of it."""

    path: Path
    circuit: FeatureCircuitRecord
    report: Report
    resumed: bool


def load_feature_report(path: Path) -> Report:
    """A run's verification, or one that says that there is none."""
    circuit = FeatureCircuitRecord.load(path)
    if not is_there(path / VERIFICATION):
        return unverified(circuit.metric, circuit.ablation, len(circuit.nodes), circuit.candidates)
    return Report.load(path)


def open_features(path: Path) -> FinishedFeatures:
    """A run as it is on disk, verified or not."""
    return FinishedFeatures(path, FeatureCircuitRecord.load(path), load_feature_report(path), resumed=True)
