"""Plan a discovery job on this machine.

Shapes alone say what scores cost, so only the model's configuration and tokenizer are read. What ACDC costs depends on
the edges that it keeps: for that the model is loaded, and ACDC tried for a short while (`acdc.planning.preview`).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from acdc.artefacts.quantisation import Quantisation
from acdc.errors import InputError
from acdc.execution.dry_run import dry_run
from acdc.execution.machine import Rates, free_memory
from acdc.execution.threads import fixed_threads
from acdc.model.gguf_weights import bytes_to_read
from acdc.model.load import DTYPES, Devices, load_model
from acdc.model.shape import Shape, Unloaded, find_model, shape_of
from acdc.model.sources import NATIVE
from acdc.options import Extent
from acdc.planning.follow_up import choosing_runs, verification_flops
from acdc.planning.forecast import Forecast, can_forecast, forecast
from acdc.planning.machines import Machine
from acdc.planning.rates import probe
from acdc.planning.search_plan import SearchPlan, plan_search
from acdc.progress import Progress, silent
from acdc.runs.spec import DiscoveryJob
from acdc.search.cost import Effort
from acdc.search.registry import Method
from acdc.task.load import load_task
from acdc.task.rows import Task
from acdc.verification.budget import Costs


@dataclass(frozen=True)
class Cost:
    """FLOPs, and seconds on this machine."""

    flops: float
    seconds: float


@dataclass(frozen=True, repr=False)
class JobPlan:
    """A planned search on this machine, and what comes after it.

    `preview`: what trying ACDC on some rows has shown, None where it was not tried. `choosing` a circuit by its
    faithfulness, at most; None where that is not done. `verification`: at most. `base`: bytes that the interpreter and
    its libraries hold, 0 on a GPU. `free`: bytes that the run could have; None where the system does not say;
    `free_elsewhere`: those of other devices with weights. `fitting`: the largest batch size that they suffice for, None
    where none does. `assumed`: of a machine that is not here, with rates that were not measured.
    """

    model: str
    family: str
    parameters: int
    quantisation: Quantisation | None
    task: str
    method: Method
    level: str
    device: str
    dtype: str
    threads: int
    batch_size: int
    search: SearchPlan
    preview: Forecast | None
    choosing: Cost | None
    verify: Extent
    verification: Cost
    rates: Rates
    base: int
    free: int | None
    free_elsewhere: dict[str, int | None]
    assumed: bool = False

    def __repr__(self) -> str:
        least, most = self.seconds
        time = f"{most:.3g} s" if self.likely is None or least == most else f"about {self.likely.seconds:.3g} s"
        memory = f"{self.peak / 2**20:,.0f} MiB"
        return f"<JobPlan: {self.method.name} for {self.task} in {self.model}, search {time}, peak memory {memory}>"

    @property
    def peak(self) -> int:
        return self.base + self.search.memory.peak

    @property
    def flops(self) -> tuple[float, float]:
        """Of the search, at least and at most."""
        if self.preview is None:
            return self.search.least.flops, self.search.most.flops
        before, found = self.search.before.flops, self.preview.flops
        return before + found.least, before + found.most

    @property
    def seconds(self) -> tuple[float, float]:
        """Of the search, at least and at most."""
        if self.preview is None:
            return self._seconds(self.search.least), self._seconds(self.search.most)
        before, found = self._seconds(self.search.before), self.preview.seconds
        return before + found.least, before + found.most

    @property
    def likely(self) -> Cost | None:
        """What the search is expected to take; None where no more than bounds are known."""
        if self.preview is not None:
            before = self.search.before
            return Cost(before.flops + self.preview.flops.likely, self._seconds(before) + self.preview.seconds.likely)
        return None if self.search.is_range else Cost(self.flops[1], self.seconds[1])

    def _seconds(self, effort: Effort) -> float:
        return self.rates.seconds(effort.operations)

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
        """The plan as JSON; pairs are at least and at most, `likely` is null where only bounds are known."""
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
            "method": self.method.name,
            "level": self.level,
            "edges": search.edges,
            "candidates": search.candidates,
            "forwards": [round(effort.forwards) for effort in ends],
            "backwards": [round(effort.backwards) for effort in ends],
            "flops": [round(end) for end in self.flops],
            "seconds": list(self.seconds),
            "likely": None if self.likely is None else asdict(self.likely),
            "preview": None if self.preview is None else asdict(self.preview),
            "choosing": None if self.choosing is None else asdict(self.choosing),
            "verification": {"extent": self.verify.value, **asdict(self.verification)},
            "memory": {"base": self.base, **asdict(memory), "peak": self.peak, "free": self.free, "fits": self.fits},
            "free_elsewhere": self.free_elsewhere,
            "batch_size": self.batch_size,
            "batch_size_that_fits": self.fitting,
            "device": self.device,
            "dtype": self.dtype,
            "threads": self.threads,
            "rates": asdict(self.rates),
        }


def plan_job(
    job: DiscoveryJob,
    probing: bool = True,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress = silent,
    machine: Machine | None = None,
) -> JobPlan:
    """Plan what `acdc discover` would do. Raises InputError as it would, but for what only weights can tell.

    `probing`: whether the model may be loaded to try ACDC; `say` is told before it is. `machine`: one with GPUs that is
    not here; None for this one.
    """
    job.check()
    if job.settings.options.get("polish"):
        raise InputError("a plan does not estimate --polish: leave it out to plan the search that comes before")
    dry_on = job.device if machine is None else "cpu"
    unloaded = find_model(job.model, revision=job.revision, device=dry_on, dtype=job.dtype)
    there = _here(job, unloaded) if machine is None else _assumed(job, machine)
    with dry_run() as tracker:
        shape = shape_of(unloaded, there.gpus, there.free if there.gpus else None)
        task = load_task(job.task, shape.model)
        loading = _read_besides(unloaded, shape) if machine is None else 0
        search = plan_search(tracker, shape, task, job.settings, loading, there.free)
        choosing, verification = _follow_up(job, shape, task, search, there.rates)
    plan = JobPlan(
        model=shape.model.name,
        family=shape.model.family,
        parameters=shape.parameters,
        quantisation=shape.model.quantisation,
        task=task.name,
        method=job.settings.method,
        level=job.settings.level.value,
        device=shape.model.where if machine is None else machine.name,
        dtype=job.dtype,
        threads=job.settings.threads_in(shape.model.anatomy),
        batch_size=min(job.settings.batch_size, search.rows),
        search=search,
        preview=None,
        choosing=choosing,
        verify=job.verify,
        verification=verification,
        rates=there.rates,
        base=there.base,
        free=there.free,
        free_elsewhere={name: there.free_on(name) for name in search.memory.elsewhere},
        assumed=machine is not None,
    )
    if not probing or not can_forecast(shape.model, job.settings):
        return plan
    if why := _why_not_tried(plan, unloaded):
        say(f"{plan.model} {why}, so no short {plan.method.name} search is run: the plan gives only bounds")
        return plan
    say(f"loading {plan.model} and running a short {plan.method.name} search (--no-probe: plan without it)")
    return replace(plan, preview=_try(job, search, progress))


def _why_not_tried(plan: JobPlan, unloaded: Unloaded) -> str | None:
    """Why ACDC cannot be tried with a model, in words; None where it can."""
    if plan.assumed:
        return "is planned for another machine"
    if plan.fits is False:
        return "does not fit this machine"
    return None if unloaded.source.weight_files else "has no weights here"


@dataclass(frozen=True)
class _There:
    """Where a search is planned for: its rates; bytes that a process has there without a model, 0 on a GPU; bytes that
    are free on the home device and on others by name, None where that is unknown; the GPUs of another machine."""

    rates: Rates
    base: int
    free: int | None
    free_on: Callable[[str], int | None]
    gpus: Devices = ()


def _here(job: DiscoveryJob, unloaded: Unloaded) -> _There:
    device = unloaded.devices[0]
    with fixed_threads(job.settings.threads):
        found = probe(device, job.dtype)
    base = found.base if device.type == "cpu" else 0
    free = None if found.free is None else found.free + base  # this process ends before the run begins
    return _There(found.rates, base, free, lambda name: free_memory(torch.device(name)))


def _assumed(job: DiscoveryJob, machine: Machine) -> _There:
    memory = machine.memory
    return _There(machine.rates(DTYPES[job.dtype]), 0, memory, lambda name: memory, machine.devices)


def _try(job: DiscoveryJob, search: SearchPlan, progress: Progress) -> Forecast:
    """What a short ACDC on some of the rows says of the search."""
    model = load_model(job.model, revision=job.revision, device=job.device, dtype=job.dtype)
    task = load_task(job.task, model)
    with fixed_threads(job.settings.threads_in(model.anatomy)):
        return forecast(model, task, job.settings, search.split.discovery, search.clean.flops / search.rows, progress)


def _follow_up(
    job: DiscoveryJob, shape: Shape, task: Task, search: SearchPlan, rates: Rates
) -> tuple[Cost | None, Cost]:
    """(choosing, verification)."""
    settings, unseen = job.settings, task.select(search.split.verification)
    run = Cost(search.subgraph.flops, rates.seconds(search.subgraph.operations))
    runs = choosing_runs(settings, search.candidates)
    choosing = Cost(runs * run.flops, runs * run.seconds) if runs else None
    flops = 0.0
    if unseen:
        graph = shape.model.executor(settings.split_embeddings, settings.direct_edges).graph
        costs = Costs.of(shape.model, graph, unseen)
        parts = min(search.candidates, settings.edges or search.candidates)
        flops = verification_flops(costs, parts, search.rows, len(unseen), job.verify, job.verify_rows)
    return choosing, Cost(flops, flops * run.seconds / run.flops)


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
