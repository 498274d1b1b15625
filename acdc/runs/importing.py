"""Make a run of a circuit that another tool found: read its file, fit it to the model, verify and draw."""

import itertools
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acdc.artefacts.circuit import BY_HAND, Circuit, ImportRecord, MethodRecord
from acdc.artefacts.circuit import FILE_NAME as CIRCUIT
from acdc.artefacts.codecs import HELD, ForeignGraph
from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import AcdcWarning, InputError
from acdc.execution.threads import fixed_threads
from acdc.execution.work import Work
from acdc.graph.units import Choice, PositionUnits, kind_of
from acdc.model.load import Model
from acdc.options import Choosing, Level
from acdc.progress import Progress
from acdc.runs.discovery import Loaded, discarding_refused
from acdc.runs.exchange import content_hash, usable_format
from acdc.runs.finish import Finishing, Watch, finish_run, unwatched
from acdc.runs.finished import FinishedRun
from acdc.runs.run_directory import RunDirectory
from acdc.runs.score_files import write_scores
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import bind, choose, describe_choice, part_scores
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import as_metric
from acdc.task.rows import Task
from acdc.task.split import split_rows
from acdc.words import count_of, shortened

METHOD = "imported"


@dataclass(frozen=True)
class Imported:
    """The circuit that a file holds, with the scores of all candidates where the file has them."""

    circuit: Circuit
    scores: Mapping[str, float] | None
    work: Work


def run_import(
    file: Path, format: str, job: DiscoveryJob, out: Path | None, progress: Progress, watch: Watch = unwatched
) -> FinishedRun:
    """Read, draw and verify; what was lost on import is recorded, with a warning each.

    `job`: model, task and rows, and how to choose a circuit where the file has scores alone, or where its own circuit
    is not wanted. Raises InputError for a file that is none of its format or does not fit the model.
    """
    source = usable_format(format, "read")
    assert source.read is not None  # see `usable_format`
    job.settings.check_values()
    job.settings.check_one_size()
    job.scope.check()
    file = source.file(file)
    digest = content_hash(file)
    model, task = Loaded().of(job)
    as_metric(job.settings.metric or task.metric).check(task.rows, model.anatomy.d_vocab_out)
    found = source.read(file, model.anatomy, job.settings.split_embeddings)
    job = replace(job, settings=settings_of_file(job.settings, found))
    job.settings.check_values()
    inputs = job.inputs(model.content_hash, task) | {"method": METHOD, "format": format, "file": digest}
    command = job.command("import", {"format": format}).replace("import", f"import {shlex.quote(str(file))}", 1)
    label = f"{task.name}-{model.name}-{METHOD}"
    run = RunDirectory.open(out, label, "import", inputs, command, job.source(), model.where)
    resumed = run.has(CIRCUIT)
    if not resumed:
        record = ImportRecord(format=format, content_hash=digest, lost=list(found.mark.lost))
        imported = discarding_refused(run, lambda: import_circuit(model, task, job.settings, found, record, str(file)))
        if imported.scores is not None:
            write_scores(run, imported.circuit.level, imported.scores)
        run.write(CIRCUIT, imported.circuit.to_json())
        run.note(imported.work)
    for sentence in found.mark.lost:
        warnings.warn(f"{file}: lost on import: {sentence}", AcdcWarning, stacklevel=2)
    how = Finishing(progress, job.scope, watch=watch)
    finished = finish_run(run, model, task, resumed, how)
    run.note(complete=True)
    return finished


def settings_of_file(settings: DiscoverySettings, found: ForeignGraph) -> DiscoverySettings:
    """With what the file says about its graph."""
    mark = found.mark
    level = mark.level if settings.level is DiscoverySettings.level else settings.level
    return replace(
        settings,
        level=level,
        split_embeddings=mark.split_embeddings,
        direct_edges=mark.direct_edges,
    )


def import_circuit(
    model: Model, task: Task, settings: DiscoverySettings, found: ForeignGraph, record: ImportRecord, place: str
) -> Imported:
    """The circuit of what a file holds, in the terms of the model's graph: that of the file, unless the settings say
    how large it becomes. Raises InputError where there is none."""
    _check_held(settings, found, place)
    split = split_rows(task.rows, settings.seed, settings.limit)
    with fixed_threads(settings.threads):
        behaviour = bind(model, task, settings, split.discovery)
        _check_at_spans(behaviour, found, settings.level, place)
        scores = _scores(behaviour, found, settings.level)
        own = found.own(settings.level)
        chosen = bool(settings.sizes) or own is None
        if chosen:
            choice, selection = choose(behaviour, scores, settings)
        else:
            choice = _own_choice(behaviour, found, settings.level)
            selection = {"in_file": len(own or ())}
            record = _without_dangling(record, choice, settings.level, place)
    method = MethodRecord(
        name=METHOD,
        objective=None,
        choose=settings.choose if chosen else None,
        selection=selection,
        imported=record,
    )
    scored = _is_scored(settings.level, found)
    unsigned = BY_HAND if record.format == BY_HAND else "imported"
    convention = (unsigned if found.mark.score_kind is None else None) if scored else "unscored"
    circuit = describe_choice(behaviour, settings, split, scores, choice, method, convention)
    every = found.every(settings.level)
    return Imported(circuit, part_scores(behaviour, scores, settings.level) if every else None, behaviour.work)


