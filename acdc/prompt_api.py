"""The Python interface to single prompts: attribution graphs, and interventions while a model runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc.arguments import checked
from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import EDGE_SHARE, NODE_SHARE
from acdc.artefacts.attribution.store import load_graph as read_graph
from acdc.artefacts.attribution.verification import GraphVerification
from acdc.attribution.dictionary import Dictionary
from acdc.attribution.hints import with_hints
from acdc.attribution.logits import LogitChoice
from acdc.attribution.prompts import logit_token, prompt_tokens
from acdc.attribution.trace import MOST_NODES, TraceSettings, retrace, trace_prompt
from acdc.attribution.verification import verify_graph as run_graph_verification
from acdc.dictionaries.units import open_traced
from acdc.errors import InputError
from acdc.interventions.bound import Vectors
from acdc.interventions.generate import Sampling
from acdc.interventions.intervene import Intervened, Wanted
from acdc.interventions.intervene import intervene as run_interventions
from acdc.interventions.intervention import parse_all
from acdc.model.load import Model
from acdc.progress import Progress, automatic
from acdc.task.metrics import Metric, MetricFunction
from acdc.task.rows import Task

Changes = Sequence[str] | str | Mapping[str, Any]  # what is done to units: in words, or by unit the amount


@checked
def trace(
    model: Model,
    prompt: str | Sequence[int],
    *,
    logits: Sequence[str | int] | str | int | None = None,
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
    given tokens, one or several, with `less` of the one less another, by default of the likeliest. `max_nodes` neurons
    or features at most, those of most influence; None for all that are active. `first_token`: some may be at the first
    token too, else what MLPs write there is one node. `node_share` and `edge_share` are what `prune` keeps of the
    influence. Raises InputError for a model, a prompt or settings that cannot be used.
    """
    given = [logits] if isinstance(logits, str | int) else list(logits or ())
    wanted = [*given, *([] if less is None else [less])]
    if less is not None and len(wanted) != 2:
        raise InputError("less takes one token off one of logits: give exactly one of each")
    chosen = tuple(logit_token(model, prompt, token) for token in wanted) or None
    settings = TraceSettings(LogitChoice(chosen, less is not None), max_nodes, not first_token, node_share, edge_share)
    tokens, units = prompt_tokens(model, prompt, prepend_bos), _dictionary(dictionary, model)
    return with_hints(trace_prompt(model, tokens, settings, units, progress)).graph


@checked
def load_graph(path: str | Path) -> AttributionGraph:
    """Read an attribution graph: a run of `acdc trace`, a folder that `save` wrote, or JSON of the front ends of
    circuit-tracer and Neuronpedia. Raises InputError for what is none of these."""
    return read_graph(Path(path))


@checked
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


@checked
def intervene(
    model: Model,
    prompt: str | Sequence[int] | None = None,
    *,
    set: Changes = (),
    scale: Changes = (),
    add: Changes = (),
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
    intervene`, or a mapping such as {"a3.h2": 0}, whose values may be arrays [d_model]; done to one unit in this order.
    VECTOR is a file, a name in `vectors` (arrays [d_model]), or
    "unembed:TOKEN|OTHER". Gives probabilities of the `top` likeliest tokens with everything downstream computed anew,
    and directly, with all else held; `generate` tokens with and without, drawn with `seed` above temperature 0; of a
    `task`, its mean metric with and without over its first `limit` rows, with intervals. `freeze_attention`: after a
    prompt, heads attend as without interventions. `dictionary`: that of features such as "m5.f41". Raises InputError
    for what does not fit the model or its prompts.
    """
    asked = prompt if prompt is None or isinstance(prompt, str) else tuple(int(token) for token in prompt)
    sampling = None if generate is None else Sampling(generate, temperature, seed)
    wanted = Wanted(asked, task, metric, sampling, prepend_bos, top, limit, batch_size, seed, threads, freeze_attention)
    own = dict(vectors or {})
    changes = parse_all(*(_written(name, given, own) for name, given in (("set", set), ("scale", scale), ("add", add))))
    return run_interventions(model, changes, wanted, own, _dictionary(dictionary, model))


def _written(name: str, given: Changes, vectors: dict[str, Any]) -> Sequence[str] | str:
    """Interventions as texts; the arrays among their amounts go to `vectors`."""
    if not isinstance(given, Mapping):
        return given
    found = []
    for unit, amount in given.items():
        if not isinstance(amount, str | int | float):
            vectors[f"{name} {unit}"] = amount
            amount = f"{name} {unit}"
        found.append(f"{unit}={amount}")
    return found


def _dictionary(given: str | Path | Dictionary | None, model: Model) -> Dictionary | None:
    return open_traced(Path(given), model) if isinstance(given, str | Path) else given
