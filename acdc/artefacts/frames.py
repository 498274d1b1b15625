"""Artefacts as data frames of pandas, which is needed only when one is asked for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.scores import Decision
from acdc.artefacts.verification.report import Report
from acdc.errors import InputError
from acdc.graph import Edge

if TYPE_CHECKING:
    import pandas as pd

REPORTED = ("measures", "removals", "faithfulness", "tests")


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Rows as a data frame. Raises InputError without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise InputError("data frames need pandas, which is not installed: pip install pandas") from None
    return pd.DataFrame(list(rows), columns=None if columns is None else list(columns))


def edges_frame(circuit: Circuit) -> "pd.DataFrame":
    """A row for each edge that the method kept: what writes, the slot that reads, its kind, both layers (-1 for
    embeddings, the number of layers for the logits), the score, and whether it is on a path from input to logits."""
    effective, last = {edge.id for edge in circuit.effective}, circuit.graph.anatomy.n_layers
    rows = []
    for scored in circuit.edges:
        left, right = scored.id.split("->")
        reader = Edge.parse(scored.id).reader if scored in circuit.links else None
        layers = {"writer_layer": _layer(left, last), "reader_layer": _layer(right, last)}
        kind = "within head" if reader is None else reader.kind.value
        ends = {"edge": scored.id, "writer": left, "reader": right, "kind": kind}
        rows.append(ends | layers | {"score": scored.score, "effective": scored.id in effective})
    columns = ("edge", "writer", "reader", "kind", "writer_layer", "reader_layer", "score", "effective")
    return frame(rows, columns)


def _layer(name: str, last: int) -> int:
    if name == "logits":
        return last
    number = name[1:].split(".")[0]
    return int(number) if name[0] in "am" and number.isdigit() else -1


def found_frame(circuit: Circuit, scores: Mapping[str, float] | None, decisions: Sequence[Decision]) -> "pd.DataFrame":
    """What a search found: a row for each candidate with its score, or for each test of ACDC in its order."""
    if scores is None:
        tests = [asdict(decision) | {"change": decision.after - decision.before} for decision in decisions]
        return frame(tests, ("candidate", "before", "after", "change", "kept"))
    chosen = {unit.id for unit in circuit.members}
    rows = [{"candidate": name, "score": score, "kept": name in chosen} for name, score in scores.items()]
    return frame(rows, ("candidate", "score", "kept"))


def report_frame(report: Report, what: str) -> "pd.DataFrame":
    """`measures`: every metric; `removals`: the circuit without each part; of a full verification also `faithfulness`
    under each ablation and `tests`. Raises InputError for anything else, and for what was not measured."""
    if what not in REPORTED:
        raise InputError(f"{what!r} is none of {', '.join(REPORTED)}")
    if what == "measures":
        return frame({"metric": name, **measure.model_dump()} for name, measure in report.measures.items())
    if what == "removals":
        return frame(_flat(removal.model_dump()) for removal in report.removals)
    if report.full_verification is None:
        raise InputError(f"{what} are part of a full verification, which 'acdc verify' makes")
    return frame(_flat(one.model_dump()) for one in getattr(report.full_verification, what))


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Intervals as three columns: the value, `_low` and `_high`."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():
            found |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
        else:
            found[name] = value
    return found
