"""What many rows say together: a table of methods, ROC curves, and the files of a benchmark."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acdc.artefacts.verification.interval import Interval
from acdc.benchmark.evaluate import BenchmarkRow
from acdc.benchmark.scoring import mean_over_models
from acdc.files import write_text
from acdc.render import roc

WORKS = 0.9  # share of rows for which a model must still say what its program does
GRID = 200  # points of a mean ROC curve
SCORES = ("edge_f1", "edge_f1_at_true_size", "edge_auroc", "edge_auprc", "node_f1", "cmd")


@dataclass(frozen=True)
class Group:
    """Rows that are averaged together: of one suite (with one kind of realism), ablation and kind of truth."""

    suite: str
    ablation: str
    kind: str

    @property
    def name(self) -> str:
        return f"{self.suite}, {self.ablation} ablation, {self.kind}"

    @property
    def slug(self) -> str:
        return "-".join((self.suite, self.ablation, self.kind)).replace(" ", "-").replace("+", "-")


@dataclass(frozen=True)
class Line:
    """A method in a group: means over models of `SCORES`, how many models, edges found and true on average, work and
    seconds in all."""

    method: str
    models: int
    scores: dict[str, Interval | None]
    found: float
    true: float | None
    work: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """Lines by group; `broken`: cases of models that no longer do what their program does, `missing`: why others were
    not tried, (case, method, reason)."""

    groups: dict[Group, list[Line]]
    broken: tuple[str, ...]
    missing: tuple[tuple[str, str, str], ...]


def summarise(rows: Sequence[BenchmarkRow]) -> Summary:
    """Every model counts the same; those that are broken do not count."""
    grouped: dict[Group, dict[str, list[BenchmarkRow]]] = {}
    for row in rows:
        if row.status == "done" and _works(row):
            grouped.setdefault(_group(row), {}).setdefault(row.method, []).append(row)
    return Summary(
        {group: [_line(method, found) for method, found in methods.items()] for group, methods in grouped.items()},
        tuple(sorted({row.case for row in rows if not _works(row)})),
        tuple((row.case, row.method, row.status) for row in rows if row.status != "done"),
    )


def _works(row: BenchmarkRow) -> bool:
    return row.accuracy is None or row.accuracy >= WORKS


def _group(row: BenchmarkRow) -> Group:
    kind = {None: "circuit not known", False: "not redundant", True: "redundant"}[row.redundant]
    return Group(row.suite if row.variant is None else f"{row.suite} {row.variant}", row.ablation, kind)


def _line(method: str, rows: Sequence[BenchmarkRow]) -> Line:
    true = [row.edges_true for row in rows if row.edges_true is not None]
    return Line(
        method=method,
        models=len(rows),
        scores={name: mean_over_models(list(_values(rows, name))) for name in SCORES},
        found=float(np.mean([row.edges_found for row in rows])),
        true=float(np.mean(true)) if true else None,
        work=sum(row.work or 0 for row in rows),
        seconds=sum(row.seconds or 0.0 for row in rows),
    )


def _values(rows: Iterable[BenchmarkRow], name: str) -> Iterator[float]:
    return (value for row in rows if (value := getattr(row, name)) is not None)


NOTES = (
    "Means over models of equal weight, with 95% bootstrap intervals. F1, AUROC and AUPRC are of edges; F1 is at the",
    "widest gap between scores, F1 at size at the size of the true circuit. CMD: the area between a method's",
    "faithfulness and 1 over all sizes. Work is in component evaluations of the search alone.",
)


def to_markdown(summary: Summary) -> str:
    """A table for each group, best F1 first."""
    parts = ["# Benchmark", "", *NOTES]
    for group, lines in summary.groups.items():
        parts += ["", f"## {group.name}", "", "| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
        parts += ["| " + " | ".join(cells(line, intervals=True)) + " |" for line in ranked(lines)]
    if summary.broken:
        parts += ["", f"Left out, as less than {WORKS:.0%} of their rows are answered as the program does:"]
        parts += ["", *(f"- {case}" for case in summary.broken)]
    if summary.missing:
        parts += ["", "Not run:", "", *(f"- {case}, {method}: {reason}" for case, method, reason in summary.missing)]
    return "\n".join([*parts, ""])


HEADER = ("method", "models", "true / found", "F1", "F1 at size", "AUROC", "AUPRC", "node F1", "CMD", "work", "seconds")


def ranked(lines: Sequence[Line]) -> list[Line]:
    """By falling edge F1; where no circuit is known, by rising CMD."""

    def key(line: Line) -> tuple[float, float, str]:
        f1, cmd = line.scores["edge_f1"], line.scores["cmd"]
        rising = np.inf if cmd is None or cmd.value is None else cmd.value
        return -((f1 and f1.value) or 0.0), rising, line.method

    return sorted(lines, key=key)


def cells(line: Line, intervals: bool = False) -> list[str]:
    """The texts of a line under `HEADER`; with `intervals` or only means."""
    true = "?" if line.true is None else f"{line.true:.1f}"
    scores = [_text(line.scores[name], intervals) for name in SCORES]
    return [
        line.method,
        str(line.models),
        f"{true} / {line.found:.1f}",
        *scores,
        f"{line.work:,}",
        f"{line.seconds:.1f}",
    ]


def _text(score: Interval | None, interval: bool) -> str:
    if score is None:
        return ""
    around = f" [{score.low:.3f}, {score.high:.3f}]" if interval and score.low is not None else ""
    return f"{score.value:.3f}{around}"


def write(rows: Sequence[BenchmarkRow], summary: Summary, out: Path) -> None:
    """Write `benchmark.json`, `benchmark.md` and a ROC plot for each group into a folder."""
    listed = [row.model_dump(mode="json") for row in rows]
    write_text(out / "benchmark.json", json.dumps({"rows": listed}, indent=1) + "\n")
    write_text(out / "benchmark.md", to_markdown(summary))
    for group, lines in summary.groups.items():
        curves = [curve for line in lines if (curve := _mean_roc(line.method, [r for r in rows if _group(r) == group]))]
        if curves:
            below = f"mean over {max(line.models for line in lines)} models, ties and gaps at their worst"
            write_text(out / f"roc-{group.slug}.svg", roc.to_svg(group.name, below, curves))


def _mean_roc(method: str, rows: Sequence[BenchmarkRow]) -> roc.Curve | None:
    """Mean true positive rate at each false positive rate, every model alike."""
    known = [row for row in rows if row.method == method and row.roc and _works(row)]
    if not known:
        return None
    rates = np.linspace(0, 1, GRID + 1)
    heights = np.mean(
        [[max(true for false, true in row.roc if false <= rate) for rate in rates] for row in known], axis=0
    )
    area = float(np.mean([row.edge_auroc for row in known]))
    return roc.Curve(method, list(zip(rates.tolist(), heights.tolist(), strict=True)), area)
