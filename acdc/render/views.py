"""Which picture a circuit has: by position if its edges have positions, a summary if it has too many edges to be read,
else by component."""

from dataclasses import replace

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.options import Detail
from acdc.render.by_span import draw_by_span
from acdc.render.drawing import draw_by_component
from acdc.render.look import PLAIN, Look
from acdc.render.scale import AS_DRAWN, Size
from acdc.render.shapes import Picture
from acdc.render.summary import SUMMARY_FROM, draw_summary


def draw(circuit: Circuit, look: Look = PLAIN, size: Size = AS_DRAWN) -> Picture:
    """In a size. A circuit of edges at spans by span, unless places of components are asked for, which only the picture
    by component has; any other circuit by component, or where it has more edges than can be followed, as a summary,
    whose parts stand below each other where it would be too wide.

    Raises InputError for a look that the picture cannot have, and where its labels would be too small.
    """
    if circuit.spans is not None and bool(circuit.positions) and not look.places:
        if look.landscape or look.detail is not Detail.auto:
            raise InputError(
                "a circuit of edges at positions is drawn by position, with every edge: --landscape and --detail do "
                "not apply to it (--fixed draws its components, without the positions)"
            )
        return size.of(draw_by_span(circuit, look=look))
    many = len(circuit.links) > SUMMARY_FROM and not look.places
    if look.detail is Detail.summary or (look.detail is Detail.auto and many):
        picture = draw_summary(circuit, look)
        return size.of(picture if size.fits(picture) else draw_summary(circuit, replace(look, stacked=True)))
    return size.of(draw_by_component(circuit, look))
