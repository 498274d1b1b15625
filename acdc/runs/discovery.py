"""Run discovery and scoring jobs into run directories, stage by stage, resuming what is done."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from acdc.artefacts.circuit import FILE_NAME as CIRCUIT
from acdc.artefacts.circuit import SIGN_CONVENTION, BatchRecord, Circuit, library_versions, record_options
from acdc.artefacts.levels import MLP_WIDTH
from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.workers import FindWorkers, no_workers
from acdc.errors import DiskError, InputError
from acdc.execution.threads import fixed_threads
from acdc.execution.work import Work
from acdc.files import json_text
from acdc.graph.units import kind_of
from acdc.model.load import Model, load_model
from acdc.model.weight_store import WeightStore
from acdc.options import Level
from acdc.progress import Progress
from acdc.runs.finish import Finishing, Watch, finish_run, unwatched
from acdc.runs.finished import FinishedRun
from acdc.runs.progress_file import forget, recorded
from acdc.runs.ranking import DECISIONS, POLISH, SCREENING
from acdc.runs.run_directory import JOURNAL, RunDirectory, Verb
from acdc.runs.score_files import ARRAY, SCORES, Writing, read_score_run, scores_path, write_scores
from acdc.runs.spec import DiscoveryJob
from acdc.search.acdc.journal import Journal
from acdc.search.acdc.screening import PASSES
from acdc.search.discover import Result, bind, discover, edge_scores, prepare
from acdc.search.options import MANY_CANDIDATES
from acdc.search.records import describe_batch, describe_model
from acdc.search.settings import DiscoverySettings
from acdc.task.load import check_file, load_task
from acdc.task.rows import Task
from acdc.task.split import split_rows

T = TypeVar("T")


class Loaded:
    """The model that was loaded last, kept for jobs that name the same one."""

    def __init__(self, store: WeightStore | None = None) -> None:
        """`store`: has the weights for other processes too."""
        self._store = store
        self._named: tuple | None = None
        self._model: Model | None = None

    def of(self, job: DiscoveryJob) -> tuple[Model, Task]:
        """The model and the task that a job names."""
        named = job.model, job.revision, job.device, job.dtype
        if self._model is None or named != self._named:
            self.forget()
            check_file(job.task)
            self._model = load_model(
                job.model, revision=job.revision, device=job.device, dtype=job.dtype, store=self._store
            )
            self._named = named
        return self._model, load_task(job.task, self._model)

    def forget(self) -> None:
        self._named = self._model = None


def run_discovery(
    job: DiscoveryJob,
    out: Path | None,
    progress: Progress,
    loaded: Loaded | None = None,
    find_workers: FindWorkers = no_workers,
    watch: Watch = unwatched,
) -> FinishedRun:
    """Discover, draw and verify. A run of the same inputs in `out` is resumed, of other inputs refused."""
    job.check()
    model, task = (loaded or Loaded()).of(job)
    prepare(model, task, job.settings)
    run = open_directory(job, model, task, out, "discover", f"{task.name}-{model.name}-{job.settings.method.name}")
    progress = recorded(progress, run.path)
    decides = job.settings.method.decides
    resumed = run.has(CIRCUIT) and any(map(run.has, (DECISIONS,) if decides else (SCORES, ARRAY)))
    if not resumed:
        result = discarding_refused(run, lambda: _search(run, job, model, task, progress, find_workers))
        write_result(run, result)
        run.note(result.work)
    if run.has(JOURNAL):  # a read-only disk refuses to delete also what is not there
        (run.path / JOURNAL).unlink()
    circuit = Circuit.load(run.path)
    _check_own(run, circuit, job, model, task)
    how = Finishing(progress, job.scope, find_workers, watch)
    finished = finish_run(run, model, task, resumed, how)
    run.note(complete=True)
    forget(run.path)
    return finished


def _search(
    run: RunDirectory, job: DiscoveryJob, model: Model, task: Task, progress: Progress, find_workers: FindWorkers
) -> Result:
    """Discover; what decides edge by edge goes on where an earlier attempt was cut off."""
    if not job.settings.method.decides:
        return discover(model, task, job.settings, progress, find_workers=find_workers)
    depends_on: dict[str, Any] = {
        "inputs": run.record.inputs,
        "batch": describe_batch(job.settings.batch_size, job.settings.threads_in(model.anatomy), model).model_dump(
            mode="json"
        ),
        "components": model.components.kind,
        "versions": library_versions(),
    }
    if _may_screen(job.settings, model) or job.settings.faithfulness is not None:
        depends_on["passes"] = PASSES
    with Journal(run.path / JOURNAL, depends_on) as journal:
        return discover(model, task, job.settings, progress, journal, find_workers)


def _may_screen(settings: DiscoverySettings, model: Model) -> bool:
    """Whether passes may be a screened search's: at positions, the number of candidates depends on the task."""
    share = getattr(settings.search_options, "screen", 0)
    edges = model.executor(settings.split_embeddings, settings.direct_edges).graph.n_edges
    many = settings.level is Level.positions or edges > MANY_CANDIDATES
    return many if share is None else share > 0


def run_scoring(job: DiscoveryJob, out: Path | None, progress: Progress) -> tuple[Path, dict[str, Any]]:
    """Score every edge on all rows of a task, or the first `limit`; the file of scores and what it holds."""
    job.settings.check()
    method = job.settings.method
    if method.decides:
        raise InputError(f"method {method.name!r} decides edge by edge and gives no scores: use discover")
    model, task = Loaded().of(job)
    prepare(model, task, job.settings)
    run = open_directory(job, model, task, out, "score", f"{task.name}-{model.name}-scores-{method.name}")
    if run.record.status == "complete" and any(map(run.has, (SCORES, ARRAY))) and (file := scores_path(run.path)):
        record, scores = read_score_run(run.path)
        return file, record.model_dump(mode="json") | {"edges": scores}
    (about, scores), work = discarding_refused(run, lambda: _score(job, model, task, progress))
    file = write_scores(run, Level.edges, scores, about)
    run.note(work, complete=True)
    return file, about | {"edges": scores}


