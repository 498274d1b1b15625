"""How many candidates a pass has: on another machine's GPU by its memory, and fewer where little is free."""

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.dry_run import dry_run
from acdc.model.shape import find_model, shape_of
from acdc.planning.job_plan import plan_job
from acdc.planning.machines import Machine
from acdc.progress import silent
from acdc.runs.spec import DiscoveryJob
from acdc.search.acdc import widths
from acdc.search.acdc.search import acdc as find
from acdc.search.acdc.widths import CPU_PASS_BYTES, WIDEST, pass_bytes, room, widest
from acdc.search.options import OrderOptions
from acdc.search.records import describe_batch
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import METRICS


def planned(machine):
    gpus = Machine.parse(machine)
    return shape_of(find_model("trio", device="cpu"), gpus.devices, gpus.memory).model


def test_they_follow_the_machine_that_is_planned_for(trio):
    assert (widest(trio), pass_bytes(trio)) == (WIDEST["cpu"], CPU_PASS_BYTES) == (16, 2**28)
    with dry_run():
        for machine, gib in (("h100", 80e9), ("8xh100", 80e9), ("h200", 141e9), ("0.5xh100", 40e9)):
            model = planned(machine)
            assert (widest(model), pass_bytes(model)) == (WIDEST["cuda"], gib // 16) and room(model) == gib // 16
            assert describe_batch(32, 1, model).trial_bytes == gib // 16
        assert pass_bytes(planned("0.02xh100")) == CPU_PASS_BYTES


def test_plans_reckon_with_them():
    job = DiscoveryJob("trio", "induction", DiscoverySettings(method=METHODS["acdc"], limit=8, threads=1))
    small, large = (
        plan_job(job, probing=False, machine=Machine.parse(name)).search.memory.working
        for name in ("0.02xh100", "h200")
    )
    assert small == CPU_PASS_BYTES < large


def test_little_free_memory_makes_passes_narrower_and_changes_no_decision(trio, induction, monkeypatch):
    whole = find(Behaviour(trio, induction, range(8), METRICS["kl"]), OrderOptions(threshold=0.05), silent)
    monkeypatch.setattr(widths, "free_memory", lambda device: 2**16)
    behaviour = Behaviour(trio, induction, range(8), METRICS["kl"])
    found = find(behaviour, OrderOptions(threshold=0.05), silent)
    assert np.array_equal(found.kept, whole.kept) and behaviour.work.pass_splits > 0
    assert [(test.candidate, test.kept) for test in found.tests] == [(t.candidate, t.kept) for t in whole.tests]
