"""Graphs over transcoders equal those of circuit-tracer: weights, activations, pruning, scores, interventions, JSON."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from acdc.artefacts.attribution.front_end import to_front_end
from acdc.attribution.interventions import Freeze, Setting, set_units
from acdc.attribution.trace import TraceSettings, trace_prompt
from acdc.dictionaries.open import open_for
from acdc.dictionaries.units import TracedFeatures
from acdc.interventions.bound import Binder, Prompts
from acdc.interventions.held import held_logits
from acdc.interventions.hooks import logits_under
from acdc.interventions.intervention import parse_all
from acdc.model.load import load_model

SCORES = {"plt": (0.6248, 0.8673), "plt_skip": (0.5648, 0.8320)}
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def model(shared):
    return load_model(str(shared / "cases/attribution_graphs"), dtype="float64")


@pytest.fixture(scope="module", params=SCORES)
def case(request, shared, model):
    """(name, what circuit-tracer gave, our trace)."""
    folder, name = shared / "cases/attribution_graphs", request.param
    reference = load_file(folder / f"{name}_graph.safetensors")
    reference |= load_file(folder / f"{name}_intervention.safetensors")
    dictionary = TracedFeatures(open_for(folder / f"{name}_transcoders", model), model)
    settings = TraceSettings(most_nodes=None)
    return name, reference, trace_prompt(model, reference["input_tokens"].tolist(), settings, dictionary)


def test_rows_sum_to_activations(case):
    graph = case[2].graph
    assert np.allclose(graph.row_sums(), [node.value for node in graph.targets], rtol=1e-10, atol=1e-12)


def test_nodes_and_weights(case):
    _, reference, traced = case
    graph = traced.graph.without_constants()
    assert [[n.layer, n.position, n.index] for n in graph.units] == reference["active_features"].tolist()
    assert np.allclose([n.value for n in graph.units], reference["activation_values"], **CLOSE)
    assert [n.index for n in graph.logits] == reference["logit_ids"].tolist()
    assert np.allclose([n.weight for n in graph.logits], reference["logit_probabilities"], **CLOSE)
    assert np.allclose(graph.adjacency, reference["adjacency"], **CLOSE)


def test_pruning_and_scores(case):
    name, reference, traced = case
    graph = traced.graph.without_constants()
    pruning = graph.prune()
    assert (pruning.nodes == reference["node_mask"].bool().numpy()).all()
    assert (pruning.edges == reference["edge_mask"].bool().numpy()).all()
    assert np.allclose(pruning.rank, reference["cumulative"], **CLOSE)
    scores = graph.scores()
    assert (round(scores.replacement, 4), round(scores.completeness, 4)) == SCORES[name]


def test_interventions(case):
    _, reference, traced = case
    layer, position, unit = reference["feature"].tolist()
    value = next(n.value for n in traced.graph.units if (n.layer, n.position, n.index) == (layer, position, unit))
    for freeze, factor, name in (
        (Freeze.everything, 0.0, "zero_direct"),
        (Freeze.attention, 2.0, "double_iterative"),
    ):
        setting = Setting(layer, position, unit, factor * value)
        found = set_units(traced.run, traced.sources.dictionary, [[setting]], freeze)[0]
        assert torch.allclose(found, reference[name].double(), **CLOSE)
    assert torch.allclose(traced.run.raw, reference["base"].double(), **CLOSE)


def test_features_as_units_of_interventions(case):
    """Direct and with attention held as circuit-tracer has them; with nothing held as by our own runs."""
    _, reference, traced = case
    layer, position, unit = reference["feature"].tolist()
    model, run, dictionary = traced.run.model, traced.run, traced.sources.dictionary
    value = next(n.value for n in traced.graph.units if (n.layer, n.position, n.index) == (layer, position, unit))

    def bound(**given):
        return Binder(model, parse_all(**given), dictionary=dictionary).bind(Prompts.single(run.length))

    name = f"m{layer}.f{unit}@{position}"
    direct = held_logits(run, bound(set=f"{name}=0"), Freeze.everything)
    assert torch.allclose(direct, reference["zero_direct"].double(), **CLOSE)
    doubled = bound(scale=f"{name}=2")
    assert torch.allclose(held_logits(run, doubled, Freeze.attention), reference["double_iterative"].double(), **CLOSE)
    setting = [[Setting(layer, position, unit, 2 * value)]]
    free = set_units(run, dictionary, setting, Freeze.nothing)[0]
    found = logits_under(model, doubled, run.tokens[None])[0, -1]
    assert torch.allclose(found - found.mean(), free - free.mean(), rtol=0, atol=1e-9)


def test_json_of_front_ends(case, shared):
    name, _, traced = case
    if name != "plt":
        pytest.skip("there is no JSON of the others")
    theirs = json.loads((shared / "cases/attribution_graphs/json/plt.json").read_text())
    graph = traced.graph.without_constants()
    ours = to_front_end(graph, graph.prune(), "plt")
    assert ours["qParams"] == theirs["qParams"]
    assert {**ours["metadata"], **theirs["metadata"]}.keys() == ours["metadata"].keys()
    own, other = ({(n["node_id"], n["feature_type"]): n for n in one["nodes"]} for one in (ours, theirs))
    assert own.keys() == other.keys()
    for key, node in other.items():
        for field, value in node.items():
            if isinstance(value, float):
                assert own[key][field] == pytest.approx(value, abs=1e-5)
            elif field != "clerp":  # tokens' texts: this model has no tokenizer
                assert own[key][field] == value, (key, field)
    own, other = ({(link["source"], link["target"]): link["weight"] for link in one["links"]} for one in (ours, theirs))
    assert own.keys() == other.keys()
    assert all(own[key] == pytest.approx(weight, abs=1e-5) for key, weight in other.items())


def test_a_limit_leaves_the_rest_in_errors(case):
    """Rows still sum to their targets, and those that stay have the weights that they had."""
    _, reference, traced = case
    few = trace_prompt(
        traced.run.model, traced.run.tokens.tolist(), TraceSettings(most_nodes=20), traced.sources.dictionary
    ).graph
    assert len(few.units) == 20
    assert np.allclose(few.row_sums(), [node.value for node in few.targets], rtol=1e-10, atol=1e-12)
    every = traced.graph
    rows, columns = ([every.index[n.id] for n in few.units] for _ in range(2))
    assert np.allclose(few.weights[:20, :20], every.weights[np.ix_(rows, columns)], rtol=0, atol=1e-12)
    best = set(np.argsort(-every.influence[: len(every.units)])[:8])
    assert {every.nodes[place].id for place in best} <= {n.id for n in few.units}
