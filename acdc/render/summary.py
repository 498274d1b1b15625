"""A circuit with more edges than can be followed, in short: how important each component is, by layer and head, and the
strongest paths from the input to the logits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from acdc.artefacts.circuit import Circuit
from acdc.graph import Edge, Writer, WriterKind
from acdc.options import Colouring, Legend
from acdc.render.diagram import build_diagram
from acdc.render.drawing import compose
from acdc.render.layout import Box
from acdc.render.look import PLAIN, Look
from acdc.render.ramp import amount
from acdc.render.shapes import Picture, Rectangle, Shape, Text, Words
from acdc.render.strongest import Path, strongest_paths
from acdc.render.style import FAINT, PAPER, QUIET, meanings, subtitle, title
from acdc.render.transform import Change

SUMMARY_FROM = 150  # more edges than these are not followed one by one
PATHS, FEWEST = 12, 4
TALLEST = 235 / 85  # of a column, by its width
CELL, ROW, MARGIN, HEADER, LINE = 26.0, 18.0, 24.0, 72.0, 20.0
BOLD, LETTER = 9.4, 7.6
STEPS = (1.0, 0.25, 0.0)  # of the scale


def draw_summary(circuit: Circuit, look: Look = PLAIN) -> Picture:
    """The map by layer and head at the left, beside it the diagram of the strongest paths; where they are `stacked`,
    below it and of fewer paths, so that a column of a page holds it."""
    if not look.stacked:
        return _summary(circuit, look, PATHS)
    tried = (_summary(circuit, look, count) for count in range(PATHS, FEWEST, -1))
    fitting = (picture for picture in tried if picture.height <= TALLEST * picture.width)
    return next(fitting, None) or _summary(circuit, look, FEWEST)


def _summary(circuit: Circuit, look: Look, count: int) -> Picture:
    paths = strongest_paths(circuit, count)
    kept = {edge.id for path in paths for edge in path.edges}
    legend = Legend.below if look.stacked and look.legend is Legend.right else look.legend
    inner = compose(
        circuit.graph,
        build_diagram(circuit, replace(look, landscape=False), kept),
        Words("", "", "", "", "", meanings(circuit, look.colours is Colouring.input)),
        replace(look, title=False, legend=legend, landscape=False),
    )
    above = _heading(circuit, look.stacked) if look.title else []
    top = HEADER + LINE * (len(above) - 2) if above else MARGIN
    map_, right, bottom = _map(circuit, top + 26)
    left, under = (MARGIN, bottom + 2 * MARGIN) if look.stacked else (right + 2 * MARGIN, top)
    beside = left if look.stacked else max(left, MARGIN + 400)
    texts = [*above, *(_captions(paths, top, beside, under) if above else ())]
    inner = Change(x=left - MARGIN, y=under + 8).picture(inner)
    width = max(left + inner.width - (MARGIN if look.stacked else 0), right)
    width = max(width, *(text.x + (BOLD if text.bold else LETTER) * len(text.text) + MARGIN for text in texts), MARGIN)
    return Picture(
        width=width,
        height=max(bottom + MARGIN, under + 8 + inner.height),
        heading=title(circuit),
        behind=(*texts, *map_, *inner.behind),
        links=inner.links,
        nodes=inner.nodes,
    )


def _heading(circuit: Circuit, stacked: bool) -> list[Text]:
    """The title, and in one line or two what it is a summary of."""
    said = [subtitle(circuit), f"a summary of {len(circuit.links):,} edges"]
    lines = said if stacked else ["; ".join(said)]
    below = [Text(MARGIN, MARGIN + 32 + LINE * place, line, colour=QUIET) for place, line in enumerate(lines)]
    return [Text(MARGIN, MARGIN + 12, title(circuit), 17.0, bold=True), *below]


def _captions(paths: Sequence[Path], top: float, x: float, y: float) -> list[Text]:
    weakest = f", each with |score| of at least {paths[-1].weakest:.3g}" if paths else ""
    return [
        Text(MARGIN, top + 8, "summed |score| of the edges out of each component", colour=QUIET),
        Text(x, y + 8, f"the {len(paths)} strongest paths{weakest}", colour=QUIET),
    ]


def weights(circuit: Circuit) -> dict[str, float]:
    """By component of the circuit, the summed |score| of its edges that leave it."""
    found: dict[str, float] = defaultdict(float)
    for scored in circuit.links:
        found[Edge.parse(scored.id).writer.id] += abs(scored.score)
    return dict(found)


def _map(circuit: Circuit, top: float) -> tuple[list[Shape], float, float]:
    """(the map with its scale, its right and lower end); a row for each layer, a column for each head and the MLPs."""
    anatomy, found = circuit.graph.anatomy, weights(circuit)
    inside = [writer for writer in circuit.graph.writers if writer.kind in (WriterKind.HEAD, WriterKind.MLP)]
    most = max((found.get(writer.id, 0.0) for writer in inside), default=0.0)
    left, heads = MARGIN + 30, anatomy.n_heads
    names = [*(f"h{head}" for head in range(heads)), "MLP"]
    shapes: list[Shape] = [
        Text(left + CELL * (place + 0.5), top, name, 10.5, QUIET, centred=True) for place, name in enumerate(names)
    ]
    for layer in range(anatomy.n_layers):
        shapes.append(Text(MARGIN, top + 9 + ROW * (layer + 0.5) - 1, str(layer), 10.5, QUIET))
    for writer in inside:
        shapes.append(_cell(writer, heads, found, most, left, top + 6))
    right, bottom = left + CELL * (heads + 1), top + 6 + ROW * anatomy.n_layers
    for place, step in enumerate(STEPS):
        y = bottom + 20 + ROW * place
        shapes.append(Rectangle(Box(left + CELL / 2, y, CELL, ROW), amount(step**0.5), FAINT, 0, 0.5))
        shapes.append(Text(left + CELL + 8, y + 4, f"{step * most:.3g}", 10.5, QUIET))
    return shapes, max(right, MARGIN + 330), bottom + 20 + ROW * len(STEPS)


def _cell(writer: Writer, heads: int, found: Mapping[str, float], most: float, left: float, top: float) -> Rectangle:
    column = writer.head if writer.kind is WriterKind.HEAD else heads
    box = Box(left + CELL * (column + 0.5), top + ROW * (writer.layer + 0.5), CELL, ROW)
    if writer.id not in found:
        return Rectangle(box, PAPER, FAINT, 0, 0.5, tooltip=f"{writer.id}: not in the circuit")
    share = found[writer.id] / most if most > 0 else 0.0
    return Rectangle(box, amount(share**0.5), FAINT, 0, 0.5, tooltip=f"{writer.id}: {found[writer.id]:.4g}")
