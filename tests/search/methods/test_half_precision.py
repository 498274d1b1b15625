"""Attribution with weights in bfloat16 against the same weights in float64, and how it adds up."""

import numpy as np
import pytest
import torch
from families import VOCABULARY
from noise import noise
from transformers import LlamaConfig, LlamaForCausalLM

from acdc.behaviour.behaviour import Behaviour
from acdc.model.load import load_model
from acdc.progress import silent
from acdc.search.methods.contraction import dot_products
from acdc.search.options import IntegralOptions
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS

STRONGEST = 100
# the most by which scores may be off, as a share of their norm
OFF = dict.fromkeys(["eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted", "relp"], 0.05) | {"atp-star": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A LLaMA of four layers whose weights are exact in bfloat16."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        initializer_range=0.08,
    )
    path = tmp_path_factory.mktemp("half") / "llama"
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    return str(path)


def scores(folder: str, dtype: str, method: str) -> np.ndarray:
    behaviour = Behaviour(load_model(folder, dtype=dtype), noise(rows=16), range(16), METRICS["logit_diff"])
    return METHODS[method].run(behaviour, IntegralOptions(steps=5), silent).values


@pytest.mark.parametrize("method", [*OFF])
def test_bfloat16_ranks_edges_as_float64_does(folder, method):
    """The agreement that docs/scale.md states. What is left is the rounding of what components write, 1 in 256, which
    AtP* meets once more where it computes attention patterns anew."""
    exact, found = (scores(folder, dtype, method) for dtype in ("float64", "bfloat16"))
    assert np.linalg.norm(found - exact) <= OFF[method] * np.linalg.norm(exact)
    strongest = [set(np.argsort(-np.abs(values), kind="stable")[:STRONGEST]) for values in (exact, found)]
    assert len(strongest[0] & strongest[1]) >= 0.9 * STRONGEST


def test_scores_add_up_in_float32():
    """A sum of a million products of numbers in bfloat16, which in bfloat16 itself would be off by a third."""
    generator = torch.Generator().manual_seed(0)
    change = (1 + torch.rand((2, 16, 64, 1024), generator=generator)).bfloat16()
    gradients = 1 + torch.rand((3, 16, 64, 1024), generator=generator)
    exact = change.double().flatten(1) @ gradients.double().flatten(1).T
    found = dot_products(change, gradients)
    assert found.dtype == torch.float64
    assert ((found - exact).abs() / exact).max() < 1e-5
    narrow = torch.zeros((), dtype=torch.bfloat16)
    for some in (change[0].double() * gradients[0].double()).flatten().split(1024):
        narrow += some.sum().bfloat16()
    assert abs(narrow.item() / exact[0, 0].item() - 1) > 0.1, "the oracle can tell"
