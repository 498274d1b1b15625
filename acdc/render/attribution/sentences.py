"""What terminal, pictures and page say of an attribution graph."""

from collections.abc import Sequence

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node, NodeKind
from acdc.artefacts.attribution.verification import GraphVerification, KeptAlone
from acdc.words import count_of, shortened

STRONGEST = 12
HEAD = ("unit", "at", "activation", "influence", "direct effect", "raises", "lowers")
OTHERS = {
    "mean": "their mean over prompts of random tokens",
    "zero": "zero",
    "corrupted": "their values on the corrupted prompt",
}
TOKENS = (5, 6)  # columns of `HEAD` that list tokens


def title(graph: AttributionGraph) -> str:
    """One line that says what was traced."""
    return f"trace of {shortened(graph.origin.prompt, 60)} in {graph.origin.model}"


def units_name(graph: AttributionGraph) -> str:
    """What the units of a graph are called, one of them."""
    return "neuron" if graph.origin.units.get("units") == "hidden neurons" else "feature"


def subtitle(graph: AttributionGraph, pruning: Pruning) -> str:
    """How large the graph is, before and after pruning."""
    kept = graph.kept(pruning)
    units = sum(node.is_unit for node in kept)
    name = units_name(graph)
    return (
        f"{count_of(len(kept), 'node')} and {count_of(int(pruning.edges.sum()), 'link')}: {units:,} of "
        f"{count_of(len(graph.units), name)} traced, pruned to {graph.origin.node_share:.0%} of the influence on the "
        f"logits by nodes and {graph.origin.edge_share:.0%} by links"
    )


def coverage(graph: AttributionGraph) -> str:
    """What of the influence the graph accounts for."""
    scores = graph.scores()
    if not any(node.kind in REMAINDERS for node in graph.nodes):
        name = units_name(graph)
        return f"Nothing is left over: every active {name} is a node, and each node's inputs sum to its value."
    whole = f"{scores.completeness:.0%} of the nodes' inputs"
    what = "the other neurons" if units_name(graph) == "neuron" else "what the dictionary does not reconstruct"
    return (
        f"Of the influence that reaches the logits from leaves, {scores.replacement:.0%} comes from tokens and "
        f"constants (replacement score), the rest from {what}; {whole}, weighted by "
        "influence, are accounted for (completeness score). Each node's inputs sum to its value."
    )


def logit_head(graph: AttributionGraph) -> tuple[str, ...]:
    """What the columns of `logit_rows` are."""
    return ("token", "probability", "difference of logits" if graph.logits[0].minus >= 0 else "logit less the mean")


def logit_rows(graph: AttributionGraph) -> list[tuple[str, ...]]:
    """A row of a table for each logit."""
    return [
        (node.label, "-", f"{node.value:+.4g}")
        if node.minus >= 0
        else (repr(node.label), f"{node.weight:.1%}", f"{node.value:+.4g}")
        for node in graph.logits
    ]


def strongest(graph: AttributionGraph, pruning: Pruning, count: int = STRONGEST) -> list[Node]:
    """The kept units of most influence."""
    units = [node for node in graph.kept(pruning) if node.is_unit]
    return sorted(units, key=lambda node: (-graph.influence[graph.index[node.id]], node.id))[:count]


def unit_rows(graph: AttributionGraph, units: Sequence[Node]) -> list[tuple[str, ...]]:
    """A row of a table for each unit; see `HEAD`. The direct effect is that on the first logit."""
    total = graph.influence[[node.kind is not NodeKind.LOGIT for node in graph.nodes]].sum() or 1.0
    direct = graph.weights[len(graph.units)]
    return [
        (
            node.id.split("@")[0],
            f"{graph.tokens[node.position].label!r} ({node.position})",
            f"{node.value:+.3g}",
            f"{graph.influence[graph.index[node.id]] / total:.1%}",
            f"{direct[graph.index[node.id]]:+.3g}",
            _tokens(graph, node, "raises"),
            _tokens(graph, node, "lowers"),
        )
        for node in units
    ]


def _tokens(graph: AttributionGraph, node: Node, which: str) -> str:
    hints = graph.hints.get(node.id)
    return " ".join(repr(text) for text, _ in getattr(hints, which)[:3]) if hints else ""


def verified(graph: AttributionGraph, found: GraphVerification) -> list[str]:
    """What was measured of a graph, a sentence or some for each thing."""
    said = [_direct(graph, found), *(_alone(graph, one) for one in found.kept_alone), _effects(graph, found)]
    if found.kept_alone and not any(map(_beats_random, found.kept_alone)):
        said.append(
            f"So the kept {units_name(graph)}s do no better than random ones at the same places: what "
            f"{_subject(graph)} rests on goes through attention and embeddings, or other {units_name(graph)}s."
        )
    return [one for one in said if one]


def _direct(graph: AttributionGraph, found: GraphVerification) -> str:
    error = found.largest_error
    if error is None:
        return ""
    count = count_of(len(found.effects), units_name(graph))
    return (
        f"Direct effects of {count}, measured with all else held, equal those in the graph to {error:.0e} of the "
        "largest one."
    )


def _alone(graph: AttributionGraph, one: KeptAlone) -> str:
    name = units_name(graph)
    others = OTHERS[one.others]
    kept, random = count_of(one.count, f"kept {name}"), "as many random ones at the same places"
    return (
        f"With ablated {name}s at {others}: {_subject(graph)} is {one.full:.4g} in the model and "
        f"{one.none:.4g} with all of them ablated. The kept graph alone has {_of(one, one.graph)}, its {kept} alone "
        f"{_of(one, one.units)} ({random}: {_range(one, one.random_units)}). Without these alone, it is "
        f"{_of(one, one.without)} ({random}: {_range(one, one.random_without)})."
    )


def _beats_random(one: KeptAlone) -> bool:
    """Whether the kept units recover more than all random ones, or their ablation loses more."""
    up = 1 if one.full >= one.none else -1
    alone = all(up * one.units > up * value for value in one.random_units)
    return alone or all(up * one.without < up * value for value in one.random_without)


def _subject(graph: AttributionGraph) -> str:
    node = graph.logits[0]
    return f"the difference of the logits {node.label}" if node.minus >= 0 else f"the logit of {node.label!r}"


def _of(one: KeptAlone, value: float) -> str:
    share = one.share(value)
    return f"{value:.4g}" + ("" if share is None else f" ({share:.0%} of the difference)")


def _range(one: KeptAlone, values: Sequence[float]) -> str:
    shares = [share for share in map(one.share, (min(values), max(values))) if share is not None]
    return f"{min(values):.4g} to {max(values):.4g}" + (f", {min(shares):.0%} to {max(shares):.0%}" if shares else "")


def _effects(graph: AttributionGraph, found: GraphVerification) -> str:
    if found.rank_held is None or found.rank_free is None:
        return ""
    count = count_of(len(found.effects), units_name(graph))
    return (
        f"Effects along all paths, by the graph, of {count} set to zero have rank correlation {found.rank_held:.2f} "
        f"with those measured with attention held, and {found.rank_free:.2f} with nothing held."
    )
