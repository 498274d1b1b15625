"""How many workers the machines of a cluster hold."""

from collections.abc import Sequence
from dataclasses import dataclass

SLACK = 1e-6  # a third of a GPU goes three times into one


@dataclass(frozen=True)
class Node:
    """CPU cores and GPUs of a machine of a cluster, used or not."""

    cpus: float
    gpus: float

    def holds(self, cpus: float, gpus: float) -> int:
        """How many workers of so many cores and GPUs each, of whom none has parts of two GPUs."""
        found = int(self.cpus / cpus + SLACK)
        if 0 < gpus < 1:
            return min(found, int(self.gpus) * int(1 / gpus + SLACK))
        return min(found, int(self.gpus / gpus + SLACK)) if gpus else found


def fitting(nodes: Sequence[Node], cpus: float, gpus: float) -> int:
    """How many workers of so many cores and GPUs each the machines hold, none of them on two machines."""
    return sum(node.holds(cpus, gpus) for node in nodes)
