"""Print results: a short table first, or JSON."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from acdc.circuit.circuit import ModelRecord
from acdc.jobs.check import TaskCheck
from acdc.jobs.run import FinishedRun
from acdc.jobs.sweep import FinishedSweep
from acdc.model.gguf_file import Quantisation
from acdc.options import Level
from acdc.render.style import subtitle, title
from acdc.render.verdict import percent, verdict

STRONGEST = 10


def console() -> Console:
    """A readable width in pipes and on wide terminals; names of files and models are never read as markup."""
    plain = Console()
    return Console(highlight=False, markup=False, width=min(plain.width, 110) if plain.is_terminal else 110)


def print_run(run: FinishedRun, as_json: bool) -> None:
    """A run's verdict, its measures, its strongest edges and where its files are."""
    circuit, report = run.circuit, run.report
    if not report.rows:
        print(f"acdc: warning: no rows left to verify on: {report.reason}", file=sys.stderr)
    if as_json:
        record = {
            "run": str(run.path),
            "model": circuit.model.name,
            "task": circuit.task.name,
            "method": circuit.method.name,
            "metric": circuit.metric,
            "ablation": circuit.ablation,
            "edges_total": circuit.edges_total,
            "edges": len(circuit.edges),
            "edges_effective": circuit.edges_effective,
            "faithfulness": report.faithfulness,
            "verification": report.model_dump(mode="json", exclude={"removals"}),
        }
        print(json.dumps(record))
        return
    out = console()
    out.print(title(circuit), style="bold")
    out.print(subtitle(circuit))
    _print_stored(circuit.model.name, circuit.model.quantisation, out)
    out.print()
    if report.rows:
        out.print(_measures(run))
        out.print()
    out.print(_strongest(run))
    out.print(f"\n{verdict(circuit, report)}")
    out.print(f"\nrun      {run.path}{' (already there)' if run.resumed else ''}", soft_wrap=True)
    out.print(f"picture  {run.path / 'circuit.svg'}\nreport   {run.path / 'report.html'}", soft_wrap=True)


def _print_stored(model: str, quantisation: Quantisation | None, out: Console) -> None:
    """How a GGUF file stores the weights that were used."""
    if quantisation is not None:
        out.print(f"{model}: {quantisation}")


def _measures(run: FinishedRun) -> Table:
    table = Table(
        title=f"verification on {run.report.rows} unseen rows", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("metric")
    for name in ("full model", "circuit", "complement", "all ablated", "faithfulness"):
        table.add_column(name, justify="right")
    for name, m in run.report.measures.items():
        values = (f"{v:.4g}" for v in (m.full, m.circuit, m.complement, m.empty))
        table.add_row(name, *values, percent(m.faithfulness))
    random = [value for value in run.report.random.faithfulness if value is not None] if run.report.random else []
    if random:
        spread = f"{percent(min(random))} to {percent(max(random))}"
        table.caption = f"{len(random)} random circuits of at most that size: faithfulness {spread}"
        table.caption_justify = "left"
    return table


def _strongest(run: FinishedRun) -> Table:
    level = run.circuit.part_name
    edges = sorted(run.circuit.parts, key=lambda edge: (-abs(edge.score), edge.id))[:STRONGEST]
    removals = {removal.id: removal for removal in run.report.removals}
    caption = f"strongest {len(edges)} of {len(run.circuit.parts)} {level}"
    table = Table(title=caption, title_justify="left", box=None, pad_edge=False)
    table.add_column(level.removesuffix("s"))
    table.add_column("score", justify="right")
    table.add_column(f"change of {run.report.metric} without it", justify="right")
    for edge in edges:
        removal = removals.get(edge.id)
        table.add_row(edge.id, f"{edge.score:+.4g}", f"{removal.change:+.4g}" if removal else "-")
    return table


def print_scores(path: Path, record: dict[str, Any], as_json: bool) -> None:
    """The strongest scored edges."""
    if as_json:
        print(json.dumps({"run": str(path), **record}))
        return
    edges = sorted(record["edges"].items(), key=lambda item: (-abs(item[1]), item[0]))
    table = Table(
        title=f"strongest {STRONGEST} of {len(edges):,} edges", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("edge")
    table.add_column("score", justify="right")
    for name, value in edges[:STRONGEST]:
        table.add_row(name, f"{value:+.4g}")
    out = console()
    out.print(f"{record['task']['name']} in {record['model']['name']}", style="bold")
    out.print(
        f"{record['method']}, {record['metric']}, {record['ablation']} ablation, {len(record['task']['rows'])} rows"
    )
    model = ModelRecord.model_validate(record["model"])
    _print_stored(model.name, model.quantisation, out)
    out.print()
    out.print(table)
    out.print(f"\nscores  {path / 'scores.json'}", soft_wrap=True)


def print_curve(sweep: FinishedSweep, as_json: bool) -> None:
    """A sweep's points by rising threshold and where its files are."""
    record = sweep.record
    if record.points[0].unseen_metric is None:
        print("acdc: warning: no rows left to measure the circuits on: discovery used all", file=sys.stderr)
    if as_json:
        print(json.dumps({"run": str(sweep.path), **record.model_dump(mode="json")}))
        return
    out = console()
    out.print(f"{record.task.name} in {record.model.name}", style="bold")
    out.print(f"acdc over {record.level}, {record.metric}, {record.ablation} ablation")
    _print_stored(record.model.name, record.model.quantisation, out)
    out.print()
    table = Table(box=None, pad_edge=False)
    over_nodes = record.level is Level.nodes
    for name in ("threshold", *(["nodes"] if over_nodes else []), "edges", "tests", record.metric, "faithfulness"):
        table.add_column(name, justify="right")
    table.add_column("on unseen rows", justify="right")
    for point in record.points:
        sizes = [str(point.nodes)] if over_nodes else []
        table.add_row(
            f"{point.threshold:.4g}",
            *sizes,
            f"{point.edges:,}",
            f"{point.tests:,}",
            f"{point.metric:.4g}",
            percent(point.faithfulness),
            percent(point.unseen_faithfulness),
        )
    out.print(table)
    out.print(f"\nrun      {sweep.path}{' (already there)' if sweep.resumed else ''}", soft_wrap=True)
    out.print(f"picture  {sweep.path / 'curve.svg'}", soft_wrap=True)


def print_check(check: TaskCheck, as_json: bool) -> None:
    """Whether a task fits a model, and the model's metrics on it."""
    if as_json:
        print(json.dumps(check.as_record()))
        return
    out = console()
    out.print(f"{check.task} for {check.model}: {check.rows} rows of {check.shortest} to {check.longest} tokens")
    _print_stored(check.model, check.quantisation, out)
    out.print(f"default split: {check.discovery} discovery, {check.verification} verification; metric {check.metric}\n")
    table = Table(title="mean over all rows", title_justify="left", box=None, pad_edge=False)
    for name in ("metric", "clean", "corrupted"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name, clean, corrupted in check.measures:
        table.add_row(name, f"{clean:.4g}", f"{corrupted:.4g}")
    out.print(table)
    for warning in check.warnings:
        out.print(f"warning: {warning}", style="yellow")
