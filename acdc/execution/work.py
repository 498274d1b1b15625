"""How much was computed, counted instead of timed."""

from dataclasses import dataclass


@dataclass
class Work:
    """What was computed: outputs of one component for one sequence, and floating point operations of the products.
    `pass_splits`: how often a pass was made again as narrower ones, because memory ran out."""

    evaluations: int = 0
    flops: int = 0
    pass_splits: int = 0

    def __sub__(self, other: "Work") -> "Work":
        return Work(
            self.evaluations - other.evaluations, self.flops - other.flops, self.pass_splits - other.pass_splits
        )

    def add(self, other: "Work") -> None:
        """Count what was computed elsewhere."""
        self.evaluations += other.evaluations
        self.flops += other.flops
        self.pass_splits += other.pass_splits

    def snapshot(self) -> "Work":
        return Work(self.evaluations, self.flops, self.pass_splits)
