"""Show jobs: a line for each while they run, a table of them afterwards."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from acdc.circuit.circuit import Circuit
from acdc.cli.progress import RateColumn
from acdc.cli.show import console
from acdc.errors import InputError
from acdc.jobs.planned import PlannedJob
from acdc.jobs.store import Stage, Status, StoredJob
from acdc.jobs.work import Outcome
from acdc.render.report import percent
from acdc.verification.report import Report


class Lines:
    """Plain lines on stderr as jobs begin and end: for pipes and log files."""

    def __init__(self):
        self._total, self._ended = 0, 0

    def begins(self, jobs: Sequence[PlannedJob], finished: int) -> None:
        self._total, self._ended = len(jobs) + finished, finished
        if finished:
            self._say(f"{finished} of {self._total} jobs were finished before")

    def started(self, job: PlannedJob) -> None:
        self._say(f"{job.name} started")

    def at(self, job: PlannedJob, stage: Stage) -> None:
        pass

    def ended(self, job: PlannedJob, outcome: Outcome) -> None:
        self._ended += 1
        how = "done" if outcome.error is None else f"failed: {outcome.error}"
        self._say(f"{job.name} {how} after {outcome.seconds:.1f} s ({self._ended} of {self._total})")

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Bars(Lines):
    """A bar for every running job, with its rate and the time left, above one for all."""

    def __init__(self):
        super().__init__()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
        )
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, tuple[str, TaskID]] = {}

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def begins(self, jobs: Sequence[PlannedJob], finished: int) -> None:
        super().begins(jobs, finished)
        self._all = self._bars.add_task("all jobs", total=self._total, completed=finished, unit="jobs", note="")

    def started(self, job: PlannedJob) -> None:
        pass

    def at(self, job: PlannedJob, stage: Stage) -> None:
        """A new stage is a new bar, so that its rate is its own."""
        name, task = self._tasks.get(job.id, (None, None))
        if name != stage.name:
            self._remove(job)
            what = f"{job.name} {stage.name}"
            task = self._bars.add_task(what, total=stage.total, unit=stage.unit, note="")
            self._tasks[job.id] = stage.name, task
        self._bars.update(task, completed=stage.done, note=stage.note)

    def ended(self, job: PlannedJob, outcome: Outcome) -> None:
        self._remove(job)
        super().ended(job, outcome)
        self._bars.update(self._all, completed=self._ended)

    def _remove(self, job: PlannedJob) -> None:
        if job.id in self._tasks:
            self._bars.remove_task(self._tasks.pop(job.id)[1])

    def _say(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)


def watching() -> Lines:
    """Bars on a terminal, plain lines in a pipe."""
    return Bars() if sys.stderr.isatty() else Lines()


def print_jobs(out: Path, jobs: Sequence[StoredJob], as_json: bool) -> None:
    """How jobs stand, and what those that are done have found."""
    if as_json:
        print(json.dumps({"out": str(out), "jobs": [_record(out, job) for job in jobs]}))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("job", "status", "edges", "faithfulness", "seconds"):
        table.add_column(name, justify="left" if name in ("job", "status") else "right", overflow="fold")
    for job in jobs:
        found = _record(out, job)
        edges = "" if found["edges"] is None else f"{found['edges']:,} of {found['edges_total']:,}"
        seconds = "" if job.seconds is None else f"{job.seconds:.1f}"
        table.add_row(job.name, _status(job), edges, percent(found["faithfulness"]), seconds)
    console().print(table)
    for job in jobs:
        if job.error:
            console().print(f"{job.name}: {job.error}", soft_wrap=True)
    console().print(f"\njobs  {out}", soft_wrap=True)


def _status(job: StoredJob) -> str:
    if job.status is not Status.running or job.stage is None:
        return job.status.value
    return f"{job.stage.name} {job.stage.done:,.0f}/{job.stage.total:,.0f} {job.stage.unit}"


def _record(out: Path, job: StoredJob) -> dict[str, object]:
    found: dict[str, object] = {"edges": None, "edges_total": None, "faithfulness": None}
    if job.status is Status.done:
        try:
            circuit = Circuit.load(out / job.name)
            found = {
                "edges": circuit.edges_effective,
                "edges_total": circuit.edges_total,
                "faithfulness": Report.load(out / job.name).faithfulness,
            }
        except InputError as error:
            found["damaged"] = str(error)
    return {
        "id": job.id,
        "run": str(out / job.name),
        "status": job.status.value,
        "error": job.error,
        "seconds": job.seconds,
        "command": job.command,
        **found,
    }
