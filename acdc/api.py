"""The Python interface: load a model and a task, discover a circuit, verify it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import EDGE_SHARE, NODE_SHARE
from acdc.artefacts.attribution.store import load_graph as read_graph
from acdc.artefacts.attribution.verification import GraphVerification
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.patching import Direction, PatchRecord
from acdc.artefacts.verification.report import Report
from acdc.attribution.dictionary import Dictionary
from acdc.attribution.hints import with_hints
from acdc.attribution.logits import LogitChoice
from acdc.attribution.prompts import logit_token, prompt_tokens
from acdc.attribution.trace import MOST_NODES, TraceSettings, retrace, trace_prompt
from acdc.attribution.verification import verify_graph as run_graph_verification
from acdc.dictionaries.units import open_traced
from acdc.errors import AcdcWarning, InputError
from acdc.feature_api import (
    AblationEffect,
    Explained,
    FeatureCircuit,
    FeatureDictionary,
    Steered,
    Trained,
    ablate_features,
    discover_features,
    draw_features,
    explain,
    load_dictionary,
    steer,
    train_dictionary,
    verify_features,
)
from acdc.interventions.bound import Vectors
from acdc.interventions.generate import Sampling
from acdc.interventions.intervene import Intervened, Wanted
from acdc.interventions.intervene import intervene as run_interventions
from acdc.interventions.intervention import parse_all
from acdc.jobs.batch import Silent
from acdc.jobs.batch import run_jobs as run_planned_jobs
from acdc.jobs.executors import choose_executor
from acdc.jobs.jobs_file import make_jobs, read_jobs
from acdc.jobs.store import StoredJob
from acdc.model.load import Model, load_model
from acdc.options import By, Choosing, Directions, Extent, Level, Scope, choice
from acdc.patching.patch import patch as run_patching
from acdc.patching.settings import PatchSettings, named_sites
from acdc.progress import Progress, automatic, silent
from acdc.render.difference import draw_difference as draw_both
from acdc.render.look import Look, choose_look
from acdc.render.patching.heat_map import draw as draw_heat_map
from acdc.render.shapes import Picture
from acdc.render.size import size_notes
from acdc.render.views import draw as draw_circuit
from acdc.runs.ranking import rank_by
from acdc.search.discover import Result
from acdc.search.discover import discover as run_discovery
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.search.sweep import Curve
from acdc.search.sweep import sweep as run_sweep
from acdc.task.load import load_task
from acdc.task.metrics import Metric, MetricFunction, RowBatch
from acdc.task.rows import Task
from acdc.verification.verify import verify as run_verification

__all__ = [
    "AblationEffect",
    "AttributionGraph",
    "Circuit",
    "Curve",
    "Explained",
    "FeatureCircuit",
    "FeatureDictionary",
    "GraphVerification",
    "InputError",
    "Intervened",
    "Metric",
    "MetricFunction",
    "Model",
    "PatchRecord",
    "Picture",
    "Report",
    "Result",
    "RowBatch",
    "Steered",
    "StoredJob",
    "Task",
    "Trained",
    "ablate_features",
    "discover",
    "discover_features",
    "draw",
    "draw_difference",
    "draw_features",
    "draw_patching",
    "explain",
    "intervene",
    "load_dictionary",
    "load_graph",
    "load_model",
    "load_task",
    "patch",
    "run_jobs",
    "silent",
    "steer",
    "sweep",
    "trace",
    "train_dictionary",
    "verify",
    "verify_features",
    "verify_graph",
]


def discover(
    model: Model,
    task: Task,
    method: str = "acdc",
    *,
    metric: str | Metric | MetricFunction | None = None,
    ablation: str = "resample",
    threshold: float | None = None,
    edges: int | None = None,
    faithfulness: float | None = None,
    choose: str = "top",
    bootstrap: int = 0,
    hurting: float = 0.0,
    limit: int | None = None,
    batch_size: int = 32,
    split_embeddings: bool = False,
    level: str = "edges",
    direct_edges: bool = False,
    seed: int = 0,
    threads: int = 2,
    progress: Progress = automatic,
    **options: Any,
) -> Result:
    """Find the circuit behind a task in a model.

    Give at most one of `threshold`, `edges` and `faithfulness`. `choose`: take the best edges by their scores ("top"),
    go greedily backwards from the logits ("greedy"), take those that help before those that hurt ("signed"), or whole
    paths from the input to the logits ("paths"); the last two first take edges whose sign is certain over so many
    resamples of the rows (`bootstrap`). `hurting`: the share of a signed circuit that is taken from edges that hurt.
    `metric`: a name, a `Metric`, or a `MetricFunction` that is
    better if larger; by default the task's. `options` are those of the method: `steps` of integrated gradients,
    `updates` of learned masks, `sender_order` of acdc and hybrid, and those that a method of another package declares.
    Discovery uses a random half of the rows (by `seed`), or the first `limit`; `verify` uses the others.
    Warns of an empty circuit, and of one that is smaller than was asked for. Raises InputError for settings that do not
    fit each other, the model or the task.
    """
    settings = DiscoverySettings(
        method=METHODS.find(method),
        metric=metric,
        ablation=ablation,
        threshold=threshold,
        edges=edges,
        faithfulness=faithfulness,
        choose=choice(Choosing, "choose", choose),
        bootstrap=bootstrap,
        hurting=hurting,
        limit=limit,
        batch_size=batch_size,
        split_embeddings=split_embeddings,
        level=Level.named(level, "level"),
        direct_edges=direct_edges,
        options=options,
        seed=seed,
        threads=threads,
    )
    result = run_discovery(model, task, settings, progress)
    for note in size_notes(result.circuit):
        warnings.warn(note, AcdcWarning, stacklevel=2)
    return result


def sweep(
    model: Model,
    task: Task,
    thresholds: Sequence[float] | None = None,
    *,
    metric: str | Metric | MetricFunction | None = None,
    ablation: str = "resample",
    limit: int | None = None,
    batch_size: int = 32,
    split_embeddings: bool = False,
    level: str = "edges",
    direct_edges: bool = False,
    sender_order: str = "descending",
    seed: int = 0,
    threads: int = 2,
    progress: Progress = automatic,
) -> Curve:
    """Run acdc with many thresholds: by default 0.1% to 20% of the metric's range.

    Returns one point per threshold, in rising order, each with the circuit that `discover` finds. Thresholds share work
    as long as their decisions agree. Raises InputError as `discover` does.
    """
    settings = DiscoverySettings(
        metric=metric,
        ablation=ablation,
        limit=limit,
        batch_size=batch_size,
        split_embeddings=split_embeddings,
        level=Level.named(level, "level"),
        direct_edges=direct_edges,
        options={"sender_order": sender_order},
        seed=seed,
        threads=threads,
    )
    return run_sweep(model, task, settings, thresholds, progress)


def verify(
    model: Model,
    task: Task,
    circuit: Circuit,
    *,
    metric: Metric | MetricFunction | None = None,
    extent: str = "standard",
    rows: int | None = None,
    scores: Mapping[str, float] | None = None,
    progress: Progress = automatic,
) -> Report:
    """Measure a circuit by ablation on the rows that its discovery did not use.

    `extent`: "quick" measures only its metrics; "standard" also random circuits and the removal of single edges, within
    a budget of about a minute; "full" everything that `acdc verify` measures, including CMD and CPR if `scores` of all
    edges are given (`Result.scores`). `rows`: the largest number of rows to use.
    `metric` is needed only if discovery was given a callable. Raises InputError if the circuit was found with another
    model or task, and for values that measure nothing.
    """
    ranking = None if scores is None else rank_by(circuit, scores)
    found = choice(Extent, "extent", extent)
    if found is Extent.none:
        raise InputError("extent 'none' measures nothing: give quick, standard or full")
    Scope(found, rows).check("rows")
    return run_verification(
        model, task, circuit, metric=metric, extent=found, most_rows=rows, ranking=ranking, progress=progress
    )


def draw(
    circuit: Circuit, *, fixed: bool = False, group: str = "layer", report: Report | None = None, **around: Any
) -> Picture:
    """A circuit's picture: a notebook shows it, `save` writes it as .svg, .dot, .pdf or .png.

    `fixed`: every component of the model has a fixed place, the same in the pictures of all circuits. `group`: "layer",
    or "role", which groups heads that attend to the same place, according to the `report` of a full verification.
    `around`: `detail` ("full" draws every edge, "summary" a map by layer and head with the strongest paths; "auto" is
    the latter above 150 edges), `landscape` (layers run to the right), `legend` ("right", "below" or "none"), `title`
    (False leaves it out), `colours` (of edges: by "input" or by "score") and `names` (of components, by id).
    Raises InputError for another value, and if the report does not say what heads attend to.
    """
    return draw_circuit(circuit, choose_look(circuit, fixed, group, report, **around))


def draw_difference(
    first: Circuit, second: Circuit, names: tuple[str, str] = ("first", "second"), *, fixed: bool = False
) -> Picture:
    """Two circuits of one model in one picture, with their names: what is in both, and what is in only one.

    Raises InputError for circuits of different models, or of different graphs of one model.
    """
    return draw_both(first, second, names, Look(fixed))


def patch(
    model: Model,
    task: Task,
    maps: Sequence[str] | None = None,
    *,
    direction: str = "denoise",
    by: str | None = None,
    heads_by_place: bool = False,
    subject: str | None = None,
    noise: float = 3.0,
    samples: int = 10,
    window: int | None = None,
    metric: str | Metric | MetricFunction | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    threads: int = 2,
    progress: Progress = automatic,
) -> PatchRecord:
    """Exact activation patching: run the corrupted prompts with one part of the clean run in them, for every part.

    `maps`: of layers "resid_pre", "resid_mid", "resid_post", "attn_out" and "mlp_out", one effect for each span or
    position; of heads "head" (its output), "q", "k", "v" and "pattern", all positions together unless `heads_by_place`;
    by default all but "resid_mid" and "resid_post". An effect of 0 means that the metric stays that of the run that is
    patched, 1 that it becomes that of the run that the patch is from. `direction`: "denoise" patches clean values into
    the corrupted run, "noise" the other way round, "both" does both. `by`: "spans" or "positions", by default spans if
    the task has them; all tokens of a span are patched together. Rows: the first `limit`, by default as many as a fixed
    number of operations allows.
    `subject`, a span, asks for causal tracing (Meng et al. 2022): in the place of corrupted prompts, the clean ones get
    Gaussian noise on that span's embeddings, with `noise` times their standard deviation, drawn `samples` times; and
    attention and MLP outputs are restored in `window` layers together. Raises InputError for settings that do not fit
    the model or the task.
    """
    settings = PatchSettings(
        sites=None if maps is None else named_sites(maps),
        direction=choice(Directions, "direction", direction),
        by=None if by is None else choice(By, "by", by),
        heads_by_place=heads_by_place,
        subject=subject,
        noise=noise,
        samples=samples,
        window=window,
        metric=metric,
        limit=limit,
        batch_size=batch_size,
        seed=seed,
        threads=threads,
    )
    return run_patching(model, task, settings, progress)


def draw_patching(record: PatchRecord, map: str = "resid_pre", direction: Direction = "denoise") -> Picture:
    """The heat map of one of the maps that `patch` made. Raises InputError for another one."""
    return draw_heat_map(record.map(map, direction), record)


def run_jobs(
    jobs: str | Path | Sequence[Mapping[str, Any]],
    out: str | Path,
    *,
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
    address: str | None = None,
    min_workers: int | None = None,
) -> list[StoredJob]:
    """Run many discoveries, each into a run directory in the folder `out`, and return how each of them ended.

    `jobs`: a job file, or tables as in one: their keys are the long options of `acdc discover`, and a list of values
    makes one job per value. Jobs that are finished in `out` are not run again. `workers`: the number of Ray workers, on
    this machine or on the cluster at `address`; None runs one job after another in this process. `min_workers`: on a
    cluster, with so many the first job begins, and the others join when there is room for them; None for all.
    Raises InputErrors, which names everything that is wrong with any job, before the first is run.
    """
    specified = read_jobs(Path(jobs)) if isinstance(jobs, str | Path) else make_jobs({}, jobs, Path())
    if not specified:
        raise InputError("jobs: there must be at least one table")
    threads = max(job.settings.threads for job in specified)
    executor = choose_executor(workers, gpus_per_worker, address, threads, min_workers)
    where = f"{jobs}: " if isinstance(jobs, str | Path) else ""
    return run_planned_jobs(specified, Path(out).resolve(), executor, Silent(), where)


def trace(
    model: Model,
    prompt: str | Sequence[int],
    *,
    logits: Sequence[str | int] | None = None,
    less: str | int | None = None,
    max_nodes: int | None = MOST_NODES,
    node_share: float = NODE_SHARE,
    edge_share: float = EDGE_SHARE,
    dictionary: str | Path | Dictionary | None = None,
    first_token: bool = False,
    prepend_bos: bool = False,
    progress: Progress = automatic,
) -> AttributionGraph:
    """The attribution graph of a prompt, as text or as token ids: what each node adds to the values of others.

    Nodes are hidden neurons at their tokens, or the features of a `dictionary` (its folder, or one of your own);
    tokens, position embeddings and biases, so that each row of `weights` sums to its target's value; and `logits`: of
    given tokens, with `less` of the one less another, by default of the likeliest. `max_nodes` neurons or features at
    most, those of most influence; None for all that are active. `first_token`: some may be at the first token too, else
    what MLPs write there is one node. `node_share` and `edge_share` are what `prune` keeps of the influence. Raises
    InputError for a model, a prompt or settings that cannot be used.
    """
    wanted = [*(logits or ()), *([] if less is None else [less])]
    if less is not None and len(wanted) != 2:
        raise InputError("less takes one token off one of logits: give exactly one of each")
    chosen = tuple(logit_token(model, prompt, token) for token in wanted) or None
    settings = TraceSettings(LogitChoice(chosen, less is not None), max_nodes, not first_token, node_share, edge_share)
    tokens, units = prompt_tokens(model, prompt, prepend_bos), _dictionary(dictionary, model)
    return with_hints(trace_prompt(model, tokens, settings, units, progress)).graph


def load_graph(path: str | Path) -> AttributionGraph:
    """Read an attribution graph: a run of `acdc trace`, a folder that `save` wrote, or JSON of the front ends of
    circuit-tracer and Neuronpedia. Raises InputError for what is none of these."""
    return read_graph(Path(path))


def verify_graph(
    model: Model,
    graph: AttributionGraph,
    *,
    dictionary: str | Path | Dictionary | None = None,
    corrupted: str | Sequence[int] | None = None,
    prepend_bos: bool = False,
    seed: int = 0,
    progress: Progress = automatic,
) -> GraphVerification:
    """Run the model with a pruned graph's nodes alone, without them, and with single ones set to zero.

    `dictionary`: the one that the graph was traced with. `corrupted`: another prompt of as many tokens, at whose values
    the other nodes are held too. Raises InputError for another model or dictionary, and where that does not fit.
    """
    traced = retrace(model, graph, _dictionary(dictionary, model))
    other = None if corrupted is None else prompt_tokens(model, corrupted, prepend_bos)
    return run_graph_verification(traced, graph.prune(), seed, progress, other)


def intervene(
    model: Model,
    prompt: str | Sequence[int] | None = None,
    *,
    set: Sequence[str] | str = (),
    scale: Sequence[str] | str = (),
    add: Sequence[str] | str = (),
    vectors: Vectors | None = None,
    task: Task | None = None,
    metric: str | Metric | MetricFunction | None = None,
    top: int = 5,
    generate: int | None = None,
    temperature: float = 0.0,
    prepend_bos: bool = False,
    limit: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    threads: int = 2,
    freeze_attention: bool = False,
    dictionary: str | Path | Dictionary | None = None,
) -> Intervened:
    """What a model says of a prompt, and how well it does a task, with parts of it set, scaled or added to.

    `set`, `scale`, `add`: interventions such as "a3.h2=0", "m5.n123@4=2" or "resid_pre3[VECTOR]@-1=5", as in `acdc
    intervene`, done to one unit in this order. VECTOR is a file, a name in `vectors` (arrays [d_model]), or
    "unembed:TOKEN|OTHER". Gives probabilities of the `top` likeliest tokens with everything downstream computed anew,
    and directly, with all else held; `generate` tokens with and without, drawn with `seed` above temperature 0; of a
    `task`, its mean metric with and without over its first `limit` rows, with intervals. `freeze_attention`: after a
    prompt, heads attend as without interventions. `dictionary`: that of features such as "m5.f41". Raises InputError
    for what does not fit the model or its prompts.
    """
    given = prompt if prompt is None or isinstance(prompt, str) else tuple(int(token) for token in prompt)
    sampling = None if generate is None else Sampling(generate, temperature, seed)
    wanted = Wanted(given, task, metric, sampling, prepend_bos, top, limit, batch_size, seed, threads, freeze_attention)
    return run_interventions(model, parse_all(set, scale, add), wanted, vectors, _dictionary(dictionary, model))


def _dictionary(given: str | Path | Dictionary | None, model: Model) -> Dictionary | None:
    return open_traced(Path(given), model) if isinstance(given, str | Path) else given
