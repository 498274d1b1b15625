"""Trace one prompt: run it, hold it, choose units, compute their rows, and put the graph together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.attribution.graph import AttributionGraph, Origin
from acdc.artefacts.attribution.influence import EDGE_SHARE, NODE_SHARE
from acdc.artefacts.attribution.nodes import Node, NodeKind
from acdc.artefacts.circuit import library_versions
from acdc.attribution.dictionary import Dictionary
from acdc.attribution.frozen import FrozenRun
from acdc.attribution.logits import LogitChoice, Logits, choose_logits
from acdc.attribution.neurons import Neurons
from acdc.attribution.rows import ActiveUnits, Sources
from acdc.attribution.selection import batch_size, select_units, targets_of
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.options import check_count
from acdc.progress import Progress, silent

MOST_NODES = 400
MOST_WEIGHTS = 2**29  # of a graph: 4 GiB in float64


@dataclass(frozen=True)
class TraceSettings:
    """What is traced: which logits, and at most how many units become nodes, None for all that are active.

    `constant_first`: what MLPs write at the first token of several is one node. There, models put the large numbers
    that unneeded attention rests on, which say little of the prompt; circuit-tracer leaves it out. `node_share` and
    `edge_share`: of all influence, to which the graph is pruned.
    """

    logits: LogitChoice = field(default_factory=LogitChoice)
    most_nodes: int | None = MOST_NODES
    constant_first: bool = True
    node_share: float = NODE_SHARE
    edge_share: float = EDGE_SHARE

    def check(self) -> None:
        """Raises InputError for what no trace can use."""
        if self.most_nodes is not None:
            check_count("--max-nodes", self.most_nodes)
        for option, share in (("--node-share", self.node_share), ("--edge-share", self.edge_share)):
            if not 0 < share <= 1:
                raise InputError(f"{option} {share:g} must be above 0 and at most 1")


@dataclass(frozen=True)
class Traced:
    """A graph with the run and the sources that it comes from, for what is measured of it afterwards."""

    graph: AttributionGraph
    sources: Sources

    @property
    def run(self) -> FrozenRun:
        return self.sources.run


@torch.no_grad()
def trace_prompt(
    model: Model,
    tokens: Sequence[int],
    settings: TraceSettings = TraceSettings(),
    dictionary: Dictionary | None = None,
    progress: Progress = silent,
) -> Traced:
    """The attribution graph of a prompt of token ids, over hidden neurons or the features of a `dictionary`.

    Raises InputError for a model, a prompt or settings that cannot be used.
    """
    settings.check()
    run = FrozenRun(model, torch.tensor(list(tokens), dtype=torch.long, device=model.device))
    units: Dictionary = dictionary or Neurons(run.weights)
    logits = choose_logits(run, settings.logits)
    sources = _sources(run, units, logits, settings, progress)
    rows = _all_rows(sources, logits, progress)
    return Traced(_graph(sources, logits, rows, settings), sources)


def retrace(model: Model, graph: AttributionGraph, dictionary: Dictionary | None = None) -> Traced:
    """A graph with a new run of its prompt. Raises InputError for another model or dictionary than the graph's."""
    if graph.origin.content_hash != model.content_hash:
        raise InputError(f"the graph is of another model, {graph.origin.model!r}, than {model.name!r}")
    run = FrozenRun(model, torch.tensor([token.index for token in graph.tokens], device=model.device))
    units: Dictionary = dictionary or Neurons(run.weights)
    if units.describe() != graph.origin.units:
        raise InputError("the graph is of another dictionary: give the one that it was traced with")
    first = any(node.kind is NodeKind.FIRST for node in graph.nodes)
    active = []
    for layer in range(run.anatomy.n_layers):
        here = [node for node in graph.units if node.layer == layer]
        positions, indices = (
            torch.tensor([getattr(node, name) for node in here], dtype=torch.long, device=model.device)
            for name in ("position", "index")
        )
        values = torch.tensor([node.value for node in here], dtype=model.dtype, device=model.device)
        active.append(ActiveUnits(positions, indices, values))
    return Traced(graph, Sources(run, units, active, first))


def active_units(run: FrozenRun, dictionary: Dictionary, constant_first: bool) -> list[ActiveUnits]:
    """All units of every layer that are active, at the first token or from the second on."""
    found = []
    for layer, units in enumerate(dictionary.layers):
        if units is None:
            nothing = torch.zeros(0, dtype=torch.long, device=run.final.device)
            found.append(ActiveUnits(nothing, nothing, run.final.new_zeros(0)))
            continue
        values = units.activations(run.unit_input(layer, dictionary.normed))
        if constant_first:
            values[0] = 0.0
        positions, chosen = torch.nonzero(values, as_tuple=True)
        found.append(ActiveUnits(positions, chosen, values[positions, chosen]))
    return found


