"""How much of the behaviour a circuit recovers under one ablation."""

from pydantic import BaseModel, ConfigDict

from acdc.artefacts.verification.interval import Interval

FAITHFUL = 0.8  # recovered fraction, of the lower end of its interval, from which a circuit counts as faithful


class Faithfulness(BaseModel):
    """One metric under one ablation, as fractions of what lies between the empty circuit and the full model.

    `denoised`: what keeping the circuit alone recovers. `noised`: what ablating the circuit alone destroys, 1 where all
    is lost. Both are 1 for a circuit that does it all and that has no backup.
    """

    model_config = ConfigDict(frozen=True)

    ablation: str
    metric: str
    denoised: Interval
    noised: Interval

    @property
    def holds(self) -> bool:
        """Whether the circuit is faithful by `FAITHFUL`, for certain: neither less than that, nor so much more."""
        found = self.denoised
        if found.low is None or found.high is None:
            return False
        return found.low >= FAITHFUL and found.high <= 2 - FAITHFUL
