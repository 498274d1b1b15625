"""Where in the prompt a circuit's edges are: the section with the picture by spans."""

from acdc.artefacts.circuit import Circuit
from acdc.render.by_span import draw_by_span
from acdc.render.report.markup import Markup, element, paragraph
from acdc.render.report.sections import section
from acdc.render.svg import write

MOST_DRAWN = 600


def by_span(circuit: Circuit) -> Markup:
    """Nothing for a circuit without spans, or without edges."""
    if circuit.spans is None or not circuit.positions:
        return Markup("")
    columns = "spans" if circuit.spans.named else "positions"
    told = (
        f"Columns are {columns} in the order of the prompts, rows are layers. Edges into queries, MLPs and the logits "
        "stay in a column; keys and values lead from the column where they are written to that of the queries that see "
        "them."
    )
    if len(circuit.positions) > MOST_DRAWN:
        told += f" The picture has the {MOST_DRAWN} strongest of {len(circuit.positions):,} edges, circuit.json all."
    picture = element("div", Markup(write(draw_by_span(circuit, MOST_DRAWN))), class_="scroll")
    return section("spans", "Where in the prompt", paragraph(told), picture)
