"""A found circuit beside the true one: which edges were found, missed, or are false, as one picture."""

from collections.abc import Collection

from acdc.graph import ComponentGraph
from acdc.render.shapes import Words
from acdc.render.shares import Share, draw_shares, split
from acdc.render.style import LineMeaning
from acdc.render.svg import write

FOUND = LineMeaning("#009e73", "true, and found")
MISSED = LineMeaning("#d55e00", "true, and missed", "dashed")
FALSE = LineMeaning("#8a6bbf", "false: found, not true", "dotted")
MOST = 400  # edges that a picture can show


def compare(graph: ComponentGraph, heading: str, found: Collection[str], true: Collection[str]) -> str:
    """SVG text of all edges that were found or are true; false ones only while there are not more than `MOST`."""
    both, false, missed = split(found, true)
    drawn = [(both, FOUND, 2.2), (missed, MISSED, 2.2)] + ([(false, FALSE, 1.6)] if len(false) <= MOST else [])
    shares = [
        Share(style, width, dict.fromkeys(names, style.meaning), mark=style is not FOUND)
        for names, style, width in drawn
    ]
    words = Words(
        heading,
        f"{len(both)} of {len(both) + len(missed)} true edges found, {len(false):,} false",
        "",
        "" if len(false) <= MOST else "too many false edges to draw",
        "no edges at all",
        (FOUND, MISSED, FALSE),
    )
    return write(draw_shares(graph, shares, words))
