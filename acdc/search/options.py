"""Parameters that searches take; each reads the ones it knows."""

from dataclasses import dataclass

from acdc.options import Level, SenderOrder
from acdc.search.acdc.journal import Journal

DEFAULT_STEPS, DEFAULT_UPDATES = 5, 400


@dataclass(frozen=True)
class SearchOptions:
    """`threshold`: ACDC's tau in the metric's unit; None takes a share of the range that the metric spans. `edges`: how
    many edges the user wants, or lets a hybrid decide about. `steps`: points of integrated gradients. `updates`: most
    optimiser steps of a learnt mask. `journal`: where ACDC records its passes."""

    threshold: float | None = None
    edges: int | None = None
    seed: int = 0
    sender_order: SenderOrder = SenderOrder.descending
    level: Level = Level.edges
    steps: int = DEFAULT_STEPS
    updates: int = DEFAULT_UPDATES
    journal: Journal | None = None
