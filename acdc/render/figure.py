"""Pictures drawn with matplotlib, for figures that have other things in them too."""

from collections.abc import Mapping
from typing import Any

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.render.look import choose_look
from acdc.render.shapes import Line, Picture, Rectangle, Shape, Text
from acdc.render.views import draw

INCH = 72.0
DASHES = {"solid": "-", "dashed": "--", "dotted": ":"}


def plot(circuit: Circuit, axes: Any, look: Mapping[str, Any]) -> Any:
    """See `Circuit.plot`."""
    return draw_on(draw(circuit, choose_look(circuit, **look)), axes)


def draw_on(picture: Picture, axes: Any = None) -> Any:
    """A picture in axes of matplotlib, by default those of a figure as large as it. Raises InputError without it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plot() needs matplotlib, which is not installed: pip install 'acdc[plots]'") from None
    if axes is None:
        figure = Figure(figsize=(picture.width / INCH, picture.height / INCH))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, picture.width)
    axes.set_ylim(picture.height, 0)
    axes.set_aspect("equal")
    axes.axis("off")
    for order, shape in enumerate(picture.behind):
        _add(axes, shape, order / (len(picture.behind) + 1))
    for link in picture.links:
        _add(axes, link.line, 2.0)
    for node in picture.nodes:
        _add(axes, node.outline, 3.0)
        _add(axes, node.label, 4.0)
    return axes


def _add(axes: Any, shape: Shape, order: float) -> None:
    from matplotlib import patches
    from matplotlib.path import Path

    match shape:
        case Line():
            codes = [Path.MOVETO, *[Path.CURVE4] * (len(shape.points) - 1)]
            how = {"color": shape.colour, "lw": shape.width, "ls": DASHES[shape.dash], "alpha": shape.opacity}
            axes.add_patch(patches.PathPatch(Path(shape.points, codes), fill=False, zorder=order, **how))
            if shape.head:
                axes.add_patch(patches.Polygon(_head(shape), color=shape.colour, lw=0, zorder=order))
        case Rectangle():
            box, radius = shape.box, shape.radius
            corner = (box.x - box.width / 2 + radius, box.y - box.height / 2 + radius)
            style = patches.BoxStyle.Round(pad=radius, rounding_size=max(radius, 1e-6))
            size = box.width - 2 * radius, box.height - 2 * radius
            how = {"fc": shape.fill, "ec": shape.line, "lw": shape.stroke, "ls": DASHES[shape.dash]}
            axes.add_patch(patches.FancyBboxPatch(corner, *size, boxstyle=style, zorder=order, **how))
        case Text():
            weight, side = "bold" if shape.bold else "normal", "center" if shape.centred else "left"
            how = {"size": shape.size, "color": shape.colour, "weight": weight, "ha": side, "va": "baseline"}
            axes.text(shape.x, shape.y, shape.text.replace("$", r"\$"), zorder=order, **how)


def _head(line: Line) -> list[tuple[float, float]]:
    """The arrowhead beyond a line's end, down or to the right as the line goes."""
    (x, y), half, length = line.points[-1], line.head / 2, line.head
    if line.points[-2][1] == y:
        return [(x, y - half), (x, y + half), (x + length, y)]
    return [(x - half, y), (x + half, y), (x, y + length)]
