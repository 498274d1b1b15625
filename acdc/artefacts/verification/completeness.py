"""Whether anything is missing from a circuit."""

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval


class Knockout(BaseModel):
    """The same parts taken out of the circuit and of the model: the metric of both, mean over rows, in its own sign."""

    model_config = ConfigDict(frozen=True)

    removed: int
    circuit: float
    model: float


class Completeness(BaseModel):
    """`difference`: mean |circuit - model| over knockouts, in the metric's unit, lower is better; `share`: of the range
    between full and empty; `worst`: the knockout where they differ most."""

    model_config = ConfigDict(frozen=True)

    knockouts: int
    difference: Interval
    share: Interval
    worst: Knockout
