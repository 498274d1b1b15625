"""Artefacts as data frames of pandas, which is needed only when one is asked for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.scores import Decision
from acdc.artefacts.verification.report import Report
from acdc.errors import InputError
from acdc.graph import Edge, is_within_head
from acdc.graph.positional_graph import parts_of
from acdc.options import Level

if TYPE_CHECKING:
    import pandas as pd

REPORTED = ("measures", "removals", "random", "faithfulness", "tests")


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Rows as a data frame. Raises InputError without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise InputError("data frames need pandas, which is not installed: pip install pandas") from None
    return pd.DataFrame(list(rows), columns=None if columns is None else list(columns))


def circuit_frame(circuit: Circuit, what: str = "units") -> "pd.DataFrame":
    """See `Circuit.to_dataframe`."""
    if what not in ("units", "edges"):
        raise InputError(f"{what!r} is neither units nor edges")
    if what == "edges" or circuit.units.are_edges:
        return _edges(circuit, scored=circuit.units.count_as_edges)
    if circuit.units.count_as_edges:
        return _edges_at_spans(circuit)
    last = circuit.graph.anatomy.n_layers
    rows = [
        {"unit": one.id, "kind": _kind(one.id, circuit.level), "layer": _layer(one.id, last), "score": one.score}
        for one in circuit.members
    ]
    return frame(rows, ("unit", "kind", "layer", "score"))


def _edges(circuit: Circuit, scored: bool) -> "pd.DataFrame":
    """A row for each edge that the method kept; `scored`: whether it gave edges scores, which are else NaN."""
    effective = {edge.id for edge in circuit.effective}
    rows = (
        _ends(edge.id, circuit) | {"score": edge.score if scored else math.nan, "effective": edge.id in effective}
        for edge in circuit.edges
    )
    return frame(rows, (*_ENDS, "score", "effective"))


def _edges_at_spans(circuit: Circuit) -> "pd.DataFrame":
    """A row for each; none of them dangles."""
    rows = []
    for one in circuit.positions:
        edge, source, span = parts_of(one.id) or (one.id, "", "")
        places = {"edge": one.id, "from": source, "to": span}
        rows.append(_ends(edge, circuit) | places | {"score": one.score, "effective": True})
    return frame(rows, (_ENDS[0], "from", "to", *_ENDS[1:], "score", "effective"))


_ENDS = ("edge", "writer", "reader", "kind", "writer_layer", "reader_layer")


def _ends(name: str, circuit: Circuit) -> dict[str, Any]:
    """What an edge leads from and to."""
    last = circuit.graph.anatomy.n_layers
    writer, reader = name.split("->")
    kind = "within head" if is_within_head(name) else Edge.parse(name).reader.kind.value
    return dict(zip(_ENDS, (name, writer, reader, kind, _layer(writer, last), _layer(reader, last)), strict=True))


def _kind(name: str, level: Level) -> str:
    """Of a component, or at a level of parts of one."""
    if ".n" in name:
        return "coordinate" if level is Level.coordinates else "neuron"
    return "head" if name.startswith("a") else "mlp" if name.startswith("m") else "embedding"


def _layer(name: str, last: int) -> int:
    if name == "logits":
        return last
    number = name[1:].split(".")[0]
    return int(number) if name[0] in "am" and number.isdigit() else -1


def found_frame(circuit: Circuit, scores: Mapping[str, float] | None, decisions: Sequence[Decision]) -> "pd.DataFrame":
    """See `Result.to_dataframe`."""
    name = "edge" if circuit.units.count_as_edges else "unit"
    if scores is None:
        before, after, sign = _objective(circuit)
        rows = (
            {
                name: one.candidate,
                "score": _sign(circuit) * (one.after - one.before),
                "kept": one.kept,
                before: sign * one.before,
                after: sign * one.after,
            }
            for one in decisions
        )
        return frame(rows, (name, "score", "kept", before, after))
    chosen = {unit.id for unit in circuit.members} | {writer.id for writer in circuit.graph.embeddings}
    rows = ({name: candidate, "score": score, "kept": candidate in chosen} for candidate, score in scores.items())
    return frame(rows, (name, "score", "kept"))


def _sign(circuit: Circuit) -> float:
    """Which turns a rise of what was minimised into a change of the metric."""
    return -1.0 if circuit.larger_is_better else 1.0


def _objective(circuit: Circuit) -> tuple[str, str, float]:
    """(columns of before and after, the sign that their values get): the metric itself where that was minimised, with
    the sign of a loss, else the objective."""
    if circuit.method.objective in (circuit.metric, f"neg_{circuit.metric}"):
        return "before", "after", _sign(circuit)
    return "objective_before", "objective_after", 1.0


def report_frame(report: Report, what: str) -> "pd.DataFrame":
    """`measures`: every metric; `removals`: the circuit without each part; `random`: random circuits of
    its size, each with how many edges it has and its faithfulness; of a full verification also `faithfulness`
    under each ablation and `tests`. Raises InputError for anything else, and for what was not measured."""
    if what not in REPORTED:
        raise InputError(f"{what!r} is none of {', '.join(REPORTED)}")
    if what == "measures":
        return frame({"metric": name, **measure.model_dump()} for name, measure in report.measures.items())
    if what == "removals":
        return frame(_flat(removal.model_dump()) for removal in report.removals)
    if what == "random":
        found = report.random
        pairs = zip(found.edges, found.faithfulness, strict=True) if found else ()
        return frame(({"edges": size, "faithfulness": share} for size, share in pairs), ("edges", "faithfulness"))
    if report.full_verification is None:
        how = "acdc.verify(..., extent='full'), or 'acdc verify RUN'"
        raise InputError(f"{what} are part of a full verification: {how}")
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
