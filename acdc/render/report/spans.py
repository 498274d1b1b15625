"""The view of a circuit by position: its picture by spans, and the tokens of the example rows that its edges read."""

from typing import Any

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.verification.examples import Examples
from acdc.artefacts.verification.report import Report
from acdc.graph import ReaderKind
from acdc.render.by_span import MOST_DRAWN, REST, draw_by_span
from acdc.render.report.examples import spans_of, tokens
from acdc.render.report.markup import Markup, element, join, paragraph
from acdc.render.style import EDGE_COLOUR, FAINT, GROUND, INK, NODE_FILL, NODE_LINE, PAPER, EdgeStyle
from acdc.render.svg import write

KINDS = {"q": ReaderKind.Q, "k": ReaderKind.K, "v": ReaderKind.V, "mlp": ReaderKind.MLP, "logits": ReaderKind.LOGITS}


def has_view(circuit: Circuit) -> bool:
    """Whether a circuit has edges at spans or positions."""
    return circuit.spans is not None and bool(circuit.positions)


def by_position(circuit: Circuit, examples: Examples | None) -> Markup:
    """Nothing for a circuit without spans, or without edges."""
    if circuit.spans is None or not has_view(circuit):
        return Markup("")
    columns = "spans" if circuit.spans.named else "positions"
    told = f"Columns are {columns} in the order of the prompts, rows are layers."
    if circuit.spans.named and REST in circuit.spans.names:
        told += " The last, hatched column is what is in none of them; it has no place in the order."
    told += (
        " Edges into queries, MLPs and the logits "
        "stay in a column; keys and values lead from the column where they are written to that of the queries that see "
        "them. Layers without a part of the circuit are left out."
    )
    if len(circuit.positions) > MOST_DRAWN:
        told += f" The picture has the {MOST_DRAWN} strongest of {len(circuit.positions):,} edges, circuit.json all."
    picture = draw_by_span(circuit)
    drawing = Markup(write(picture, chosen=True))
    held = element(
        "div", drawing, class_="canvas scrolled", tabindex="0", style=f"--width:{picture.width:.0f}px"
    )  # 12 points of a label stay at least 10
    zoom = {"span-in": "+", "span-out": "\u2212", "span-fit": "Fit", "span-read": "Labels"}
    buttons = join(element("button", text, type="button", id=id) for id, text in zoom.items())
    tools = element("div", buttons, class_="view", role="group", aria_label="Zoom")
    hint = element("p", "The picture goes on: scroll, or Fit.", class_="goes-on quiet", hidden="")
    held = element("div", join([tools, held, hint]), class_="pane")
    aside = element("aside", "", class_="details", aria_label="Details")
    stage = element("div", join([held, aside]), class_="stage")
    return element("div", join([paragraph(told, "quiet"), stage, *_rows(circuit, examples)]), id="by-position")


def switch(circuit: Circuit) -> Markup:
    """The buttons for the two views; the script shows them."""
    if not has_view(circuit):
        return Markup("")
    names = {"as-positions": "By position", "as-components": "By component"}
    buttons = [element("button", name, type="button", id=id, aria_pressed="false") for id, name in names.items()]
    return element("div", join(buttons), id="views", role="group", aria_label="View of the circuit", hidden="")


def _rows(circuit: Circuit, examples: Examples | None) -> list[Markup]:
    """The clean prompts of the examples, where it is known what span each of their tokens is in."""
    rows = [] if examples is None else [row for row in examples.rows if spans_of(row, circuit)]
    if not rows:
        return []
    shown = [element("p", tokens(row, circuit), class_="read") for row in rows]
    return [element("p", "", class_="read-note quiet", role="status"), *shown]


def position_data(circuit: Circuit, report: Report) -> dict[str, Any] | None:
    """For the script: id, score, whether it works against the behaviour, and the effect of its removal of each edge."""
    if not has_view(circuit):
        return None
    edges = sorted(circuit.positions, key=lambda edge: (-abs(edge.score), edge.id))[:MOST_DRAWN]
    style = EdgeStyle(circuit, edges)
    alone = {
        removal.id: f"removed alone: {circuit.metric} {removal.change:+.4g}, worse on {removal.rows_worse:.0%} of rows"
        for removal in report.removals
    }
    return {"edges": [[edge.id, edge.score, style.opposes(edge), alone.get(edge.id, "")] for edge in edges]}


def picture_colours(circuit: Circuit) -> str:
    """Rules by which the picture has the page's colours, light or dark."""
    if not has_view(circuit):
        return ""
    names = {INK: "ink", PAPER: "ground", FAINT: "line", GROUND: "band"}
    for kind, fill in NODE_FILL.items():
        names |= {fill: f"fill-{kind}", NODE_LINE[kind]: f"line-{kind}"}
    names |= {EDGE_COLOUR[kind]: f"edge-{name}" for name, kind in KINDS.items()}
    return "".join(
        f'#by-position svg [{what}="{colour}"],#by-position svg[{what}="{colour}"]{{{what}:var(--{name})}}'
        for colour, name in names.items()
        for what in ("fill", "stroke")
    )
