"""A case with all methods on it, as a job that an executor does; what is there already is not made again."""

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from acdc.artefacts.circuit import library_versions
from acdc.behaviour.workers import FindWorkers
from acdc.benchmark.case import Case, PreparedCase, Unavailable, content
from acdc.benchmark.compiled import describe
from acdc.benchmark.evaluate import BenchmarkRow, Trial
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.files import make_private, read_model, write_json, write_text
from acdc.options import Level
from acdc.progress import Progress
from acdc.render.comparison import compare
from acdc.runs.discovery import Loaded
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings

ID_LENGTH, TRUTHS = 12, "truths.json"


def origin(method: str) -> str:
    """A hash of the file that a method of another package is in, as its name does not say when it changes; nothing for
    acdc's own, whose version is known."""
    if method in METHODS.built_in:
        return ""
    file = inspect.getsourcefile(inspect.unwrap(METHODS.find(method).run))
    return content(Path(file)) if file else ""


class ResultFile(BaseModel):
    """A row with a hash of all that it depends on."""

    inputs: str
    row: BenchmarkRow


@dataclass(frozen=True)
class BenchmarkJob:
    """See `acdc.jobs.job.Job`. `settings` are those of every method, but for name, metric and ablation."""

    case: Case
    methods: tuple[str, ...]
    settings: DiscoverySettings
    folder: Path
    device: str = "auto"
    dtype: str | None = None

    @cached_property
    def id(self) -> str:
        return self._hash(())[:ID_LENGTH]

    @property
    def name(self) -> str:
        return f"{self.case.suite}-{self.case.name}"

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def command(self) -> str:
        level = "" if self.settings.level is Level.edges else f" --level {self.settings.level}"
        what = f"--suite {self.case.suite} --cases {self.case.name}"
        return f"acdc benchmark {what} --methods {','.join(self.methods)}{level}"

    def is_finished(self) -> bool:
        return all(self._row(ablation, method) for ablation, method in self._wanted)

    def rows(self) -> list[BenchmarkRow]:
        """What is there, in the order of ablations and methods."""
        rows = (self._row(ablation, method, even_missing=True) for ablation, method in self._wanted)
        return [row for row in rows if row is not None]

    def do(self, progress: Progress, loaded: Loaded, find_workers: FindWorkers) -> None:
        with fixed_threads(self.settings.threads):
            self._do(progress)

    def _do(self, progress: Progress) -> None:
        missing = [wanted for wanted in self._wanted if not self._row(*wanted)]
        make_private(self.path)
        try:
            prepared = self.case.prepare(self.path, self.device, self.dtype)
        except Unavailable as error:
            for ablation, method in missing:
                self._keep(self._empty(ablation, method, status=str(error)), "")
            return
        known = {ablation: describe(truth) for ablation, truth in prepared.truths.items() if truth}
        write_json(self.path / TRUTHS, {"accuracy": prepared.accuracy, "truths": known})
        trials = {ablation: Trial(prepared, ablation, self.settings) for ablation in self.case.ablations}
        with progress("methods", len(missing), "methods") as advance:
            for ablation, method in missing:
                row = trials[ablation].score(self._empty(ablation, method), progress)
                self._draw(prepared, row)
                self._keep(row, self._hash((ablation, method, origin(method))))
                advance(1)

    @property
    def _wanted(self) -> Iterator[tuple[str, str]]:
        return ((ablation, method) for ablation in self.case.ablations for method in self.methods)

    @cached_property
    def _identity(self) -> str:
        return self.case.identity

    def _hash(self, what: tuple[str, ...]) -> str:
        every = {**self.settings.record(), **self.settings.options}  # whichever method takes them
        settings = {name: str(value) for name, value in every.items()}
        inputs = [self._identity, self.dtype, *what, settings, library_versions()]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    def _file(self, ablation: str, method: str, suffix: str) -> Path:
        return self.path / f"{ablation}-{method}.{suffix}"

    def _row(self, ablation: str, method: str, even_missing: bool = False) -> BenchmarkRow | None:
        """A row that was made of the same inputs; `even_missing`: or that says why there is none."""
        try:
            found = read_model(ResultFile, self._file(ablation, method, "json"), "a row of a benchmark")
        except InputError:
            return None
        usual = found.inputs == self._hash((ablation, method, origin(method)))
        return found.row if usual or (even_missing and not found.inputs) else None

    def _keep(self, row: BenchmarkRow, inputs: str) -> None:
        result = ResultFile(inputs=inputs, row=row)
        write_json(self._file(row.ablation, row.method, "json"), result.model_dump(mode="json"))

    def _empty(self, ablation: str, method: str, status: str = "done") -> BenchmarkRow:
        """A row without any scores."""
        return BenchmarkRow(
            suite=self.case.suite,
            case=self.case.name,
            method=method,
            ablation=ablation,
            variant=self.case.variant,
            status=status,
        )

    def _draw(self, prepared: PreparedCase, row: BenchmarkRow) -> None:
        truth = prepared.truths[row.ablation]
        if truth is not None and row.status == "done":
            graph = prepared.model.executor(prepared.split_embeddings).graph
            heading = f"{row.case}: {row.method} under {row.ablation} ablation"
            found, true = _anywhere(row.found), _anywhere(truth.edges)
            heading += ", edges at any position" if self.settings.level is Level.positions else ""
            write_text(self._file(row.ablation, row.method, "svg"), compare(graph, heading, found, true))


def _anywhere(edges: Iterable[str]) -> list[str]:
    """Edges without their positions, each once."""
    parts = (tuple(end.partition("@")[0] for end in edge.split("->")) for edge in edges)
    return list(dict.fromkeys("->".join(ends) for ends in parts))
