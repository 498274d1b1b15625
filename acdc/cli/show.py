"""Print results: a short table first, or JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from acdc.artefacts.circuit import ModelRecord
from acdc.artefacts.quantisation import Quantisation
from acdc.cli.console import console, say_json, tell
from acdc.render.verdict import number, percent
from acdc.words import count_of

if TYPE_CHECKING:
    from acdc.runs.check_task import TaskCheck
    from acdc.runs.sweep import FinishedSweep

STRONGEST = 10
GROUPS = 20  # of a task, shown by check-task


def print_stored(model: str, quantisation: Quantisation | None, out: Console) -> None:
    """How a GGUF file stores the weights that were used."""
    if quantisation is not None:
        out.print(f"{model}: {quantisation}")


def print_scores(path: Path, record: dict[str, Any], as_json: bool) -> None:
    """The strongest scored edges."""
    if as_json:
        say_json({"run": str(path), **record})
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
        f"{record['method']}, {record['metric']}, {record['ablation']} ablation, "
        + count_of(len(record["task"]["rows"]), "row")
    )
    model = ModelRecord.model_validate(record["model"])
    print_stored(model.name, model.quantisation, out)
    out.print()
    out.print(table)
    out.print(f"\nscores  {path / 'scores.json'}", soft_wrap=True)


def print_curve(sweep: "FinishedSweep", as_json: bool) -> None:
    """A sweep's points by rising threshold and where its files are."""
    record = sweep.record
    if record.points[0].unseen_metric is None:
        tell("acdc: warning: no rows left to measure the circuits on: discovery used all")
    if as_json:
        say_json({"run": str(sweep.path), **record.model_dump(mode="json")})
        return
    out = console()
    out.print(f"{record.task.name} in {record.model.name}", style="bold")
    out.print(f"acdc over {record.level}, {record.metric}, {record.ablation} ablation")
    print_stored(record.model.name, record.model.quantisation, out)
    out.print()
    table = Table(box=None, pad_edge=False)
    over_nodes = record.points[0].nodes is not None
    for name in ("threshold", *(["nodes"] if over_nodes else []), "edges", "tests", record.metric, "faithfulness"):
        table.add_column(name, justify="right")
    table.add_column("faithfulness on unseen rows", justify="right")
    for point in record.points:
        sizes = [str(point.nodes)] if over_nodes else []
        table.add_row(
            f"{point.threshold:.4g}",
            *sizes,
            f"{point.edges_effective:,}",
            f"{point.tests:,}",
            f"{point.metric:.4g}",
            percent(point.faithfulness),
            percent(point.unseen_faithfulness),
        )
    out.print(table)
    out.print(f"\nrun      {sweep.path}{' (already there)' if sweep.resumed else ''}", soft_wrap=True)
    out.print(f"picture  {sweep.path / 'curve.svg'}", soft_wrap=True)


def print_check(check: "TaskCheck", as_json: bool) -> None:
    """Whether a task fits a model, and the model's metrics on it."""
    if as_json:
        say_json(check.as_record())
        return
    out, lengths = console(), f"{check.shortest} to {check.longest} tokens"
    if check.shortest == check.longest:
        lengths = count_of(check.longest, "token")
    answers = f" with {_between(*check.answers)} answers each" if check.answers != (1, 1) else ""
    out.print(f"{check.task} for {check.model}: {count_of(check.rows, 'row')} of {lengths}{answers}")
    if check.spans:
        out.print(f"spans, in tokens: {', '.join(f'{name} {_between(*ends)}' for name, ends in check.spans.items())}")
    print_stored(check.model, check.quantisation, out)
    out.print(f"default split: {check.discovery} discovery, {check.verification} verification; metric {check.metric}\n")
    table = Table(title="mean over all rows", title_justify="left", box=None, pad_edge=False)
    for name in ("metric", "clean", "corrupted"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name, ends in check.measures.items():
        table.add_row(name, number(ends["clean"]), number(ends["corrupted"]))
    out.print(table)
    if check.groups:
        out.print()
        out.print(_groups(check))
    for warning in check.warnings:
        out.print(f"warning: {warning}", style="yellow")


def _between(fewest: int, most: int) -> str:
    return str(most) if fewest == most else f"{fewest} to {most}"


def _groups(check: "TaskCheck") -> Table:
    table = Table(title="clean prompts by group", title_justify="left", box=None, pad_edge=False)
    table.add_column("group")
    table.add_column("rows", justify="right")
    shown = [name for name in dict.fromkeys(("right_answer", "accuracy", check.metric)) if name in check.measures]
    for name in shown:
        table.add_column(name, justify="right")
    for group in check.groups[:GROUPS]:
        table.add_row(group.group, str(group.rows), *(f"{group.measures[name]:.4g}" for name in shown))
    if len(check.groups) > GROUPS:
        table.caption = f"{GROUPS} of {len(check.groups)} groups; --json has all"
        table.caption_justify = "left"
    return table
