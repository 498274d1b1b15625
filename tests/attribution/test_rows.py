"""Rows of attribution graphs: they sum to their targets' values, and their columns are what setting a unit does."""

import numpy as np
import pytest
import torch
from brute_force import names_of
from conftest import thorough_but
from families import BY_HAND, HUGGING_FACE, NATIVE, WITH_EXPERTS, boot, hugging_face, randomise, thorough_if_more
from held_brute_force import Held
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources.native.model import NativeModel

from acdc.attribution.interventions import Freeze, Setting, set_units
from acdc.attribution.trace import TraceSettings, trace_prompt
from acdc.errors import InputError

TOKENS = [3, 9, 4, 17, 22]
WITHOUT_MIXTURES = [name for name in (*HUGGING_FACE, *NATIVE) if name != "mixtral"]
QUICK = ["gpt2", "llama", "qwen3", "gemma3", "gpt-neox-parallel", "native"]
ALL = TraceSettings(most_nodes=None, constant_first=False)


def plain(name: str) -> torch.nn.Module:
    """The model of `families.boot(name, 2, 0)` by itself."""
    if name in HUGGING_FACE:
        return hugging_face(name)
    config = TransformerBridgeConfig.from_dict({**(NATIVE | BY_HAND)[name], "dtype": torch.float64})
    return randomise(NativeModel(config).double(), 0, 0.3 if config.normalization_type is None else 0.8)


@pytest.mark.parametrize("settings", [ALL, TraceSettings(most_nodes=30)], ids=["all", "30"])
@pytest.mark.parametrize("name", [*thorough_but(QUICK, WITHOUT_MIXTURES), *thorough_if_more([], without=WITH_EXPERTS)])
def test_rows_sum_to_their_targets(name, settings):
    graph = trace_prompt(boot(name, 3, 1), TOKENS, settings).graph
    values = np.array([node.value for node in graph.targets])
    assert np.abs(graph.row_sums() / values - 1).max() < 1e-10
    assert len(graph.units) == settings.most_nodes or settings is ALL or name == "native-attention-only"


@pytest.mark.parametrize("name", ["gpt2", "gemma3"])
def test_rows_sum_to_their_targets_in_float32(name):
    graph = trace_prompt(boot(name, 3, 1, "float32"), TOKENS, ALL).graph
    values = np.array([node.value for node in graph.targets])
    assert (np.abs(graph.row_sums() - values) < 1e-5 * np.abs(graph.weights).sum(1)).all()


@pytest.mark.parametrize(
    "name", thorough_but(QUICK, [name for name in WITHOUT_MIXTURES if "attention-only" not in name])
)
def test_columns_are_direct_effects(name):
    """Of raw hooks on the plain model: on every logit and on units above, and on those alone."""
    traced = trace_prompt(boot(name, 2, 0), TOKENS, ALL)
    graph, oracle = traced.graph, Held(plain(name), names_of(name), torch.tensor(TOKENS))
    assert (oracle.logits - traced.run.raw).abs().max() < 1e-9 or traced.run.weights.softcap
    generator = np.random.default_rng(0)
    for source in generator.permutation(len(graph.units))[:4]:
        node, column = graph.units[source], graph.weights[:, source]
        logits, read = oracle.run(node.layer, node.position, node.index, 0.0, "everything")
        if not traced.run.weights.softcap:
            change = oracle.logits - logits
            change = (change - change.mean())[[logit.index for logit in graph.logits]]
            assert torch.allclose(change, torch.from_numpy(column[len(graph.units) :]), rtol=0, atol=1e-9)
        for row in generator.permutation(len(graph.units))[:12]:
            target = graph.units[row]
            expected = -oracle.unit_change(target.layer, target.position, target.index, read[target.layer])
            assert abs(column[row] - expected) < 1e-9 * max(1, np.abs(column).max())


@pytest.mark.parametrize(
    "name", thorough_but(QUICK, [name for name in WITHOUT_MIXTURES if "attention-only" not in name])
)
@pytest.mark.parametrize("freeze", list(Freeze))
def test_interventions_equal_brute_force(name, freeze):
    traced = trace_prompt(boot(name, 2, 0), TOKENS, TraceSettings(most_nodes=6))
    if traced.run.weights.softcap:
        pytest.skip("the plain model caps its logits, so that they do not show those before")
    oracle = Held(plain(name), names_of(name), torch.tensor(TOKENS))
    settings = [[Setting.of(node, 1.5)] for node in traced.graph.units]
    found = set_units(traced.run, traced.sources.dictionary, settings, freeze)
    for node, logits in zip(traced.graph.units, found, strict=True):
        expected, _ = oracle.run(node.layer, node.position, node.index, 1.5, freeze.value)
        assert torch.allclose(logits, expected, rtol=0, atol=1e-8 * float(expected.abs().max()))
        assert (expected - oracle.logits).abs().max() > 1e-6


def test_a_set_that_changes_nothing():
    traced = trace_prompt(boot("llama", 2, 0), TOKENS, TraceSettings(most_nodes=3))
    same = [[Setting.of(node, node.value) for node in traced.graph.units]]
    for freeze in Freeze:
        found = set_units(traced.run, traced.sources.dictionary, same, freeze)
        assert (found[0] - traced.run.raw).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (Setting(7, 0, 0, 0.0), "no MLP in layer 7"),
        (Setting(0, 9, 0, 0.0), "position 9 is not one of the prompt's"),
        (Setting(0, 0, 999, 0.0), "neuron 999 is not one of MLP 0's"),
    ],
)
def test_a_unit_that_is_not_there(setting, says):
    traced = trace_prompt(boot("llama", 2, 0), TOKENS, TraceSettings(most_nodes=3))
    with pytest.raises(InputError, match=says):
        set_units(traced.run, traced.sources.dictionary, [[setting]], Freeze.nothing)


def test_mixtures_of_experts_are_refused():
    with pytest.raises(InputError, match="cannot be traced.*experts"):
        trace_prompt(boot("mixtral", 2, 0), TOKENS)
