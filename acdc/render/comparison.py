"""A found circuit beside the true one: which edges were found, missed, or are false, as one picture."""

from collections.abc import Collection

from acdc.graph import ComponentGraph
from acdc.render.diagram import StyledEdge, arrange
from acdc.render.svg import picture

FOUND, MISSED, FALSE = "#009e73", "#d55e00", "#8a6bbf"
MEANINGS = (
    (FOUND, "true, and found", False),
    (MISSED, "true, and missed", True),
    (FALSE, "false: found, not true", False),
)
WIDTHS = {FOUND: 2.2, MISSED: 2.2, FALSE: 1.4}
MOST = 400  # edges that a picture can show


def compare(graph: ComponentGraph, heading: str, found: Collection[str], true: Collection[str]) -> str:
    """SVG text of all edges that were found or are true; false ones only while there are not more than `MOST`."""
    both, missed, false = (graph.ids(graph.mask(ids)) for ids in _parts(set(found), set(true)))
    styles = [(both, FOUND), (missed, MISSED)] + ([(false, FALSE)] if len(false) <= MOST else [])
    edges = [
        StyledEdge(name, colour, WIDTHS[colour], colour == MISSED, f"{name}: {MEANING[colour]}")
        for names, colour in styles
        for name in names
    ]
    below = f"{len(both)} of {len(both) + len(missed)} true edges found, {len(false):,} false"
    note = "" if len(false) <= MOST else "too many false edges to draw"
    return picture(arrange(graph, edges), heading, below, MEANINGS, note, "no edges at all")


MEANING = {colour: meaning for colour, meaning, _ in MEANINGS}


def _parts(found: set[str], true: set[str]) -> tuple[set[str], set[str], set[str]]:
    """(found and true, missed, false)."""
    return found & true, true - found, found - true