def _check_at_spans(behaviour: Behaviour, found: ForeignGraph, level: Level, place: str) -> None:
    """Raises InputError for edges that the model does not have at the spans of its task, naming the first."""
    if not kind_of(level).have_spans:
        return
    units, spans, theirs = behaviour.units(level), behaviour.spans, found.mark.spans
    assert isinstance(units, PositionUnits)
    if theirs and set(theirs) != set(spans.names):
        raise InputError(
            f"{place}: its edges are at the spans {_listed(theirs)}, but task {behaviour.task.name!r} has "
            f"{_listed(spans.names)}"
        )
    every, own, known = found.every(level), found.own(level), set(units.names())
    for name in itertools.chain(every or (), own or ()):
        if name not in known:
            try:
                units.positional.position(name)
            except InputError as error:
                raise InputError(f"{found.row(place, name)}: {error}") from None
    if every is not None and len(every) < units.count:
        missing = next(name for name in units.names() if name not in every)
        raise InputError(
            f"{place}: has {len(every):,} of {units.count:,} positional edges; the first missing is {missing!r}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shortened(name) for name in names[:20]) + (", ..." if len(names) > 20 else "")


def _without_dangling(record: ImportRecord, choice: Choice, level: Level, place: str) -> ImportRecord:
    """With what a circuit at spans does not list of its file, as none of these lists edges that dangle."""
    before, after = choice.sizes
    if before == after or not kind_of(level).have_spans:
        return record
    sentence = f"{count_of(before - after, 'positional edge')} on no path from the input to the logits"
    warnings.warn(f"{place}: lost on import: {sentence}", AcdcWarning, stacklevel=3)
    return record.model_copy(update={"lost": [*record.lost, sentence]})


def _is_scored(level: Level, found: ForeignGraph) -> bool:
    """Whether anything that the circuit consists of has a score."""
    own = found.own(level) or {}
    return found.every(level) is not None or any(score is not None for score in own.values())


def _check_held(settings: DiscoverySettings, found: ForeignGraph, place: str) -> None:
    if settings.level not in HELD:
        raise InputError(
            f"{place}: which {settings.level} are in a circuit is not in the file: only {', '.join(HELD[:-1])} and "
            f"{HELD[-1]} are imported"
        )
    if settings.choose is not Choosing.top and not kind_of(settings.level).are_edges:
        raise InputError(
            f"--choose {settings.choose} works only with scores of edges, but {place} holds {settings.level}"
        )
    every = found.every(settings.level)
    what = settings.level.value
    if every is None and settings.sizes:
        raise InputError(f"{place} has no scores of all {what} to choose from: leave out --{settings.sizes[0]}")
    if every is None and found.own(settings.level) is None:
        raise InputError(f"{place} has neither scores of {what} nor a circuit of them")


def _scores(behaviour: Behaviour, found: ForeignGraph, level: Level) -> Scores:
    """0 for what has none. A component that is not listed as a node, as embeddings are not, has that of its edges."""
    every, own = found.every(level), found.own(level)
    listed, sent = every if every is not None else own or {}, _sent(found)
    names = behaviour.units(level).names()
    values = np.array([listed.get(name) or sent.get(name, 0.0) for name in names])
    kind = (found.mark.score_kind if _is_scored(level, found) else None) or "importance"
    return Scores(values, kind, level=level)


def _sent(found: ForeignGraph) -> dict[str, float]:
    """The score of the first edge of each component that sends any."""
    edges = found.scores if found.scores is not None else found.edges or {}
    first: dict[str, float] = {}
    for name, score in edges.items():
        first.setdefault(name.split("->")[0], score or 0.0)
    return first


def _own_choice(behaviour: Behaviour, found: ForeignGraph, level: Level) -> Choice:
    """That of the file, as it is: edges that dangle stay, but at spans."""
    units = behaviour.units(level)
    own = found.own(level) or ()
    choice = units.choose(units.mask(name for name in own if name != "logits"))  # an end of edges, and no unit
    if not units.keep_whole_edges:
        return choice
    return replace(choice, edges=choice.selected, listed=choice.selected)
