"""What a head is labelled as: by where it attends far more than even attention and the model's other heads do.

Where a head has nothing to do, it often attends to its own token or to the first one. So it is judged by the rest of
its attention first; a head for which that tells nothing may be labelled by where it rests, or as attending evenly.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from acdc.artefacts.verification.mechanism import (
    ANSWER,
    CORRUPTED,
    DUPLICATE,
    EVENLY,
    FIRST,
    INDUCTION,
    ITSELF,
    NEXT,
    PREVIOUS,
    Evidence,
)
from acdc.graph import Writer
from acdc.verification.attention import COLUMNS, SCOPES, Shares

# By where the attention is from. Of targets that a head attends to equally, the first is its label.
DOING = {"everywhere": (INDUCTION, DUPLICATE, PREVIOUS, NEXT, CORRUPTED), "answer": (ANSWER, CORRUPTED)}
RESTING, EVENLY_TOO = {"everywhere": (FIRST, ITSELF)}, {"everywhere": (EVENLY,)}
LEAST = 0.2  # of all attention
ABOVE = 0.2  # of the way from even attention, and from the median of the other heads, up to all attention
MOSTLY = 0.8  # of the way from even attention alone: enough, whatever other heads do
EQUALLY = 0.1  # difference, on that way, between targets that a head attends to equally
EVEN = 0.8  # overlap with even attention


def evidence_for(head: Writer, shares: Shares) -> Evidence | None:
    """What a head is labelled by; None where nothing stands out."""
    for targets in (DOING, RESTING):
        found = [one for one in _candidates(head, shares, targets) if _stands_out(one)]
        best = max((_way(one.active, one.even) for one in found), default=0.0)
        for one in found:
            if _way(one.active, one.even) >= best - EQUALLY:
                return one
    evenly = next(_candidates(head, shares, EVENLY_TOO), None)
    return evenly if evenly is not None and evenly.share >= EVEN else None


def _candidates(head: Writer, shares: Shares, targets: Mapping[str, Sequence[str]]) -> Iterator[Evidence]:
    """Those that there are, the answer position last."""
    other_heads = np.ones(shares.whole.shape[:2], dtype=bool)
    other_heads[head.layer, head.head] = False
    for scope, at in enumerate(SCOPES):
        for name in targets.get(at, ()):
            column = COLUMNS.index(name)
            active = shares.active[:, :, scope, column]
            if np.isfinite(active[head.layer, head.head]):
                others = active[other_heads]
                yield Evidence(
                    target=name,
                    at=at,
                    share=float(shares.whole[head.layer, head.head, scope, column]),
                    active=float(active[head.layer, head.head]),
                    others=float(np.median(others)) if len(others) else None,
                    even=float(shares.even[scope, column]),
                )


def _stands_out(one: Evidence) -> bool:
    above_all = _way(one.active, max(one.even, one.even if one.others is None else one.others))
    return one.share >= LEAST and (above_all >= ABOVE or _way(one.active, one.even) >= MOSTLY)


def _way(share: float, base: float) -> float:
    """How much of the way from a base up to all attention a share is."""
    return (share - base) / (1 - base) if base < 1 else 0.0
