"""The command that traces a prompt or the rows of a task, and how a trace is printed."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.dictionaries import Memory, parse_memory
from acdc.cli.job_options import DEFAULT_MODEL
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table
from acdc.errors import InputError

if TYPE_CHECKING:
    from acdc.attribution.trace import TraceSettings
    from acdc.runs.spec import DiscoveryJob
    from acdc.runs.tracing import FinishedTrace

Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt", help="Text whose next token is to be explained; token ids for a model without a tokenizer."
    ),
]
Logit = Annotated[
    list[str] | None,
    typer.Option(
        "--logit", help="Explain this token's logit; can be repeated (default: the likeliest).", metavar="TOKEN"
    ),
]
Less = Annotated[
    str | None,
    typer.Option("--less", help="Explain by how much the logit of --logit is above this token's.", metavar="TOKEN"),
]
Probability = Annotated[
    float, typer.Option(help="Explain the likeliest tokens that have this much probability together.")
]
MaxNodes = Annotated[
    int, typer.Option("--max-nodes", help="Neurons or features that can become nodes; 0: all that are active.")
]
FirstToken = Annotated[
    bool, typer.Option("--first-token", help="Also make nodes of neurons or features at the first token.")
]
Corrupted = Annotated[
    str | None,
    typer.Option(
        help="Also verify with ablated neurons at their values on this prompt, of as many tokens.", metavar="TEXT"
    ),
]
Dictionary = Annotated[
    Path | None,
    typer.Option(
        help="Folder of transcoders, per layer or cross-layer: trace their features instead of neurons.",
        metavar="FOLDER",
    ),
]
OfTask = Annotated[
    str | None,
    typer.Option("--task", help="Trace the metric of this task, mean over its rows, instead.", metavar="TASK"),
]
Contrast = Annotated[
    bool, typer.Option("--contrast", help="With --task: clean minus corrupted, instead of clean prompts alone.")
]
Limit = Annotated[
    int | None,
    typer.Option(help="With --task: trace the first ROWS rows (default: a random half).", metavar="ROWS"),
]
Verify = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Run the model with the kept nodes alone and without them.")
]


@loads_model
def trace(
    prompt: Prompt = None,
    task: OfTask = None,
    model: opt.ModelName = DEFAULT_MODEL,
    logit: Logit = None,
    less: Less = None,
    probability: Probability = 0.95,
    logits: Annotated[int, typer.Option(help="Explain at most this many of the likeliest tokens.")] = 10,
    max_nodes: MaxNodes = 400,
    node_share: Annotated[float, typer.Option(help="Keep the nodes that have this share of all influence.")] = 0.8,
    edge_share: Annotated[float, typer.Option(help="Keep the links that have this share of it.")] = 0.98,
    first_token: FirstToken = False,
    prepend_bos: opt.PrependBos = False,
    corrupted: Corrupted = None,
    dictionary: Dictionary = None,
    memory: Memory = None,
    contrast: Contrast = False,
    limit: Limit = None,
    metric: opt.MetricName = None,
    verify: Verify = True,
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    threads: opt.Threads = 2,
    out: opt.Out = None,
    as_json: opt.Json = False,
) -> None:
    """Explain a model's next token after one prompt: which neurons, at which tokens, add to its logit, and what adds to
    them. Over the rows of a task: which neurons and heads add to its metric, as a circuit, verified on other rows."""
    from acdc.attribution.logits import LogitChoice
    from acdc.attribution.trace import TraceSettings
    from acdc.cli.progress import bars
    from acdc.runs.task_tracing import TaskTrace
    from acdc.runs.tracing import TraceJob, run_trace

    loading: dict[str, Any] = {"revision": revision, "device": device, "dtype": dtype.value}
    logit_choice = LogitChoice(share=probability, most=logits)
    most = None if max_nodes == 0 else max_nodes
    settings = TraceSettings(logit_choice, most, not first_token, node_share, edge_share)
    of_prompts = {
        "--logit": bool(logit),
        "--less": less is not None,
        **_changed(settings),
        "--prepend-bos": prepend_bos,
        "--corrupted": corrupted is not None,
        "--dictionary": dictionary is not None,
        "--memory": memory is not None,
    }
    of_tasks = {"--contrast": contrast, "--limit": limit is not None, "--metric": metric is not None}
    _check_kind(task is not None, prompt is not None, of_prompts, of_tasks)
    if prompt is None:
        assert task is not None
        _run_task(TaskTrace(metric, contrast, limit, seed, threads).job(model, task, verify, **loading), out, as_json)
        return
    wanted = tuple(logit or ())
    job = TraceJob(model, prompt, wanted, less, dictionary, parse_memory(memory), prepend_bos, corrupted, **loading)
    job = replace(job, settings=settings, verify=verify, seed=seed, threads=threads)
    print_trace(run_trace(job, out, bars), as_json)


def _changed(settings: "TraceSettings") -> dict[str, bool]:
    """By option, whether a setting is not what it is by default."""
    from acdc.attribution.trace import TraceSettings

    usual = TraceSettings()
    return {
        "--probability": settings.logits.share != usual.logits.share,
        "--logits": settings.logits.most != usual.logits.most,
        "--max-nodes": settings.most_nodes != usual.most_nodes,
        "--node-share": settings.node_share != usual.node_share,
        "--edge-share": settings.edge_share != usual.edge_share,
        "--first-token": settings.constant_first != usual.constant_first,
    }


def _check_kind(has_task: bool, has_prompt: bool, of_prompts: dict[str, bool], of_tasks: dict[str, bool]) -> None:
    """Raises InputError for options of prompts with a task, or the other way round, and where neither is given."""
    if has_task == has_prompt:
        raise InputError("give --prompt to trace one prompt, or --task to trace the rows of a task: one of both")
    given = [option for option, is_given in (of_prompts if has_task else of_tasks).items() if is_given]
    if given:
        raise InputError(f"{given[0]} works only with {'--prompt' if has_task else '--task'}: leave it out")


def _run_task(job: "DiscoveryJob", out: Path | None, as_json: bool) -> None:
    from acdc.cli.progress import bars
    from acdc.cli.show_run import RunPrinter
    from acdc.runs.discovery import run_discovery

    printer = RunPrinter(as_json)
    printer.finish(run_discovery(job, out, bars, watch=printer))


def print_trace(run: "FinishedTrace", as_json: bool) -> None:
    """What was traced, its strongest units, what was measured, and where it is."""
    from acdc.render.attribution import sentences

    if as_json:
        say_json(_record(run))
        return
    graph, pruning, out = run.graph, run.pruning, console()
    out.print(sentences.title(graph), style="bold")
    out.print(f"{sentences.subtitle(graph, pruning)}\n")
    print_table(out, "logits", sentences.logit_head(graph), sentences.logit_rows(graph))
    units = sentences.strongest(graph, pruning)
    if units:
        kept = sum(node.is_unit for node in graph.kept(pruning))
        title = f"\nstrongest {len(units)} of {kept:,} {sentences.units_name(graph)}s"
        print_table(out, title, sentences.HEAD, sentences.unit_rows(graph, units), words=(0, *sentences.TOKENS))
    out.print(f"\n{sentences.coverage(graph)}")
    for sentence in sentences.verified(graph, run.verification) if run.verification else ():
        out.print(f"\n{sentence}")
    if (run.path / "run.json").exists():
        out.print(f"\nrun      {run.path}{' (already there)' if run.resumed else ''}", soft_wrap=True)
        out.print(f"picture  {run.path / 'attribution.svg'}\nexplorer {run.path / 'attribution.html'}", soft_wrap=True)


def _record(run: "FinishedTrace") -> dict:
    graph, scores = run.graph, run.graph.scores()
    return {
        "run": str(run.path),
        "model": graph.origin.model,
        "tokens": [token.index for token in graph.tokens],
        "logits": [
            {"id": node.id, "token": node.label, "probability": node.weight, "value": node.value}
            for node in graph.logits
        ],
        "nodes": len(graph.nodes),
        "kept_nodes": int(run.pruning.nodes.sum()),
        "kept_links": int(run.pruning.edges.sum()),
        "replacement_score": scores.replacement,
        "completeness_score": scores.completeness,
        "verification": None if run.verification is None else run.verification.model_dump(mode="json"),
    }
