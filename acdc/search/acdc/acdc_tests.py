"""What a method that tests edges as ACDC does declares, so that a plan can try it. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from acdc.behaviour.behaviour import Behaviour

ROUNDS = (1, 2, 3)  # assumed for acdc-complete, as the number of backup components is unknown


@dataclass(frozen=True)
class AcdcTests:
    """What a method tests as ACDC does, which a plan tries on some rows.

    `edges`: those that it tests, or about those, boolean [edges] from behaviour and options; None for all. `rounds`: of
    a method that repeats ACDC, how often at least, likely and at most; in each round it then removes the kept edges
    from the full model, one by one and together.
    """

    edges: "Callable[[Behaviour, Any], np.ndarray] | None" = None
    rounds: tuple[int, int, int] | None = None
