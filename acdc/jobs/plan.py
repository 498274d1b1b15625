"""Plan a discovery job on this machine: nothing of the model but its configuration and its tokenizer is read."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from acdc.jobs.spec import DiscoveryJob
from acdc.model.gguf_file import Quantisation
from acdc.model.gguf_weights import bytes_to_read
from acdc.model.load import DTYPES
from acdc.model.machine import Rates, free_memory
from acdc.model.rehearsal import rehearsing
from acdc.model.shape import Shape, Unloaded, find_model, shape_of
from acdc.model.sources import NATIVE
from acdc.model.threads import fixed_threads
from acdc.search.plan import SearchPlan, plan_search
from acdc.search.probe import probe
from acdc.search.registry import find_method
from acdc.task.load import load_task


@dataclass(frozen=True)
class JobPlan:
    """A planned search on this machine.

    `base`: bytes that the interpreter and its libraries hold, 0 on a GPU. `free`: bytes that the run could have; None
    where the system does not say; `free_elsewhere`: those of other devices with weights. `fitting`: the largest batch
    size that they suffice for, None where none does.
    """

    model: str
    family: str
    parameters: int
    quantisation: Quantisation | None
    task: str
    method: str
    takes: tuple[str, ...]
    level: str
    device: str
    dtype: str
    threads: int
    batch_size: int
    search: SearchPlan
    rates: Rates
    base: int
    free: int | None
    free_elsewhere: dict[str, int | None]

    @property
    def peak(self) -> int:
        return self.base + self.search.memory.peak

    @property
    def seconds(self) -> tuple[float, float]:
        """At least and at most."""
        return self.rates.seconds(self.search.least.operations), self.rates.seconds(self.search.most.operations)

    @property
    def full(self) -> list[str]:
        """Other devices that have no room for their weights."""
        needed = self.search.memory.elsewhere
        return [name for name, free in self.free_elsewhere.items() if free is not None and free < needed[name]]

    @property
    def fits(self) -> bool | None:
        return None if self.free is None else self.peak <= self.free and not self.full

    @property
    def fitting(self) -> int | None:
        """Halved until it fits; what a batch needs while work is done on it goes with its size."""
        memory, size = self.search.memory, self.batch_size
        least = self.base + max(memory.weights + memory.held, memory.loading)
        if self.free is None or least > self.free or self.full:
            return None
        while size and self.base + memory.weights + memory.held + memory.working * size / self.batch_size > self.free:
            size //= 2
        return size or None

    def as_record(self) -> dict[str, Any]:
        """The plan as JSON; pairs are at least and at most."""
        search, memory = self.search, self.search.memory
        ends = (search.least, search.most)
        return {
            "model": self.model,
            "family": self.family,
            "parameters": self.parameters,
            "task": self.task,
            "rows": search.rows,
            "batches": search.batches,
            "longest": search.longest,
            "method": self.method,
            "level": self.level,
            "edges": search.edges,
            "candidates": search.candidates,
            "forwards": [round(effort.forwards) for effort in ends],
            "backwards": [round(effort.backwards) for effort in ends],
            "flops": [round(effort.flops) for effort in ends],
            "seconds": list(self.seconds),
            "memory": {"base": self.base, **asdict(memory), "peak": self.peak, "free": self.free, "fits": self.fits},
            "free_elsewhere": self.free_elsewhere,
            "batch_size": self.batch_size,
            "batch_size_that_fits": self.fitting,
            "device": self.device,
            "dtype": self.dtype,
            "threads": self.threads,
            "rates": asdict(self.rates),
        }


def plan_job(job: DiscoveryJob) -> JobPlan:
    """Plan what `acdc discover` would search. Raises InputError as it would, but for what only weights can tell."""
    job.check()
    unloaded = find_model(job.model, revision=job.revision, device=job.device, dtype=job.dtype)
    device = unloaded.devices[0]
    with fixed_threads(job.settings.threads):
        found = probe(device, job.dtype)
    with rehearsing() as books:
        shape = shape_of(unloaded)
        task = load_task(job.task, shape.model)
        search = plan_search(books, shape, task, job.settings, _read_besides(unloaded, shape))
    on_cpu = device.type == "cpu"
    return JobPlan(
        model=shape.model.name,
        family=shape.model.family,
        parameters=shape.parameters,
        quantisation=shape.model.quantisation,
        task=task.name,
        method=job.settings.method,
        takes=find_method(job.settings.method).takes,
        level=job.settings.level.value,
        device=shape.model.where,
        dtype=job.dtype,
        threads=job.settings.threads,
        batch_size=min(job.settings.batch_size, search.rows),
        search=search,
        rates=found.rates,
        base=found.base if on_cpu else 0,
        # this process ends before the run begins
        free=None if found.free is None else found.free + (found.base if on_cpu else 0),
        free_elsewhere={name: free_memory(torch.device(name)) for name in search.memory.elsewhere},
    )


def _read_besides(unloaded: Unloaded, shape: Shape) -> int:
    """Bytes of the weight files that are in memory beside the weights made of them while a model is loaded on a CPU.

    Files in the model's own dtype are mapped and used as they are; native ones are always copied, and GGUF files tensor
    by tensor.
    """
    if unloaded.devices[0].type != "cpu":
        return 0
    if unloaded.source.gguf:
        return bytes_to_read(unloaded.source.gguf, DTYPES[unloaded.dtype_name])
    config = unloaded.source.config
    stored = str(config.get("dtype") or config.get("torch_dtype") or unloaded.dtype_name).removeprefix("torch.")
    if stored == unloaded.dtype_name and unloaded.source.architecture != NATIVE:
        return 0
    return shape.parameters * DTYPES.get(stored, torch.float32).itemsize