def _sources(
    run: FrozenRun, dictionary: Dictionary, logits: Logits, settings: TraceSettings, progress: Progress
) -> Sources:
    first, most = settings.constant_first and run.length > 1, settings.most_nodes
    sources = Sources(run, dictionary, active_units(run, dictionary, first), first)
    count = sources.columns.remainders
    if most is not None and count > most:
        sources = Sources(run, dictionary, select_units(sources, logits, most, progress), first)
    elif count * sources.columns.total > MOST_WEIGHTS:
        raise InputError(f"a graph of all {count:,} active units is too large: give --max-nodes a number")
    return sources


def _all_rows(sources: Sources, logits: Logits, progress: Progress) -> Tensor:
    """Rows of all units, then of the logits: [units + logits, columns]. Those of one position are computed together, as
    positions after it need no gradients."""
    size, device = batch_size(sources), sources.run.final.device
    parts = [logits.targets]
    if sources.columns.remainders:
        every = [torch.arange(len(active), device=device) for active in sources.active]
        parts.insert(0, targets_of(sources, every))
    total = sum(map(len, parts))
    rows = sources.run.final.new_empty((total, sources.columns.total))
    with progress("tracing", total, "rows") as advance:
        start = 0
        for targets in parts:
            order = torch.argsort(targets.positions * (sources.columns.layers + 1) - targets.layers, stable=True)
            for first in range(0, len(targets), size):
                which = order[first : first + size]
                rows[start + which] = sources.rows(targets.pick(which))
                advance(len(which))
            start += len(targets)
    return rows


def _graph(sources: Sources, logits: Logits, rows: Tensor, settings: TraceSettings) -> AttributionGraph:
    run, columns, dictionary = sources.run, sources.columns, sources.dictionary
    nodes = [
        Node(dictionary.kind, layer, position, unit, value=value)
        for layer, active in enumerate(sources.active)
        for position, unit, value in zip(
            active.positions.tolist(), active.units.tolist(), active.values.tolist(), strict=True
        )
    ]
    remainder = NodeKind.REST if dictionary.complete else NodeKind.ERROR
    places = [(layer, position) for layer in range(columns.layers) for position in range(columns.length)]
    nodes += [Node(remainder, layer, position) for layer, position in places]
    ids, labels = run.tokens.tolist(), token_texts(run.model, run.tokens.tolist())
    nodes += [Node(NodeKind.TOKEN, -1, p, token, label=labels[p]) for p, token in enumerate(ids)]
    if columns.positions:
        nodes += [Node(NodeKind.POSITION, -1, position) for position in range(columns.length)]
    nodes += [Node(NodeKind.BIAS), Node(NodeKind.FIRST)]
    nodes += _logit_nodes(run, logits)
    kept = torch.ones(columns.total, dtype=torch.bool)
    if not sources.constant_first:
        kept[-1] = False
        nodes = [node for node in nodes if node.kind is not NodeKind.FIRST]
    if all(_is_empty(sources, layer) for layer in range(columns.layers)):
        kept[columns.remainders : columns.tokens] = False
        nodes = [node for node in nodes if node.kind is not remainder]
    model = run.model
    origin = Origin(
        model.name,
        model.content_hash,
        model.dtype_name,
        prompt_text(model, ids),
        dictionary.describe(),
        settings.most_nodes,
        settings.node_share,
        settings.edge_share,
        library_versions(),
    )
    return AttributionGraph(tuple(nodes), np.ascontiguousarray(rows[:, kept.to(rows.device)].cpu().numpy()), origin)


def _is_empty(sources: Sources, layer: int) -> bool:
    """Whether nothing can be left over of an MLP's output: there is none, or all units that together make it up are
    nodes."""
    units = sources.dictionary.layers[layer]
    if units is None:
        return True
    if not sources.dictionary.complete:
        return False
    values = units.activations(sources.unit_input(layer))[int(sources.constant_first) :]
    return int((values != 0).sum()) == len(sources.active[layer])


def _logit_nodes(run: FrozenRun, logits: Logits) -> list[Node]:
    found, last = [], run.length - 1
    for token, minus, value, weight in zip(
        logits.tokens, logits.minus, logits.values.tolist(), logits.weights.tolist(), strict=True
    ):
        texts = token_texts(run.model, [one for one in (token, minus) if one >= 0])
        label = texts[0] if minus < 0 else " less ".join(map(repr, texts))
        found.append(Node(NodeKind.LOGIT, run.anatomy.n_layers, last, token, minus, value, weight, label))
    return found


def prompt_text(model: Model, tokens: Sequence[int]) -> str:
    """The text of token ids; the ids where a model has no tokenizer."""
    if model.tokenizer is None:
        return " ".join(map(str, tokens))
    return str(model.tokenizer.decode(list(tokens), skip_special_tokens=False))


def token_texts(model: Model, tokens: Sequence[int]) -> list[str]:
    """Texts of token ids; the ids where a model has no tokenizer."""
    if model.tokenizer is None:
        return [str(token) for token in tokens]
    return [str(model.tokenizer.decode([token], skip_special_tokens=False)) for token in tokens]
