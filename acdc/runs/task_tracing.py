"""Trace the rows of a task: a discovery of heads and neurons by relevance with attention held.

What a neuron adds to the metric along all paths is summed up over positions and averaged over rows; the heads and
neurons that add most are the circuit, which is verified on rows that were not traced.
"""

from dataclasses import dataclass
from typing import Any

from acdc.options import DEFAULT_THREADS, Extent, Level
from acdc.runs.spec import DiscoveryJob
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings


@dataclass(frozen=True)
class TaskTrace:
    """`contrast`: what clean prompts add less what corrupted ones do, and others are at their corrupted values in the
    circuit; else what clean prompts add, and others are at zero."""

    metric: str | None = None
    contrast: bool = False
    limit: int | None = None
    seed: int = 0
    threads: int = DEFAULT_THREADS

    @property
    def settings(self) -> DiscoverySettings:
        return DiscoverySettings(
            method=METHODS.find("relp"),
            metric=self.metric,
            ablation="resample" if self.contrast else "zero",
            level=Level.neurons,
            limit=self.limit,
            options={"hold_attention": True},
            seed=self.seed,
            threads=self.threads,
        )

    def job(self, model: str, task: str, verify: bool, **loading: Any) -> DiscoveryJob:
        """The discovery that traces a task's rows; `loading`: revision, device and dtype."""
        extent = Extent.standard if verify else Extent.none
        return DiscoveryJob(model, task, self.settings, verify=extent, **loading)