def _score(
    job: DiscoveryJob, model: Model, task: Task, progress: Progress
) -> tuple[tuple[dict[str, Any], Mapping[str, float]], Work]:
    """((what their file says of the scores, the scores of all edges), what was computed)."""
    with fixed_threads(job.settings.threads):
        behaviour = bind(model, task, job.settings, range(job.settings.limit or len(task.rows)))
        found = job.settings.method.run(behaviour, job.settings.search_options, progress)
        assert isinstance(found, Scores)  # `run_scoring` refuses what decides
        return (_describe_scores(job, behaviour, found), edge_scores(behaviour, found)), behaviour.work


def discarding_refused(run: RunDirectory, work: Callable[[], T]) -> T:
    """Do the work of a run; a refusal of its input leaves no empty run directory behind."""
    try:
        return work()
    except DiskError:
        raise
    except InputError:
        run.discard()
        raise


def _describe_scores(job: DiscoveryJob, behaviour: Behaviour, found: Scores) -> dict[str, Any]:
    task = behaviour.task
    return {
        "format": "acdc-scores",
        "version": 1,
        "model": describe_model(behaviour).model_dump(mode="json"),
        "task": {"name": task.name, "content_hash": task.content_hash(), "rows": [row.id for row in behaviour.rows]},
        "method": job.settings.method.name,
        **record_options(job.settings.search_options.own_values()),
        "metric": behaviour.metric.name,
        "larger_is_better": behaviour.metric.larger_is_better,
        "ablation": behaviour.ablation,
        "score_kind": found.kind,
        "sign_convention": SIGN_CONVENTION[found.kind],
        "metric_full": float(behaviour.full().mean()),
        "metric_empty": float(behaviour.empty().mean()),
        "seed": job.settings.seed,
        "dtype": job.dtype,
        "batch": describe_batch(job.settings.batch_size, job.settings.threads, behaviour.model).model_dump(mode="json"),
        "versions": library_versions(),
        **({"batch_splits": found.batch_splits} if found.batch_splits else {}),
    }


def open_directory(
    job: DiscoveryJob,
    model: Model,
    task: Task,
    out: Path | None,
    verb: Verb,
    label: str,
    extra: dict[str, Any] | None = None,
) -> RunDirectory:
    """The run directory of a job; `extra` are options that only this command has."""
    inputs, command = job.inputs(model.content_hash, task) | (extra or {}), job.command(verb, extra)
    if kind_of(job.settings.level).have_neurons:
        inputs |= {MLP_WIDTH: model.mlp_width}
    return RunDirectory.open(out, label, verb, inputs, command, job.source(), model.where)


def write_result(run: Writing, result: Result) -> None:
    """Scores or decisions first: a circuit file means that the search is done."""
    if result.scores is not None:
        write_scores(run, result.circuit.level, result.scores)
    else:
        name = result.circuit.units.singular
        lines = [
            json.dumps({name: d.candidate, "before": d.before, "after": d.after, "kept": d.kept}, allow_nan=False)
            for d in result.decisions
        ]
        run.write(DECISIONS, "".join(line + "\n" for line in lines))
        if result.screening is not None:
            run.write(SCREENING, json_text(asdict(result.screening)))
        if result.polish is not None:
            run.write(POLISH, json_text(asdict(result.polish)))
    run.write(CIRCUIT, result.circuit.to_json())


def _batch_of(circuit: Circuit, job: DiscoveryJob, model: Model) -> BatchRecord:
    """The batch limits of a job; what depends on how much memory a GPU has is as a circuit has it, which may have been
    found on another one. Runs of earlier versions had as many threads as were asked for."""
    threads = job.settings.threads_in(model.anatomy)
    if circuit.batch.threads == job.settings.threads:
        threads = job.settings.threads
    found = describe_batch(job.settings.batch_size, threads, model)
    own = {} if model.device_kind == "cpu" else {"trial_bytes": circuit.batch.trial_bytes}
    return found.model_copy(update=own)


def _check_own(run: RunDirectory, circuit: Circuit, job: DiscoveryJob, model: Model, task: Task) -> None:
    """Raises InputError for a circuit file that another run wrote."""
    settings, selection = job.settings, circuit.method.selection
    same = (
        circuit.model.content_hash == model.content_hash
        and circuit.model.split_embeddings == settings.split_embeddings
        and circuit.model.direct_edges == settings.direct_edges
        and circuit.level == settings.level
        and circuit.method.choose in (None, settings.choose)
        and circuit.method.options.items() <= settings.search_options.own_values().items()
        and circuit.task.content_hash == task.content_hash()
        and circuit.task.split == split_rows(task.rows, settings.seed, settings.limit).rule
        and circuit.method.name == settings.method.name
        and circuit.metric == (settings.metric or task.metric)
        and (circuit.ablation, circuit.seed, circuit.dtype) == (settings.ablation, settings.seed, job.dtype)
        and circuit.batch == _batch_of(circuit, job, model)
        and selection.get("bootstrap", 0) == settings.bootstrap
        and selection.get("hurting", 0.0) == settings.hurting
        and all(
            getattr(settings, name) in (None, selection.get(name)) for name in ("threshold", "edges", "faithfulness")
        )
    )
    if not same:
        raise InputError(
            f"{run.path / CIRCUIT} belongs to another run, or to other batch limits or library versions: delete it "
            "to search again"
        )
