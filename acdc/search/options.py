"""Parameters that searches take; each reads the ones it knows."""

from dataclasses import dataclass

from acdc.options import Level, SenderOrder


@dataclass(frozen=True)
class SearchOptions:
    """`threshold`: ACDC's tau in the metric's unit; None takes a share of the range that the metric spans."""

    threshold: float | None = None
    seed: int = 0
    sender_order: SenderOrder = SenderOrder.descending
    level: Level = Level.edges
