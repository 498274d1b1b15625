"""What stands for the MLPs in a graph: units that each read a vector and write one.

Shapes: P positions, d the residual width, F units of a layer, k of them picked out. A new format is one file with a
class of this interface; `neurons` is the model's own hidden units, `transcoders` the per-layer transcoders of
circuit-tracer.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from acdc.artefacts.attribution.nodes import NodeKind


class UnitLayer(Protocol):
    """The units that read at one layer's MLP. `size`: how many.

    `constant` [d] or None: what is written whatever is read. `skip` [d, d] or None: what is read, times its transpose,
    is written too. `targets`: the layers that its units write to, its own first.
    """

    @property
    def size(self) -> int: ...

    @property
    def constant(self) -> Tensor | None: ...

    @property
    def skip(self) -> Tensor | None: ...

    @property
    def targets(self) -> range: ...

    def activations(self, x: Tensor) -> Tensor:
        """What is read [..., d] -> [..., F]; 0 for units that are not active."""

    def reads(self, x: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """(vectors [k, d], constants [k]) of units that read x [k, d]: activation = vector . x + constant, which holds
        in x exactly; elsewhere it is what the unit is taken for."""

    def writes(self, units: Tensor | slice, to: int) -> Tensor:
        """What units write to a layer at an activation of 1, [k, d]."""


class Dictionary(Protocol):
    """Units for every MLP of a model; None where a layer has no MLP.

    `kind`: of its nodes. `normed`: units read what the MLP does, after its norm, else the residual stream before it.
    `inside`: they write what the MLP does, before any post-norm, else what reaches the residual stream. `complete`: all
    units together write what the MLP does, so that nothing is left over. `describe`: what artefacts say of it.
    """

    @property
    def kind(self) -> NodeKind: ...

    @property
    def normed(self) -> bool: ...

    @property
    def inside(self) -> bool: ...

    @property
    def complete(self) -> bool: ...

    @property
    def layers(self) -> Sequence[UnitLayer | None]: ...

    def describe(self) -> dict[str, str]: ...
