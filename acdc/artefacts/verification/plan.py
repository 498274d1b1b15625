"""What a verification will measure."""

from dataclasses import dataclass
from functools import cached_property

from acdc.options import Extent


@dataclass(frozen=True)
class VerificationPlan:
    """What a verification measures: its metrics on `rows` rows; `random` random circuits on `random_rows`; each of the
    `removed` parts, by their places in the circuit, on `removal_rows`; and the FLOPs of all that, at most."""

    extent: Extent
    rows: int
    random: int
    random_rows: int
    removed: tuple[int, ...]
    removal_rows: int
    flops: float

    @cached_property
    def prompts(self) -> int:
        """How many prompts are run, counted once per circuit."""
        return 5 * self.rows + self.random * self.random_rows + len(self.removed) * self.removal_rows
