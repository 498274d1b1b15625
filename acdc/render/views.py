"""Which picture a circuit has: by position if its edges have positions, a summary if it has too many edges to be read,
else by component."""

from acdc.artefacts.circuit import Circuit
from acdc.options import Detail
from acdc.render.by_span import draw_by_span
from acdc.render.drawing import draw_by_component
from acdc.render.look import PLAIN, Look
from acdc.render.shapes import Picture
from acdc.render.summary import SUMMARY_FROM, draw_summary


def draw(circuit: Circuit, look: Look = PLAIN) -> Picture:
    """A circuit of edges at spans by span, unless another look is asked for, which only the picture by component has;
    any other circuit by component, or where it has more edges than can be followed, as a summary."""
    if circuit.spans is not None and bool(circuit.positions) and look == PLAIN:
        return draw_by_span(circuit)
    many = len(circuit.links) > SUMMARY_FROM and not look.places
    if look.detail is Detail.summary or (look.detail is Detail.auto and many):
        return draw_summary(circuit, look)
    return draw_by_component(circuit, look)
