"""A picture as SVG text, written directly: it needs no Graphviz, and the same circuit gives the same bytes."""

from acdc.artefacts.circuit import Circuit
from acdc.render.escaping import escape
from acdc.render.look import PLAIN, Look
from acdc.render.shapes import LABEL, MILLIMETRE, DrawnLink, DrawnNode, Line, Picture, Point, Rectangle, Shape, Text
from acdc.render.style import INK, PAPER
from acdc.render.views import draw

DASHES = {"solid": "", "dashed": ' stroke-dasharray="6 4"', "dotted": ' stroke-dasharray="2 3"'}


def to_svg(circuit: Circuit, look: Look = PLAIN) -> str:
    """SVG text of the effective circuit."""
    return write(draw(circuit, look))


def write(picture: Picture, chosen: bool = False) -> str:
    """SVG text of a picture, on white paper whatever it is shown on. `chosen`: for a page on which nodes and edges are
    chosen, whose elements say what they are."""
    width, height = f"{picture.width:.0f}", f"{picture.height:.0f}"
    size = f'width="{width}" height="{height}"'
    if picture.on_paper:  # without a unit, programs take a length for pixels, which are three quarters of a point
        width, height = f"{picture.width:.2f}", f"{picture.height:.2f}"
        size = f'width="{picture.width / MILLIMETRE:.4g}mm" height="{picture.height / MILLIMETRE:.4g}mm"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif" font-size="{LABEL:g}" '
            f'fill="{INK}" role="img" aria-label="{escape(picture.heading)}">',
            _arrowheads(picture),
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
            *map(_shape, picture.behind),
            *(_link(link, chosen) for link in picture.links),
            *(_node(node, chosen) for node in picture.nodes),
            "</svg>",
            "",
        ]
    )


def _arrowheads(picture: Picture) -> str:
    kinds = sorted({(link.line.colour, link.line.head) for link in picture.links})
    heads = "".join(
        f'<marker id="{_head(colour, size)}" viewBox="0 0 8 8" refX="0.5" refY="4" markerWidth="{size:g}" '
        f'markerHeight="{size:g}" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/>'
        "</marker>"
        for colour, size in kinds
    )
    return f"<defs>{heads}</defs>"


def _link(link: DrawnLink, chosen: bool) -> str:
    if not chosen:
        return _shape(link.line)
    said = {"edge": link.edge, "from": link.source, "to": link.target}
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in said.items())
    return f'<g class="link"{data}>{_shape(link.line)}</g>'


def _node(node: DrawnNode, chosen: bool) -> str:
    data = f' class="node" data-at="{escape(node.id)}"' if chosen else ""
    drawn = f"<g{data}>{_shape(node.outline)}{_shape(node.label)}</g>"
    return f'<a href="{escape(node.page)}">{drawn}</a>' if node.page else drawn


def _head(colour: str, size: float) -> str:
    return f"head{colour[1:]}-{size:g}"


def _shape(shape: Shape) -> str:
    match shape:
        case Line():
            return _line(shape)
        case Rectangle():
            box = shape.box
            end = f"><title>{escape(shape.tooltip)}</title></rect>" if shape.tooltip else "/>"
            return (
                f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" width="{box.width:.1f}" '
                f'height="{box.height:.1f}" rx="{shape.radius:g}" fill="{shape.fill}" stroke="{shape.line}" '
                f'stroke-width="{shape.stroke:g}"{DASHES[shape.dash]}{end}'
            )
        case Text():
            return _text(shape)


def _line(line: Line) -> str:
    head = f' marker-end="url(#{_head(line.colour, line.head)})"' if line.head else ""
    opacity = f' opacity="{line.opacity:g}"' if line.opacity < 1 else ""
    tooltip = f"<title>{escape(line.tooltip)}</title>" if line.tooltip else ""
    return (
        f'<path d="M{_at(line.points[0])}{_curves(line.points)}" fill="none" stroke="{line.colour}" '
        f'stroke-width="{line.width:.4g}"{opacity}{DASHES[line.dash]}{head}>{tooltip}</path>'
    )


def _curves(points: tuple[Point, ...]) -> str:
    """Cubic curves, those that run straight down as such."""
    parts = []
    for i in range(0, len(points) - 1, 3):
        start, *controls, end = points[i : i + 4]
        straight = all(x == start[0] for x, _ in (*controls, end))
        parts.append(f"V{end[1]:.1f}" if straight else "C" + " ".join(map(_at, (*controls, end))))
    return "".join(parts)


def _at(point: Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


def _text(text: Text) -> str:
    look = "" if text.size == LABEL else f' font-size="{text.size:g}"'
    look += "" if text.colour == INK else f' fill="{text.colour}"'
    look += ' font-weight="bold"' if text.bold else ""
    look += ' text-anchor="middle"' if text.centred else ""
    return f'<text x="{text.x:.1f}" y="{text.y:.1f}"{look}>{escape(text.text)}</text>'
