"""Calibrate a plan: what this machine does in a second, measured in about one."""

import statistics
from dataclasses import dataclass

import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.dry_run import recording
from acdc.execution.machine import Rates, free_memory, measure_rates, resident_memory, timed
from acdc.model.load import load_model
from acdc.progress import silent
from acdc.search.methods.eap import eap
from acdc.search.options import RowOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

REPEATS = 5


@dataclass(frozen=True)
class Probe:
    """What was found: rates, bytes that a process holds that has loaded a model and searched in it, whatever the model
    (0 where the system does not say), and bytes that are free (None where it does not)."""

    rates: Rates
    base: int
    free: int | None


def probe(device: torch.device, dtype_name: str) -> Probe:
    """Rates of large operations; and what it takes to start one, from attribution in the bundled model, all of whose
    operations are small."""
    model = load_model("trio", device=str(device), dtype=dtype_name)
    task = load_task("induction", model)

    def attribution() -> None:
        eap(Behaviour(model, task, range(16), METRICS["logit_diff"]), RowOptions.of({}), silent)

    attribution()
    base, free = resident_memory() or 0, free_memory(device)
    took = statistics.median(timed(attribution, device) for _ in range(REPEATS))
    with recording() as tracker:
        attribution()
    return Probe(measure_rates(device, model.dtype).with_start(took, tracker.operations), base, free)
