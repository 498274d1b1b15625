"""Run a suite with methods into a folder, on an executor: what is there of the same inputs is not made again."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from acdc.artefacts.frames import frame
from acdc.benchmark.case import Case, HasPositions, Suite
from acdc.benchmark.evaluate import BenchmarkRow, settings_of
from acdc.benchmark.job import BenchmarkJob
from acdc.benchmark.summary import Summary, summarise, write
from acdc.errors import InputError
from acdc.jobs.batch import Watch, run_planned
from acdc.jobs.executors import JobExecutor
from acdc.jobs.store import Status, StoredJob
from acdc.model.placement import choose_devices
from acdc.options import Level
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FinishedBenchmark:
    """All rows, what they say together, and the jobs that failed; files are in `out`."""

    out: Path
    rows: list[BenchmarkRow]
    summary: Summary
    failed: list[StoredJob]

    def to_dataframe(self) -> "pd.DataFrame":
        """A row for each case and method, as `BenchmarkRow`. Raises InputError without pandas."""
        return frame(row.model_dump(mode="json", exclude={"found", "roc"}) for row in self.rows)


@dataclass(frozen=True)
class Plan:
    """What to run: a suite with the user's `data` for it, methods, and settings that they share. `only`: cases whose
    whole name this regular expression matches, None for all."""

    suite: Suite
    methods: tuple[str, ...]
    settings: DiscoverySettings
    data: Path | None = None
    only: str | None = None
    device: str = "auto"
    dtype: str | None = None

    def jobs(self, out: Path) -> list[BenchmarkJob]:
        """One for each case. Raises InputError for what cannot be run."""
        self.settings.check_values()
        for method in self.methods:
            settings_of(METHODS.find(method), self.settings).check()
        choose_devices(self.device)
        if self.data is not None and not self.data.is_dir():
            raise InputError(f"--data {self.data} is not a folder")
        cases = [self._at_level(case) for case in self.suite.cases(self.data) if self._wanted(case.name)]
        if not cases:
            raise InputError(f"--cases {self.only}: no case of suite {self.suite.name!r} matches")
        return [BenchmarkJob(case, self.methods, self.settings, out, self.device, self.dtype) for case in cases]

    def _at_level(self, case: Case) -> Case:
        """Raises InputError for a case that does not know its circuit at the level."""
        match self.settings.level:
            case Level.edges:
                return case
            case Level.positions if isinstance(case, HasPositions):
                return case.at_positions
            case Level.positions:
                raise InputError(
                    f"--level positions: suite {self.suite.name!r} does not know which position reads which; compiled, "
                    "random and realism do"
                )
            case other:
                raise InputError(f"--level {other}: known circuits are of edges or positions")

    def _wanted(self, name: str) -> bool:
        try:
            return self.only is None or re.fullmatch(self.only, name) is not None
        except re.error as error:
            raise InputError(f"--cases {self.only} is not a regular expression: {error}") from None


def choose_methods(names: str | None, level: Level = Level.edges) -> tuple[str, ...]:
    """Methods by a list of names with commas; None takes all over a level that learn no masks. Raises InputErrors for
    unknown ones."""
    fitting = [method for method in METHODS.values() if level in method.levels]
    if names is None:
        return tuple(method.name for method in fitting if not method.learns_masks)
    wanted = names.split(",") if names != "all" else [method.name for method in fitting]
    return tuple(dict.fromkeys(METHODS.find(name.strip()).name for name in wanted))


def run_benchmark(plan: Plan, out: Path, executor: JobExecutor, watch: Watch) -> FinishedBenchmark:
    """Run all cases and write `benchmark.json`, `benchmark.md` and ROC plots."""
    jobs = plan.jobs(out)
    ended = run_planned(jobs, out, executor, watch)
    rows = [row for job in jobs for row in job.rows()]
    summary = summarise(rows)
    write(rows, summary, out)
    return FinishedBenchmark(out, rows, summary, [job for job in ended if job.status is not Status.done])
