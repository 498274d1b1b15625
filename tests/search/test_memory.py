"""Attributions keep within the memory that is free."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import thorough_but
from families import random_rows
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from acdc.behaviour.behaviour import Behaviour
from acdc.execution import machine
from acdc.execution.dry_run import CostTracker, dry_run
from acdc.model.load import load_model
from acdc.model.shape import find_model, shape_of
from acdc.options import Level
from acdc.progress import silent
from acdc.search import memory
from acdc.search.cost import BatchDryRun, once
from acdc.search.memory import USABLE, working_bytes
from acdc.search.options import IntegralOptions
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS
from acdc.task.rows import Task

ATTRIBUTIONS = ["eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted", "relp", "atp-star", "hisp", "ifr"]
DIFFERENT = ["eap", "relp", "atp-star", "hisp", "ifr"]  # the others are eap with other points
OPTIONS = IntegralOptions(steps=2)
RUNS = {
    "eap-ig-inputs": OPTIONS.steps,
    "eap-ig-activations": OPTIONS.steps,
    "clean-corrupted": 2,
}  # contracted together
_GROUPED = {
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "hidden_size": 128,
    "intermediate_size": 352,
}
SHAPES = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(vocab_size=1000, n_positions=128, n_embd=64, n_layer=3, n_head=4)),
    "gpt2-wide": (GPT2LMHeadModel, GPT2Config(vocab_size=1000, n_positions=128, n_embd=256, n_layer=2, n_head=16)),
    "gpt2-words": (GPT2LMHeadModel, GPT2Config(vocab_size=90000, n_positions=128, n_embd=64, n_layer=2, n_head=4)),
    "llama": (LlamaForCausalLM, LlamaConfig(vocab_size=1000, **_GROUPED)),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(vocab_size=5000, **_GROUPED)),
}


def folder_of(name: str, folder) -> str:
    kind, config = SHAPES[name]
    config.architectures = [kind.__name__]
    config.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "rows", "length", "dtype"),
    thorough_but(
        [("llama", 8, 16, "float32"), ("gpt2-wide", 16, 32, "bfloat16"), ("gemma2", 32, 16, "float32")],
        [
            ("gpt2", 8, 16, "float32"),
            ("gpt2", 32, 64, "float32"),
            ("gpt2-wide", 4, 100, "float32"),
            ("gpt2-wide", 16, 32, "bfloat16"),
            ("gpt2-words", 8, 16, "float32"),
            ("llama", 8, 16, "float32"),
            ("llama", 4, 128, "float64"),
            ("llama", 16, 32, "bfloat16"),
            ("gemma2", 32, 16, "float32"),
        ],
    ),
)
def test_what_is_reckoned_is_what_is_needed(name, rows, length, dtype, tmp_path):
    """As a dry run counts it; what it may be short of is left free."""
    with dry_run() as tracker:
        model = shape_of(find_model(folder_of(name, tmp_path), device="cpu", dtype=dtype)).model
        for method in ATTRIBUTIONS if (name, length) == ("llama", 16) else DIFFERENT:
            reckoned, counted = both(tracker, model, random_rows([length] * rows), method)
            assert 0.9 * counted <= reckoned <= 1.5 * counted, method


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("llama", ("eap", "peap")),
        ("gpt2", ("eap", "peap")),
        ("gpt2", ("atp-star",)),
        ("llama", ("atp-star",)),
    ],
)
def test_what_is_reckoned_at_positions_is_what_is_needed(name, methods, tmp_path):
    with dry_run() as tracker:
        model = shape_of(find_model(folder_of(name, tmp_path), device="cpu", dtype="float32")).model
        for method in methods:
            reckoned, counted = both(tracker, model, random_rows([16] * 8), method, Level.positions)
            assert 0.9 * counted <= reckoned <= 1.5 * counted, method


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_what_is_reckoned_for_neurons_is_what_is_needed(name, tmp_path):
    with dry_run() as tracker:
        model = shape_of(find_model(folder_of(name, tmp_path), device="cpu", dtype="float32")).model
        for method in ("eap", "eap-ig-inputs"):
            reckoned, counted = both(tracker, model, random_rows([16] * 8), method, Level.neurons)
            assert 0.9 * counted <= reckoned <= 1.5 * counted, method


def both(tracker: CostTracker, model, task: Task, method: str, level: Level = Level.edges) -> tuple[float, int]:
    """Bytes that a method needs for a batch of all rows, (reckoned, counted)."""
    dry = BatchDryRun(tracker, lambda: Behaviour(model, task, range(len(task.rows)), METRICS["logit_diff"]))
    (batch,) = dry.behaviour.batches
    reckoned = working_bytes(dry.behaviour, method, batch, RUNS.get(method, 1), level)
    return reckoned, once(dry, METHODS[method].run, OPTIONS.model_copy(update={"level": level})).working


def run(model, task, method: str, rows: int = 8):
    return METHODS[method].run(Behaviour(model, task, range(rows), METRICS["logit_diff"]), OPTIONS, silent)


def need(model, task, method: str, rows: int = 8) -> float:
    behaviour = Behaviour(model, task, range(rows), METRICS["logit_diff"])
    return working_bytes(behaviour, method, behaviour.batches[0], RUNS.get(method, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_a_batch_that_would_not_fit_is_halved_beforehand(method, dtype, induction, monkeypatch):
    model = load_model("trio", dtype=dtype)
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    whole = run(model, induction, method)
    free = need(model, induction, method, 3) / USABLE["cpu"]  # quarters fit, halves do not
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    split = run(model, induction, method)
    assert (whole.batch_splits, split.batch_splits) == (0, 2)
    assert np.abs(split.values - whole.values).max() <= 1e-6 * np.abs(whole.values).max()


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_enough_memory_changes_nothing(method, trio, induction, monkeypatch):
    """To the last bit, and the same where nobody says how much there is."""
    plain = run(trio, induction, method)
    for free in (need(trio, induction, method) / USABLE["cpu"] + 1, None):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        found = run(trio, induction, method)
        assert found.batch_splits == 0 and found.values.tobytes() == plain.values.tobytes()


def test_a_row_is_tried_whatever_is_free(trio, induction, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 0)
    assert run(trio, induction, "eap").batch_splits == 3


def test_memory_that_turns_out_short_is_met_by_further_splits(trio, induction, monkeypatch):
    whole = run(trio, induction, "eap")
    free = need(trio, induction, "eap", 4) / USABLE["cpu"]
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    behaviour = Behaviour(trio, induction, range(8), METRICS["logit_diff"])
    embedded_run, tried = behaviour.executor.run_embedded, []

    def cramped(embedded, *rest):
        tried.append(embedded.shape[1])
        if embedded.shape[1] > 2:
            raise MemoryError
        return embedded_run(embedded, *rest)

    monkeypatch.setattr(behaviour.executor, "run_embedded", cramped)
    found = METHODS["eap"].run(behaviour, OPTIONS, silent)
    assert found.batch_splits == 2 and max(tried) == 4
    assert found.values == pytest.approx(whole.values, abs=1e-12 * np.abs(whole.values).max())


def test_the_artefact_says_so(acdc, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 0)
    acdc("discover", "--task", "induction", "--method", "eap", "--edges", 20, "--limit", 8, "--out", "run")
    assert json.loads(Path("run/circuit.json").read_text())["method"]["selection"]["batch_splits"] == 3


def test_a_dry_run_is_of_whole_batches(induction, monkeypatch):
    """So that a plan tells what would be needed."""
    monkeypatch.setattr(memory, "free_memory", lambda device: 0)
    with dry_run() as tracker:
        model = shape_of(find_model("trio", device="cpu")).model
        dry = BatchDryRun(tracker, lambda: Behaviour(model, induction, range(8), METRICS["logit_diff"]))
        assert once(dry, METHODS["eap"].run, OPTIONS).most.backwards == 8
        assert run(model, induction, "eap").batch_splits == 0


def test_files_in_memory_are_free_under_a_containers_limit(tmp_path, monkeypatch):
    """The system drops what it keeps of files where memory is asked for."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    for name, text in (("max", "1000"), ("current", "900"), ("stat", "anon 300\ninactive_file 500\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert machine._allowed() == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert machine._allowed() is None
