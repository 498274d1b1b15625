"""What the colours of a picture mean, beside or below it."""

from acdc.render.diagram import Diagram
from acdc.render.layout import Box
from acdc.render.shapes import Line, Rectangle, Shape, Text, Words
from acdc.render.style import NODE_LABEL, QUIET, ROLE_COLOURS, TRUNK_COLOUR, LineMeaning, node_colours
from acdc.render.transform import Change

STEP, SAMPLE, MARGIN, APART = 22.0, 36.0, 24.0, 20.0
LETTER = 7.6  # of words, in the widest fonts that stand in for Helvetica
CARRIED = LineMeaning(TRUNK_COLOUR, "output carried to later layers")

Entry = tuple[tuple[Shape, ...], float]  # around (0, 0), and how wide


def width_of(words: Words, diagram: Diagram) -> float:
    """Of a legend at the side."""
    return max(width for _, width in _entries(words, diagram))


def beside(words: Words, diagram: Diagram, x: float, y: float) -> tuple[list[Shape], float]:
    """(shapes one under the other from a place on, where they end)."""
    shapes: list[Shape] = []
    for entry, _ in _entries(words, diagram):
        shapes += [Change(x=x, y=y).shape(shape) for shape in entry]
        y += STEP
    return shapes, y - STEP + 12


def below(words: Words, diagram: Diagram, width: float, y: float) -> tuple[list[Shape], float]:
    """(shapes in as many rows as it takes, where they end)."""
    shapes: list[Shape] = []
    x = MARGIN
    for entry, needed in _entries(words, diagram):
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + STEP
        shapes += [Change(x=x, y=y).shape(shape) for shape in entry]
        x += needed + APART
    return shapes, y


def _entries(words: Words, diagram: Diagram) -> list[Entry]:
    """Kinds of nodes, then of lines, then the note."""
    roles = {node.role for node in diagram.nodes if node.role}
    looks = [(*node_colours(kind), label) for kind, label in NODE_LABEL.items()]
    looks[2:2] = [(*colours, role) for role, colours in ROLE_COLOURS.items() if role in roles]
    nodes = [_entry(Rectangle(Box(13, -3, 26, 14), fill, line, 4), label) for fill, line, label in looks]
    lines = [_entry(_sample(how), how.meaning) for how in words.meanings]
    found = [*nodes, *lines, _entry(_sample(CARRIED, 3.0), CARRIED.meaning)]
    if words.note:
        found.append(((Text(0, 2, words.note, colour=QUIET),), LETTER * len(words.note)))
    return found


def _entry(sample: Shape, meaning: str) -> Entry:
    return (sample, Text(SAMPLE, 2, meaning)), SAMPLE + LETTER * len(meaning)


def _sample(how: LineMeaning, width: float = 2.4) -> Line:
    return Line(((0, -3), (9, -3), (17, -3), (26, -3)), how.colour, width, how.dash)
