"""Which picture a circuit has: by position if its edges have positions, else by component."""

from acdc.artefacts.circuit import Circuit
from acdc.render.by_span import draw_by_span
from acdc.render.drawing import Picture, draw_by_component
from acdc.render.look import PLAIN, Look


def draw(circuit: Circuit, look: Look = PLAIN) -> Picture:
    """A circuit of edges at spans by span, unless its components are to have fixed places or groups, which only the
    picture by component has; any other circuit by component."""
    by_span = circuit.spans is not None and bool(circuit.positions) and look == PLAIN
    return draw_by_span(circuit) if by_span else draw_by_component(circuit, look)
