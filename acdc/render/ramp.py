"""Colours on a scale: of scores, from those that help to those that hurt, and of amounts, from none to much."""

from collections.abc import Sequence

AMOUNT = ("#eef4fa", "#b9d6ee", "#6aaed8", "#2171b5", "#08306b")
HELPS, MIDDLE, HURTS = ("#08306b", "#2171b5", "#9fb9d0"), "#b9bfc5", ("#e3a98f", "#d6604d", "#8b0f1f")


def amount(share: float) -> str:
    """Of a share from 0 to 1: darker is more."""
    return _between(AMOUNT, share)


def diverging(share: float) -> str:
    """Of a share from -1 to 1: blue below 0, red above, grey in the middle."""
    return _between((*HELPS, MIDDLE, *HURTS), (share + 1) / 2)


def _between(colours: Sequence[str], share: float) -> str:
    at = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    low = min(int(at), len(colours) - 2)
    pairs = zip(_parts(colours[low]), _parts(colours[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (at - low)):02x}" for a, b in pairs)


def _parts(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
