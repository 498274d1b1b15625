"""The command that traces a prompt, and how a trace is printed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acdc.cli import options as opt
from acdc.cli.console import console, say_json
from acdc.cli.dictionaries import Memory
from acdc.cli.job_options import DEFAULT_MODEL
from acdc.cli.progress import loads_model
from acdc.cli.tables import print_table

if TYPE_CHECKING:
    from acdc.runs.tracing import FinishedTrace

Prompt = Annotated[
    str,
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
Dictionary = Annotated[
    Path | None,
    typer.Option(
        help="Folder of transcoders, per layer or cross-layer: trace their features instead of neurons.",
        metavar="FOLDER",
    ),
]
Verify = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Run the model with the kept nodes alone and without them.")
]


@loads_model
def trace(
    prompt: Prompt,
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
    dictionary: Dictionary = None,
    memory: Memory = None,
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
    them."""
    from acdc.attribution.logits import LogitChoice
    from acdc.attribution.trace import TraceSettings
    from acdc.cli.progress import bars
    from acdc.dictionaries.sizes import parse_bytes
    from acdc.runs.tracing import TraceJob, run_trace

    settings = TraceSettings(
        LogitChoice(share=probability, most=logits),
        None if max_nodes == 0 else max_nodes,
        not first_token,
        node_share,
        edge_share,
    )
    job = TraceJob(
        model,
        prompt,
        tuple(logit or ()),
        less,
        dictionary,
        None if memory is None else parse_bytes(memory),
        prepend_bos,
        settings,
        verify,
        revision,
        device,
        dtype.value,
        seed,
        threads,
    )
    print_trace(run_trace(job, out, bars), as_json)


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
        print_table(out, title, sentences.HEAD, sentences.unit_rows(graph, units))
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
