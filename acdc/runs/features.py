"""Discover a circuit of a dictionary's features in a run directory: the circuit, its verification, picture and page."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acdc.artefacts.feature_circuit import FILE_NAME, FeatureCircuitRecord
from acdc.dictionaries.dictionary import Dictionary
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.open import open_for
from acdc.dictionaries.quality import check_reconstructs, usual_prompts
from acdc.execution.threads import fixed_threads
from acdc.feature_circuits.discover import FeatureSettings, discover_features
from acdc.feature_circuits.record import dictionary_record, to_record
from acdc.feature_circuits.verification import verify_features
from acdc.files import existing_path
from acdc.model.load import Model, load_model
from acdc.options import DEFAULT_THREADS, MOST_THREADS, Extent, Scope, check_count
from acdc.progress import Progress, keeps_work
from acdc.render.features.page import to_html
from acdc.render.features.picture import to_dot, to_svg
from acdc.runs.discovery import discarding_refused
from acdc.runs.finished import PAGE, PICTURES, VERIFICATION
from acdc.runs.finished_features import FinishedFeatures, load_feature_report
from acdc.runs.run_directory import RunDirectory, read_run
from acdc.runs.spec import source_of
from acdc.runs.unit_pages import pages_of
from acdc.task.load import load_task
from acdc.task.rows import Task


@dataclass(frozen=True)
class FeatureJob:
    """The options of `acdc discover --level features`; model, task and dictionary as the user named them."""

    model: str
    task: str
    dictionary: Path
    settings: FeatureSettings = field(default_factory=FeatureSettings)
    hooks: tuple[Hook, ...] = ()
    memory: int | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    threads: int = DEFAULT_THREADS
    verify: Extent = Extent.standard
    verify_rows: int | None = None

    def check(self) -> None:
        """Raises InputError for values that no job can use, before any work is done."""
        self.settings.check()
        self.scope.check()
        check_count("--threads", self.threads, MOST_THREADS)

    @property
    def scope(self) -> Scope:
        return Scope(self.verify, self.verify_rows)

    def inputs(self, model: Model, task: Task, dictionary: Dictionary) -> dict[str, Any]:
        """Everything that determines the artefacts, by content instead of by name."""
        spans = task.spans_hash() if self.settings.by_position and task.span_names else None
        return {
            "level": "features",
            "model": model.content_hash,
            "task": task.content_hash(),
            "task_metric": task.metric,
            "spans": spans,
            "dictionary": dictionary.digest,
            "hooks": [str(hook) for hook in self.hooks],
            "dtype": self.dtype,
            "threads": self.threads,
            **vars(self.settings),
        }

    def command(self) -> str:
        """The command line that finds the same circuit. How far it is verified is no part of it."""
        usual, settings = FeatureSettings(), self.settings
        words = ["acdc", "discover", "--level", "features", "--dictionary", str(self.dictionary)]
        words += ["--model", self.model, "--task", self.task]
        given: dict[str, tuple[Any, Any]] = {
            f"--{name.replace('_', '-')}": (getattr(settings, name), getattr(usual, name))
            for name in vars(settings)
            if name != "by_position"
        }
        given |= {
            "--hook": (",".join(map(str, self.hooks)), ""),
            "--revision": (self.revision, None),
            "--dtype": (self.dtype, "float32"),
            "--threads": (self.threads, DEFAULT_THREADS),
        }
        for option, (value, default) in given.items():
            words += [] if value == default else [option, str(value)]
        return shlex.join([*words, *(["--by-position"] if settings.by_position else [])])


def run_features(job: FeatureJob, out: Path | None, progress: Progress) -> FinishedFeatures:
    """Discover, draw and verify. A run of the same inputs in `out` is resumed, of other inputs refused."""
    job.check()
    model = load_model(job.model, revision=job.revision, device=job.device, dtype=job.dtype)
    dictionary = open_for(job.dictionary, model, memory=job.memory, hooks=job.hooks)
    task = load_task(job.task, model)
    inputs, label = job.inputs(model, task, dictionary), f"{task.name}-{model.name}-features"
    source = source_of(job.model, job.revision, job.task)
    run = RunDirectory.open(out, label, "discover", inputs, job.command(), source, model.where)
    resumed = run.has(FILE_NAME)
    if not resumed:
        record = discarding_refused(run, lambda: _search(job, model, task, dictionary, progress))
        run.write(FILE_NAME, record.to_json())
        run.note()
    finished = _finish(run, model, task, dictionary, resumed, job.scope, progress)
    run.note(complete=True)
    return finished


def _search(
    job: FeatureJob, model: Model, task: Task, dictionary: Dictionary, progress: Progress
) -> FeatureCircuitRecord:
    check_reconstructs(dictionary, model, usual_prompts([row.clean for row in task.rows]))
    with fixed_threads(job.threads):
        found = discover_features(model, dictionary, task, job.settings, progress)
    place = existing_path(str(job.dictionary))
    given = dictionary_record(dictionary, job.dictionary if place is None else place.resolve())
    return to_record(found, model, task, given, job.settings, job.threads)


def _finish(
    run: RunDirectory,
    model: Model,
    task: Task,
    dictionary: Dictionary,
    resumed: bool,
    scope: Scope,
    progress: Progress,
) -> FinishedFeatures:
    """Draw, and verify as far as asked and not done yet: no less and on no fewer rows than before."""
    circuit, report = FeatureCircuitRecord.load(run.path), load_feature_report(run.path)
    wanted = report.scope | scope
    for name, draw in zip(PICTURES, (to_dot, to_svg), strict=True):
        if not run.has(name):
            run.write(name, draw(circuit))
    if not report.covers(scope):
        report = verify_features(model, dictionary, task, circuit, wanted, progress)
        run.write(VERIFICATION, report.to_json())
    run.write(PAGE, to_html(circuit, report, run.record.command, pages_of(run.path)))
    run.settle()
    return FinishedFeatures(run.path, circuit, report, resumed)


def reverify_features(
    path: Path, model: str | None, task: str | None, device: str, scope: Scope, progress: Progress
) -> FinishedFeatures:
    """Verify a run's feature circuit further than it has been; model and task are the run's unless others are named."""
    run, circuit = RunDirectory.reopen(path), FeatureCircuitRecord.load(path)
    keeps_work(path)
    source = run.record.source
    named = model or source.model
    revision = source.revision if named == source.model else None
    loaded = load_model(named, revision=revision, device=device, dtype=circuit.dtype)
    dictionary = open_for(Path(circuit.dictionary.given), loaded, hooks=tuple(map(Hook.parse, _hooks(path))))
    run.drop_changed((VERIFICATION, *PICTURES, PAGE))
    return _finish(run, loaded, load_task(task or source.task, loaded), dictionary, True, scope, progress)


def _hooks(path: Path) -> list[str]:
    """As the run was given them, for dictionaries that do not say where their features are."""
    found = read_run(path).inputs.get("hooks", [])
    return [str(name) for name in found] if isinstance(found, list) else []
