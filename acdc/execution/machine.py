"""What this machine does in a second, measured by a short probe, and how much memory it has."""

import ctypes
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from acdc.execution.dry_run import Kind, Operation
from acdc.execution.products import product

_CGROUP = Path("/sys/fs/cgroup")
ENOUGH = 0.15  # seconds
NEW_ONE_IN = 8  # bytes that operations move, one goes to memory that the process did not have: found by measurement


@dataclass(frozen=True)
class Rates:
    """FLOPs per second of products (`half`: of numbers of 16 bits, where the model has such); bytes per second that
    other operations read and write (`curved`: exponentials and the like); and the seconds that it takes to start an
    operation, the Python around it included."""

    linear: float
    matrix: float
    half: float
    small: float
    plain: float
    curved: float
    start: float = 0.0

    def seconds(self, operations: Mapping[Operation, float]) -> float:
        """How long operations take, each as long as the slower of its products and its memory traffic."""
        return sum(times * self._one(operation) for operation, times in operations.items())

    def _one(self, operation: Operation) -> float:
        if operation.kind is Kind.view:
            return 0.0
        products = operation.flops / getattr(self, operation.kind) if operation.flops else 0.0
        memory = self.curved if operation.kind is Kind.curved else self.plain
        return self.start + max(products, operation.bytes / memory)

    def with_start(self, took: float, operations: Counter[Operation]) -> "Rates":
        """The same with what is left of a real run's seconds shared among its operations."""
        count = sum(times for operation, times in operations.items() if operation.kind is not Kind.view)
        return replace(self, start=max(0.0, took - self.seconds(operations)) / count)


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Rates of products of the sizes that transformers have, and of a sum of tensors too large for the caches. A model
    of narrow numbers has products of wide ones too: those of scores."""
    wide = torch.promote_types(dtype, torch.float32)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float32).to(device, wide)

    x, weight = random(512, 768), random(768, 3072)
    left, right = random(8, 256, 768), random(8, 768, 256)
    queries, keys = random(1024, 16, 64), random(1024, 64, 16)
    narrow, across = random(512, 768).to(dtype), random(768, 3072).to(dtype)
    pairs = [
        (random(2**12, 2**8).to(dtype), random(2**12, 2**8).to(dtype)) for _ in range(8)
    ]  # more than the caches hold
    moved, large = 2 * sum(x.numel() * x.element_size() for x, _ in pairs), 2**25
    new = NEW_ONE_IN * large / _seconds(lambda: torch.zeros(large, dtype=torch.uint8, device=device).add_(1), device)

    def streaming(work: Callable[[], object]) -> float:
        return 1 / (_seconds(work, device) / moved + 1 / new)

    return Rates(
        linear=2 * x.numel() * weight.shape[1] / _seconds(lambda: product(x, weight), device),
        matrix=2 * left.numel() * right.shape[2] / _seconds(lambda: left @ right, device),
        half=2 * narrow.numel() * across.shape[1] / _seconds(lambda: product(narrow, across), device),
        small=2 * queries.numel() * keys.shape[2] / _seconds(lambda: queries @ keys, device),
        plain=streaming(lambda: [torch.mul(x, 2, out=out) for x, out in pairs]),
        curved=streaming(lambda: [torch.softmax(x, -1, out=out) for x, out in pairs]),
    )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Mean seconds of repeats that take a while together, so that what else the machine does has its share in them."""
    timed(work, device)
    taken: list[float] = []
    while sum(taken) < ENOUGH:
        taken.append(timed(work, device))
    return statistics.mean(taken)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of some work, waiting for the device to finish it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def resident_memory() -> int | None:
    """Bytes that this process holds in memory now; None where the system does not say."""
    return _read(Path("/proc/self/status"), "VmRSS")


def free_memory(device: torch.device) -> int | None:
    """Bytes that this machine, or the GPU, could still give to this process; None where the system does not say."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return None
    if device.type == "cuda":  # what PyTorch keeps for later is taken, but free for us
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    free = [_read(Path("/proc/meminfo"), "MemAvailable"), _allowed()]
    return min((found for found in free if found is not None), default=None)


def device_memory(device: torch.device) -> int | None:
    """Bytes that a GPU has in all; None for what is no GPU, or is not here."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)


def return_free_memory() -> None:
    """Give back to the system, and to the GPU, what has been freed. glibc and PyTorch keep much of it otherwise, as
    tensors of other sizes seldom fit the gaps."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _allowed() -> int | None:
    """Bytes that a container's limit leaves, what is kept of files and not in use counted as free; None without one."""
    limit, used, parts = (_CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if not (limit.is_file() and used.is_file()) or not limit.read_text().strip().isdigit():
        return None
    kept = re.search(r"^inactive_file (\d+)$", parts.read_text(), re.MULTILINE) if parts.is_file() else None
    return max(0, int(limit.read_text()) - int(used.read_text()) + (int(kept[1]) if kept else 0))


def _read(path: Path, line: str) -> int | None:
    if not path.is_file():
        return None
    found = [text.split()[1] for text in path.read_text().splitlines() if text.startswith(f"{line}:")]
    return int(found[0]) * 1024 if found else None
