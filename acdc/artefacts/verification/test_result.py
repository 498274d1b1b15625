"""One hypothesis test of a circuit."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.sampling import Unit
from acdc.words import count_of


class TestResult(BaseModel):
    """`null`: what is rejected where `rejected`, and whether that `speaks` for or against the circuit.

    `effect` is the size of what was found, in the words of `measures`. `n`: of how many rows, or random circuits. `p`:
    uncorrected; `adjusted`: after Holm's correction over the tests of one report. `power`: the chance to reject, at
    this `n`, where the effect is what `power_at` says. Not `testable`: why, in `reason`. `unit`: what a test of rows
    takes for independent, of which there are `n`; the score of a prompt or group is the mean over its rows.
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
    unit: Unit = "row"

    def of_unit(self, unit: Unit) -> "TestResult":
        """The same with what it was made of in the place of rows."""
        if unit == "row":
            return self
        said = {name: getattr(self, name) for name in ("null", "measures", "power_at", "reason")}
        words = {name: text and text.replace("rows", f"{unit}s") for name, text in said.items()}
        return self.model_copy(update={**words, "unit": unit})

    @property
    def size(self) -> str:
        """How many of what it was made of."""
        return count_of(self.n, "circuit" if self.name in AGAINST_RANDOM else self.unit)


LEVEL = 0.05
AGAINST_RANDOM = ("sufficiency", "sufficiency, degrees", "necessity")  # names of the tests whose `n` counts circuits
