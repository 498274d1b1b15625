"""What is said of a feature circuit, the same in the terminal, in its picture and on its page."""

from collections.abc import Sequence

from acdc.artefacts.feature_circuit import FeatureCircuitRecord, NodeRecord
from acdc.artefacts.verification.report import Report
from acdc.words import count_of

CURVE_HEAD = ("features", "faithfulness")


def title(circuit: FeatureCircuitRecord) -> str:
    at = " at places" if circuit.places else ""
    size = f"{len(circuit.nodes):,} of {circuit.candidates:,} {circuit.part_name}"
    return f"{circuit.task} in {circuit.model}: {size} of {circuit.dictionary.name}{at}"


def subtitle(circuit: FeatureCircuitRecord) -> str:
    errors = {"keep": "kept in all circuits", "remove": "ablated in all circuits", "rank": "ranked with features"}
    return f"{circuit.method}, {circuit.metric}, {circuit.ablation} ablation; errors {errors[circuit.errors]}"


def discovered(circuit: FeatureCircuitRecord) -> str:
    """How faithful it is on the rows that it was found on."""
    found = circuit.discovery
    return (
        f"On the {count_of(found.rows, 'discovery row')}: {circuit.metric} {found.circuit:.4g} (full model "
        f"{found.full:.4g}, every feature ablated {found.empty:.4g}), faithfulness {found.faithfulness:.1%}; with "
        f"errors ablated too {found.faithfulness_without_errors:.1%}."
    )


def helps(circuit: FeatureCircuitRecord, effect: float) -> bool:
    """Whether ablating what has this effect makes the metric worse."""
    return effect < 0 if circuit.larger_is_better else effect > 0


def node_head(circuit: FeatureCircuitRecord, report: Report) -> list[str]:
    """The columns of a table of nodes."""
    removed = [f"change of {report.metric} without it", "needed"] if report.removals else []
    return ["feature", "effect", *removed]


def node_rows(report: Report, nodes: Sequence[NodeRecord]) -> list[list[str]]:
    """Nodes with their effects; on unseen rows, what the circuit loses without each."""
    removals = {removal.id: removal for removal in report.removals}
    rows = []
    for node in nodes:
        found = removals.get(node.id)
        cells = [f"{found.change:+.4g}", "yes" if found.hurts else "no"] if found else ["-", "-"]
        rows.append([node.id, f"{node.effect:+.4g}", *(cells if removals else [])])
    return rows
