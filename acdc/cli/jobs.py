"""Show jobs: a line for each while they run, a table of them afterwards."""

import sys
import time
from collections.abc import Iterator, Sequence

from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from acdc.cli.console import console, say, say_json, tell
from acdc.cli.plan import duration
from acdc.cli.progress import RateColumn
from acdc.cli.tables import make_table
from acdc.errors import printable
from acdc.jobs.job import Job
from acdc.jobs.state import JobsState, JobState, SubmissionState
from acdc.jobs.store import Stage, Status
from acdc.jobs.work import Outcome
from acdc.render.verdict import percent
from acdc.words import count_of, were

_UNFINISHED = (Status.queued, Status.stopped, Status.interrupted)


class Lines:
    """Plain lines on stderr as jobs begin and end: for pipes and log files."""

    def __init__(self) -> None:
        self._total, self._ended = 0, 0

    def begins(self, jobs: Sequence[Job], finished: int) -> None:
        self._total, self._ended = len(jobs) + finished, finished
        if finished:
            self._say(f"{finished} of {count_of(self._total, 'job')} {were(finished)} finished before")

    def started(self, job: Job) -> None:
        self._say(f"{job.name} started")

    def at(self, job: Job, stage: Stage) -> None:
        pass

    def ended(self, job: Job, outcome: Outcome) -> None:
        self._ended += 1
        how = "done" if outcome.error is None else f"failed: {outcome.error}"
        self._say(f"{job.name} {how} after {outcome.seconds:.1f} s ({self._ended} of {self._total})")

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def _say(self, text: str) -> None:
        tell(f"{time.strftime('%H:%M:%S')} {text}")


class Bars(Lines):
    """A bar for every running job, with its rate and the time left, above one for all."""

    def __init__(self) -> None:
        super().__init__()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )
        self._bars = Progress(*columns, console=console(stderr=True))
        self._tasks: dict[str, tuple[str, TaskID]] = {}

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def begins(self, jobs: Sequence[Job], finished: int) -> None:
        super().begins(jobs, finished)
        self._all = self._bars.add_task("all jobs", total=self._total, completed=finished, unit="jobs", note="")

    def started(self, job: Job) -> None:
        pass

    def at(self, job: Job, stage: Stage) -> None:
        """A new stage is a new bar, so that its rate is its own."""
        shown = self._tasks.get(job.id)
        if shown is None or shown[0] != stage.name:
            self._remove(job)
            what = printable(f"{job.name} {stage.name}")
            shown = stage.name, self._bars.add_task(what, total=stage.total, unit=stage.unit, note="")
            self._tasks[job.id] = shown
        self._bars.update(shown[1], completed=stage.done, note=stage.note)

    def ended(self, job: Job, outcome: Outcome) -> None:
        self._remove(job)
        super().ended(job, outcome)
        self._bars.update(self._all, completed=self._ended)

    def _remove(self, job: Job) -> None:
        if job.id in self._tasks:
            self._bars.remove_task(self._tasks.pop(job.id)[1])

    def _say(self, text: str) -> None:
        self._bars.console.print(text, soft_wrap=True)


def watching() -> Lines:
    """Bars on a terminal, plain lines in a pipe."""
    return Bars() if sys.stderr.isatty() else Lines()


def print_jobs(state: JobsState, as_json: bool) -> None:
    """How jobs stand, and what those that are done have found."""
    if as_json:
        say_json(state.model_dump(mode="json"))
        return
    out = console()
    if state.submission:
        out.print(_submission(state.submission), soft_wrap=True)
    if state.jobs:
        out.print(jobs_table(state, out.width))
    for job in state.jobs:
        if problem := job.error or job.damaged:
            out.print(f"{job.name}: {problem}", soft_wrap=True)
    out.print(f"\njobs  {state.out}", soft_wrap=True)
    if not state.driven and any(job.status in _UNFINISHED for job in state.jobs):
        out.print("no process is running these jobs now: run the same command again to resume them")


def jobs_table(state: JobsState, width: int) -> Table:
    """A row for each job, on a terminal so wide."""
    rows = []
    for job in state.jobs:
        edges = "" if job.edges is None else f"{job.edges:,} of {job.edges_total:,}"
        seconds = "" if job.seconds is None else f"{job.seconds:.1f}"
        rows.append([job.name, _status(job), edges, percent(job.faithfulness), seconds])
    return make_table(("job", "status", "edges", "faithfulness", "seconds"), rows, width, words=(0, 1))


def _status(job: JobState) -> str:
    """With rate and time left of what is running."""
    stage = job.stage
    if stage is None:
        return job.status.value
    words = [f"{stage.name} {stage.done:,.0f}/{stage.total:,.0f} {stage.unit}"]
    words += [f"{stage.rate:,.1f}/s"] if stage.rate else []
    words += [f"{duration(stage.left)} left"] if stage.left is not None else []
    return ", ".join(words)


def _submission(submission: SubmissionState) -> str:
    code = "" if submission.exit_code is None else f", exit code {submission.exit_code}"
    why = f": {submission.reason}" if submission.reason else ""
    return f"{submission.id} {submission.status}{code}{why}"


def print_states(states: Iterator[JobsState], as_json: bool) -> None:
    """Jobs until they have ended: a table that is drawn again on a terminal, a line for each change in a pipe."""
    if as_json:
        _print_changes(states)
        return
    last = _draw(states) if sys.stdout.isatty() else _say_changes(states)
    print_jobs(last, as_json=False)


def _print_changes(states: Iterator[JobsState]) -> None:
    last = None
    for state in states:
        if state != last:
            print_jobs(state, as_json=True)
        last = state


def _draw(states: Iterator[JobsState]) -> JobsState:
    with Live(console=console(), transient=True, auto_refresh=False) as live:
        for state in states:
            live.update(jobs_table(state, live.console.width), refresh=True)
    return state


def _say_changes(states: Iterator[JobsState]) -> JobsState:
    said: dict[str, str] = {}
    for state in states:
        now = {state.submission.id: state.submission.status} if state.submission else {}
        now |= {job.name: job.status.value for job in state.jobs}
        for name, status in now.items():
            if said.get(name) != status:
                say(f"{time.strftime('%H:%M:%S')} {name} {status}")
        said = now
    return state
