"""How components and edges look, the same in every picture. The colours are Okabe and Ito's, told apart by all eyes."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from acdc.artefacts.circuit import Circuit, ScoredEdge
from acdc.artefacts.verification.mechanism import ATTENDS, DUPLICATE, FIRST, INDUCTION, ITSELF, PREVIOUS
from acdc.graph import ReaderKind
from acdc.graph.units import units_of
from acdc.options import Level
from acdc.render.ramp import amount, diverging
from acdc.verification.intervals import wilson
from acdc.words import count_of, were

NODE_FILL = {
    "embedding": "#d8efe4",
    "attention": "#dbeaf6",
    "mlp": "#fbe8cf",
    "logits": "#ece4f2",
}
NODE_LINE = {
    "embedding": "#009e73",
    "attention": "#0072b2",
    "mlp": "#d98600",
    "logits": "#7b4f9e",
}
EDGE_COLOUR = {
    ReaderKind.Q: "#d55e00",
    ReaderKind.K: "#009e73",
    ReaderKind.V: "#0072b2",
    ReaderKind.MLP: "#5f6b76",
    ReaderKind.LOGITS: "#7b4f9e",
}
ROLE_COLOURS = {  # fill and line
    f"{ATTENDS}{target}": colours
    for target, colours in {
        PREVIOUS: ("#a6dcf8", "#1b86c4"),
        DUPLICATE: ("#fbf6bd", "#a89b00"),
        INDUCTION: ("#f7dbe9", "#c0578f"),
        FIRST: ("#e6e9ec", "#5f6b76"),
        ITSELF: ("#f9ddcc", "#d55e00"),
    }.items()
}
TRUNK_COLOUR, FAINT_TRUNK = "#c3cad1", "#dde2e7"
INK, QUIET, ABSENT, FAINT = "#1d2730", "#5f6b76", "#9aa5af", "#d3d9de"
PAPER, GROUND = "#ffffff", "#f7f9fb"
NODE_LABEL = {"embedding": "embedding", "attention": "attention head", "mlp": "MLP", "logits": "logits"}
THINNEST, THICKEST, EVEN = 0.9, 5.5, 1.4
WIDTHS = "width grows with |score|"
READABLE = 300  # edges that can be followed one by one
OPACITY, FAINTEST, THICKEST_OF_MANY = 0.85, 0.2, 3.5


def node_colours(kind: str, role: str | None = None) -> tuple[str, str]:
    """Fill and line of a node; heads with a role have the role's."""
    return ROLE_COLOURS.get(role or "", (NODE_FILL[kind], NODE_LINE[kind]))


@dataclass(frozen=True)
class LineMeaning:
    """What a kind of edge looks like, and what it is; `dash` is solid, dashed or dotted."""

    colour: str
    meaning: str
    dash: str = "solid"


class EdgeStyle:
    """Widths, dashes and colours of one circuit's edges, or of those of its positional edges that are drawn.

    Where edges have no scores of their own, all look the same.
    """

    def __init__(self, circuit: Circuit, edges: Sequence[ScoredEdge] | None = None):
        edges = circuit.links if edges is None else edges
        self._crowded = len(edges) > READABLE
        self._sizes = sorted(abs(edge.score) for edge in edges)
        self.largest = max((abs(edge.score) for edge in edges), default=0.0)
        self._effects = circuit.score_kind == "effect"
        self._scored = scores_edges(circuit)
        self._sign = -1.0 if circuit.larger_is_better else 1.0

    def width(self, score: float) -> float:
        """Stroke width in points: grows with the square root of |score|, so that weak edges stay visible."""
        if not self._scored:
            return EVEN
        thickest = THICKEST_OF_MANY if self._crowded else THICKEST
        return round(THINNEST + (thickest - THINNEST) * self._share(score), 2)

    def opacity(self, score: float) -> float:
        """The same for all; where there are many edges it grows with the rank, so that strong ones stand out."""
        if not self._crowded or not self._scored:
            return OPACITY
        rank = bisect_right(self._sizes, abs(score)) / len(self._sizes)
        return round(FAINTEST + (1 - FAINTEST) * rank**3, 2)

    def _share(self, score: float) -> float:
        return (abs(score) / self.largest) ** 0.5 if self.largest > 0 else 0.0

    def opposes(self, edge: ScoredEdge) -> bool:
        """Whether ablating the edge alone improves the metric: it works against the behaviour. Drawn dashed."""
        return self._effects and self._scored and self._sign * edge.score < 0

    def colour(self, score: float) -> str:
        """By the score."""
        return score_colour(score, self.largest, self._effects)


LEGEND = (
    LineMeaning(EDGE_COLOUR[ReaderKind.Q], "into a query"),
    LineMeaning(EDGE_COLOUR[ReaderKind.K], "into a key"),
    LineMeaning(EDGE_COLOUR[ReaderKind.V], "into a value"),
    LineMeaning(EDGE_COLOUR[ReaderKind.MLP], "into an MLP"),
    LineMeaning(EDGE_COLOUR[ReaderKind.LOGITS], "into the logits"),
    LineMeaning(EDGE_COLOUR[ReaderKind.MLP], "works against the behaviour", "dashed"),
)


def scores_edges(circuit: Circuit) -> bool:
    """Whether its edges have scores of their own; where components were chosen, they have those of what writes them."""
    return Level.nodes not in circuit.units.lists


def width_note(circuit: Circuit) -> str:
    return WIDTHS if scores_edges(circuit) else "edges have no scores: components were chosen"


