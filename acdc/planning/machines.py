"""Plans for GPUs that this machine lacks: published figures, and the share of them that a search should reach."""

import re
from dataclasses import dataclass

import torch

from acdc.errors import InputError
from acdc.execution.machine import Rates

PRODUCTS, SMALL, MEMORY, CURVED = 0.4, 0.02, 0.6, 0.3  # shares of the peaks
START = 20e-6  # seconds to start an operation, the Python around it included
MOST_GPUS = 1024


@dataclass(frozen=True)
class Gpu:
    """Bytes of memory, peak FLOPs per second of dense products of 16 and of 32 bits without sparsity or TF32, and bytes
    that its memory moves in a second, as its maker publishes them."""

    memory: int
    half: float
    single: float
    bandwidth: float


GPUS = {
    "a100": Gpu(80 * 10**9, 312e12, 19.5e12, 2.0e12),
    "h100": Gpu(80 * 10**9, 989e12, 67e12, 3.35e12),
    "h200": Gpu(141 * 10**9, 989e12, 67e12, 4.8e12),
}


@dataclass(frozen=True)
class Machine:
    """So many GPUs of one model in one machine, or a `share` of one GPU, of its memory and its speed."""

    name: str
    gpus: int
    gpu: Gpu
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Machine":
        """`h100`, several as `8xh100`, or a part of one as `0.5xh100`. Raises InputError for anything else."""
        found = re.fullmatch(r"(?:([1-9][0-9]{0,3}|0\.[0-9]{1,3})x)?([a-z0-9]+)", text)
        count = float(found[1] or 1) if found else 0.0
        if found is None or found[2] not in GPUS or not 0 < count <= MOST_GPUS:
            raise InputError(
                f"--machine {text!r} is not one of {', '.join(GPUS)}, nor several as 8x{next(iter(GPUS))}, nor a part "
                f"of one as 0.5x{next(iter(GPUS))}"
            )
        return cls(text, max(1, int(count)), GPUS[found[2]], min(1.0, count))

    @property
    def memory(self) -> int:
        """Bytes of each GPU that a process has."""
        return int(self.share * self.gpu.memory)

    @property
    def devices(self) -> tuple[torch.device, ...]:
        return tuple(torch.device("cuda", number) for number in range(self.gpus))

    def rates(self, dtype: torch.dtype) -> Rates:
        """What a search in a dtype is assumed to reach; starting an operation does not take longer on a part of a
        GPU."""
        wide = self.share * self.gpu.single / (2 if dtype == torch.float64 else 1)
        return Rates(
            linear=PRODUCTS * wide,
            matrix=PRODUCTS * wide,
            half=PRODUCTS * self.share * self.gpu.half,
            small=SMALL * wide,
            plain=MEMORY * self.share * self.gpu.bandwidth,
            curved=CURVED * self.share * self.gpu.bandwidth,
            start=START,
        )
