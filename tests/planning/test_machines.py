"""Plans for GPUs that are not here, and memory that does not grow with the rows."""

import json
from pathlib import Path

import pytest
import torch
from fake_devices import devices_checked
from families import config_folder, random_rows
from transformers import LlamaConfig

from acdc.behaviour import batches
from acdc.behaviour.behaviour import BATCH_BYTES, Behaviour, split_into_batches
from acdc.errors import InputError
from acdc.execution.dry_run import dry_run
from acdc.model.shape import Unloaded, find_model, shape_of
from acdc.model.sources import find_source
from acdc.planning.job_plan import JobPlan, plan_job
from acdc.planning.machines import GPUS, Machine
from acdc.progress import silent
from acdc.runs.spec import DiscoveryJob
from acdc.search.options import IntegralOptions
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import METRICS

H100 = Machine.parse("h100")


@pytest.mark.parametrize("text", ["h101", "0xh100", "9999xh100", "x", "8x", "8 x h100", "", "-1xh100"])
def test_what_is_no_machine_is_refused(text):
    with pytest.raises(InputError, match="is not one of a100, h100, h200, nor several as 8xa100"):
        Machine.parse(text)


def test_several_gpus():
    found = Machine.parse("8xh100")
    assert (found.gpus, found.gpu, len(found.devices)) == (8, GPUS["h100"], 8)
    assert found.rates(torch.bfloat16).half > 10 * found.rates(torch.float32).matrix
    assert found.rates(torch.float64).matrix == found.rates(torch.float32).matrix / 2


@pytest.mark.parametrize("name", ["gpt2", "llama-biased", "gemma2", "native"])
def test_layers_are_planned_where_they_would_be(name, tmp_path):
    """As a dry run on fake GPUs spreads them."""
    folder, gpus = str(config_folder(name, tmp_path)), Machine.parse("2xh100").devices
    with dry_run():
        planned = shape_of(find_model(folder, device="cpu"), gpus)
    with devices_checked():
        placed = shape_of(Unloaded(find_source(folder, None, weights=False), gpus, "float32", None))
    assert planned.elsewhere == placed.elsewhere and planned.elsewhere["cuda:1"] > 0
    assert planned.parameters == placed.parameters and planned.model.device_kind == placed.model.device_kind == "cuda"


def test_batches_are_those_of_the_kind_of_device(tmp_path):
    folder = str(config_folder("llama", tmp_path))
    with dry_run():
        here, there = (shape_of(find_model(folder, device="cpu"), gpus).model for gpus in ((), H100.devices))
        rows, length = 4000, 7
        each = len(here.graph.writers) * here.anatomy.d_model * 4 * length
        task = random_rows([length] * rows)
        for model, kind in ((here, "cpu"), (there, "cuda")):
            sizes = [len(index) for index in split_into_batches(task.rows, model, model.graph, rows)]
            assert sum(sizes) == rows and max(sizes) == min(rows, BATCH_BYTES[kind] // each)


def test_the_command_says_what_it_assumes(acdc):
    words = ("plan", "--task", "induction", "--method", "eap", "--machine", "2xa100", "--dtype", "bfloat16")
    printed = " ".join(acdc(*words).out.split())
    assert "Times assume that 2xa100 reaches 124,800 GFLOP/s in large products" in printed
    plan = acdc(*words, "--json").json
    assert plan["device"] == "2xa100" and plan["memory"]["free"] == plan["free_elsewhere"]["cuda:1"] == 80 * 10**9
    assert plan["memory"]["base"] == 0 and plan["memory"]["fits"] and plan["seconds"][0] > 0
    refused = acdc("plan", "--machine", "tpu")
    assert refused.code == 2 and refused.err.startswith("acdc: error: --machine 'tpu' is not one of a100")
    tried = acdc("plan", "--task", "induction", "--limit", "4", "--machine", "h100")
    assert "trio is planned for another machine, so no short acdc search is run" in tried.err


@pytest.mark.parametrize(
    "method", ["eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted", "relp", "atp-star"]
)
def test_memory_does_not_grow_with_the_rows(method, tmp_path, monkeypatch):
    """Of all rows no more than tokens and logits are held; runs are made anew, one batch at a time."""
    monkeypatch.setattr(batches, "KEPT_BYTES", 2**14)
    monkeypatch.setitem(BATCH_BYTES, "cpu", 100_000)  # for 142 tokens
    peaks = []
    for rows in (16, 64):
        with dry_run() as tracker:
            model = shape_of(find_model(str(config_folder("llama", tmp_path)), device="cpu")).model
            before = tracker.live
            tracker.peak = 0
            task = random_rows([16] * rows)
            tracker.whole_number = 15
            behaviour = Behaviour(model, task, range(rows), METRICS["logit_diff"])
            assert len(behaviour.batches) == rows // 8
            METHODS[method].run(behaviour, IntegralOptions(steps=2), silent)
            peaks.append(tracker.peak - before)
    per_row = (model.anatomy.d_vocab_out + 64) * 4 + 400  # float32 logits, and whole numbers
    assert peaks[1] - peaks[0] <= 48 * per_row < 0.2 * peaks[0]


def plan_of(folder: Path, rows: int, method: str, machine: str) -> JobPlan:
    task = folder / "rows.jsonl"
    row = {"clean": [*range(18)], "corrupted": [*range(1, 19)], "correct": [11], "incorrect": [12]}
    task.write_text("\n".join(json.dumps(row | {"clean": [i % 1000, *range(17)]}) for i in range(rows)))
    settings = DiscoverySettings(method=METHODS[method], limit=rows, edges=1000)
    job = DiscoveryJob(str(folder), str(task), settings, dtype="bfloat16")
    return plan_job(job, machine=Machine.parse(machine))


LLAMA = {"vocab_size": 128256, "architectures": ["LlamaForCausalLM"], "num_key_value_heads": 8}
LLAMA_8B = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
LLAMA_70B = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}


@pytest.mark.thorough
def test_an_8b_model_fits_80_gb_with_a_thousand_rows(tmp_path):
    """A dry run of the method itself on a batch as large as on a GPU, with bytes counted."""
    LlamaConfig(**LLAMA, **LLAMA_8B).save_pretrained(tmp_path)
    plan = plan_of(tmp_path, 999, "eap-ig-inputs", "h100")
    assert plan.parameters == 8_030_261_248 and plan.search.edges == 805_681 and plan.search.batches == 37
    assert plan.fits and plan.peak < 80e9
    assert plan.search.memory.weights + plan.search.memory.working < 40e9, (
        "the rest is runs that are kept while they fit"
    )
    assert plan.search.memory.weights == pytest.approx(2 * plan.parameters, rel=0.01)


@pytest.mark.thorough
def test_a_70b_model_fits_eight_gpus(tmp_path):
    LlamaConfig(**LLAMA, **LLAMA_70B).save_pretrained(tmp_path)
    plan = plan_of(tmp_path, 40, "eap", "8xh100")
    assert plan.fits and plan.search.edges == 16_654_201 and len(plan.free_elsewhere) == 7
    everywhere = plan.search.memory.weights + sum(plan.search.memory.elsewhere.values())
    assert (
        everywhere == pytest.approx(2 * plan.parameters, rel=0.01) and max(plan.search.memory.elsewhere.values()) < 25e9
    )
    assert everywhere > Machine.parse("h100").gpu.memory
