"""Print results: a short table first, or JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from acdc.artefacts.circuit import ModelRecord
from acdc.artefacts.named_scores import NamedScores, strongest
from acdc.artefacts.quantisation import Quantisation
from acdc.cli.console import console, say_json, tell
from acdc.cli.tables import make_table
from acdc.render.verdict import number, percent
from acdc.words import count_of

if TYPE_CHECKING:
    from rich.table import Table

    from acdc.runs.check_task import TaskCheck
    from acdc.runs.sweep import FinishedSweep

STRONGEST = 10
GROUPS = 20  # of a task, shown by check-task
RIGHT_ANSWER = "right_answer"  # measured by check-task alone


def print_stored(model: str, quantisation: Quantisation | None, out: Console) -> None:
    """How a GGUF file stores the weights that were used."""
    if quantisation is not None:
        out.print(f"{model}: {quantisation}")


def print_scores(file: Path, record: dict[str, Any], as_json: bool) -> None:
    """The strongest scored edges, and the file of all. As JSON those of an array are not repeated."""
    edges = record["edges"]
    if as_json:
        without = {name: value for name, value in record.items() if name != "edges"}
        shown = without | {"scores": str(file)} if isinstance(edges, NamedScores) else record
        say_json({"run": str(file.parent), **shown})
        return
    out = console()
    rows = [[name, f"{value:+.4g}"] for name, value in strongest(edges, STRONGEST)]
    table = make_table(("edge", "score"), rows, out.width, f"strongest {STRONGEST} of {len(edges):,} edges")
    out.print(f"{record['task']['name']} in {record['model']['name']}", style="bold")
    out.print(
        f"{record['method']}, {record['metric']}, {record['ablation']} ablation, "
        + count_of(len(record["task"]["rows"]), "row")
    )
    model = ModelRecord.model_validate(record["model"])
    print_stored(model.name, model.quantisation, out)
    out.print()
    out.print(table)
    out.print(f"\nscores  {file}", soft_wrap=True)


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
    nodes = ["nodes"] if record.points[0].nodes is not None else []
    head = ["threshold", *nodes, "edges", "tests", record.metric, "faithfulness", "faithfulness on unseen rows"]
    rows = [
        [
            f"{point.threshold:.4g}",
            *([str(point.nodes)] if nodes else []),
            f"{point.edges_effective:,}",
            f"{point.tests:,}",
            number(point.metric),
            percent(point.faithfulness),
            percent(point.unseen_faithfulness),
        ]
        for point in record.points
    ]
    table = make_table(head, rows, out.width, words=())
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
    means = [[name, number(ends["clean"]), number(ends["corrupted"])] for name, ends in check.measures.items()]
    out.print(make_table(("metric", "clean", "corrupted"), means, out.width, "mean over all rows"))
    if RIGHT_ANSWER in check.measures:
        out.print(f"{RIGHT_ANSWER}: the likeliest of a row's own answers is a correct one; only check-task measures it")
    if check.groups:
        out.print()
        out.print(_groups(check, out.width))
    for warning in check.warnings:
        out.print(f"warning: {warning}", style="yellow")


def _between(fewest: int, most: int) -> str:
    return str(most) if fewest == most else f"{fewest} to {most}"


def _groups(check: "TaskCheck", width: int) -> "Table":
    shown = [name for name in dict.fromkeys((RIGHT_ANSWER, "accuracy", check.metric)) if name in check.measures]
    rows = [[g.group, str(g.rows), *(number(g.measures[name]) for name in shown)] for g in check.groups[:GROUPS]]
    table = make_table(("group", "rows", *shown), rows, width, "clean prompts by group")
    if len(check.groups) > GROUPS:
        table.caption = f"{GROUPS} of {len(check.groups)} groups; --json has all"
        table.caption_justify = "left"
    return table
