"""Parameters that searches take; each reads the ones it knows."""

from dataclasses import dataclass
from enum import StrEnum


class SenderOrder(StrEnum):
    """In which order ACDC tries the heads of one layer as senders."""

    descending = "descending"
    ascending = "ascending"


@dataclass(frozen=True)
class SearchOptions:
    """`threshold`: ACDC's tau in the metric's unit; None takes a share of the range that the metric spans."""

    threshold: float | None = None
    seed: int = 0
    sender_order: SenderOrder = SenderOrder.descending