def meanings(circuit: Circuit, by_input: bool) -> tuple[LineMeaning, ...]:
    """What lines of a picture of it mean, which are coloured by the input that they lead into or by score."""
    if by_input:
        return LEGEND if scores_edges(circuit) else LEGEND[:-1]
    return scale(EdgeStyle(circuit).largest, circuit.score_kind == "effect")


def scale(largest: float, signed: bool) -> tuple[LineMeaning, ...]:
    """What colours of scores mean, from the lowest to the largest."""
    steps = (-1.0, -0.25, 0.0, 0.25, 1.0) if signed else (0.0, 0.25, 1.0)
    named = {0.0: "score 0"}
    return tuple(
        LineMeaning(score_colour(step * largest, largest, signed), named.get(step, f"score {step * largest:+.3g}"))
        for step in steps
    )


def score_colour(score: float, largest: float, signed: bool) -> str:
    """Of an edge, on a scale that grows with the square root of |score|."""
    share = (abs(score) / largest) ** 0.5 if largest > 0 else 0.0
    return diverging(share if score > 0 else -share) if signed else amount(0.3 + 0.7 * share)


def title(circuit: Circuit) -> str:
    """One line that says what the picture shows."""
    size = f"{circuit.size:,} of {circuit.units.total:,} {circuit.units.plural}"
    if circuit.units.parts is not circuit.level:
        size += f", {within(circuit)}"
    return f"{circuit.task.name} in {circuit.model.name}: {size}"


def within(circuit: Circuit) -> str:
    """How many of the parts that its units are in are in the circuit."""
    whole = units_of(circuit.graph, circuit.units.parts)
    return f"in {len(circuit.parts):,} of {whole.total:,} {whole.plural}"


def subtitle(circuit: Circuit) -> str:
    """How it was found; with --absolute, scores have no sign."""
    method = f"{circuit.method.name} --absolute" if circuit.method.options.get("absolute") else circuit.method.name
    return f"{method}, {circuit.metric}, {circuit.ablation} ablation"


def without_positions(circuit: Circuit) -> str:
    """What a picture by component of a circuit of edges at positions leaves out; nothing of other circuits."""
    if circuit.spans is None or not circuit.positions:
        return ""
    return f"by component, positions left out: {count_of(len(circuit.links), 'edge')} at one position or more"


def dropped(circuit: Circuit) -> str:
    """How many of the edges that the method kept are not in the circuit; nothing where all are."""
    count = len(circuit.edges) - circuit.edges_effective if circuit.units.are_edges else 0
    if not count:
        return ""
    return f"{count_of(count, 'edge')} without a path from input to logits {were(count)} dropped"


def screened(circuit: Circuit) -> str:
    """What ACDC removed without a test of its own, and how often that was wrong in a sample; nothing where every edge
    was tested."""
    found = circuit.method.selection
    if "screened_edges" not in found:
        return ""
    edges, groups = int(found["screened_edges"]), int(found["screened_groups"])
    if not edges:
        return "every edge was tested"
    negated = circuit.method.objective == f"neg_{circuit.metric}"
    what, change = circuit.metric if negated else circuit.method.objective, found["screened_change"]
    text = (
        f"{count_of(edges, 'edge')} {were(edges)} removed in {count_of(groups, 'group')} instead of one by one, which "
        f"changed {what} by {-change if negated else change:+.2g}"
    )
    kept, sampled = int(found["screened_sampled_kept"]), int(found["screened_sampled"])
    if sampled:
        interval = wilson(kept, sampled)
        text += (
            f"; of {count_of(sampled, 'more edge')} that screening would remove and that were tested, {kept:,} "
            f"{were(kept)} kept (95% interval {interval.low:.1%} to {interval.high:.1%})"
        )
    return text


def polished(circuit: Circuit) -> str:
    """What a second pass over the circuit did and found, in a sentence; nothing without one."""
    found = circuit.method.selection
    if "polish_rounds" not in found:
        return ""
    edges, needed, helping = circuit.size_in_edges, found["polish_needed"], found["polish_helping"]
    rounds = found["polish_rounds"]
    limit = f"{found.get('polish_threshold', found['threshold']):.4g}"
    which = f"each of the {edges:,} edges is" if needed == edges else f"{needed:,} of the {edges:,} edges are"
    others = f"{found['polish_best'] + found['polish_drawn']:,} other edges"
    if found["polish_drawn"]:
        others += f" ({found['polish_drawn']:,} of them drawn at random, of {found['polish_possible']:,} possible)"
    return (
        f"Polished in {count_of(int(rounds), 'round')}, with {count_of(int(found['polish_added']), 'edge')} added and "
        f"{found['polish_removed']:,} removed: {which} needed (the objective rises by at least {limit} without it), "
        f"and {helping or 'none'} of {others} and {found['polish_paths']:,} paths of two edges that "
        f"were tested would help (lower it by at least {limit} for each edge)."
    )


def advice(circuit: Circuit) -> str:
    """How to get a circuit that can be read, of one with too many edges for that; else nothing."""
    count = len(circuit.links)
    if count <= READABLE:
        return ""
    weakest = sorted((abs(edge.score) for edge in circuit.links), reverse=True)[READABLE - 1]
    decided = circuit.method.objective is not None
    how = f"--threshold {weakest:.2g} or above" if decided else f"--edges {READABLE} or fewer"
    return crowd(count, f"discover with {how} for a picture of details")


def crowd(count: int, help: str) -> str:
    """That so many edges are too many to be read, and what helps."""
    return f"{count:,} edges are more than can be followed one by one: {help}"
