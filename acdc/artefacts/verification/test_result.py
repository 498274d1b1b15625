"""One hypothesis test of a circuit."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class TestResult(BaseModel):
    """`null`: what is rejected where `rejected`, and whether that `speaks` for or against the circuit.

    `effect` is the size of what was found, in the words of `measures`. `p`: uncorrected; `adjusted`: after Holm's
    correction over the tests of one report. `power`: the chance to reject, at this number of rows, where the effect is
    what `power_at` says. Not `testable`: why, in `reason`.
    """

    __test__ = False  # pytest collects by name
    model_config = ConfigDict(frozen=True)

    name: str
    null: str
    speaks: Literal["for", "against"] = "for"
    measures: str
    n: int
    effect: float | None = None
    p: float | None = None
    adjusted: float | None = None
    rejected: bool = False
    power: float | None = None
    power_at: str | None = None
    testable: bool = True
    reason: str | None = None


LEVEL = 0.05
