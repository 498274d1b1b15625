"""What a graph says of a neuron along all paths: equal to relevance by autograd, and compared with exact ablation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from families import boot

from acdc.attribution.prompts import prompt_tokens
from acdc.attribution.trace import TraceSettings, trace_prompt
from acdc.attribution.verification import spearman, unit_effects, verify_graph
from acdc.errors import InputError
from acdc.execution.executor import Executor, SlotInputs
from acdc.model.functional import FunctionalComponents
from acdc.model.relevance import relevance

TOKENS = [3, 9, 4, 17, 22]


class PatternsHeld(FunctionalComponents):
    def patterns(self, *given):
        return super().patterns(*given).detach()


def hidden_scores(model, components, tokens, logit):
    """Activation times gradient of a logit less the mean, for every neuron: by layer, [P, F]."""
    hidden = []

    def recorded(out):
        def write(x):
            x = x + torch.zeros_like(x).requires_grad_()
            x.retain_grad()
            hidden.append(x)
            return out(x)

        return write

    layers = [
        replace(layer, mlp=replace(layer.mlp, out=recorded(layer.mlp.out))) for layer in components.weights.layers
    ]
    kind = PatternsHeld if isinstance(components, PatternsHeld) else FunctionalComponents
    executor = Executor(kind(replace(components.weights, layers=tuple(layers)), model.anatomy), model.graph)
    embedded = executor.embed(torch.tensor([tokens])).detach().requires_grad_()
    logits = executor.run_embedded(embedded, torch.tensor([len(tokens) - 1]), SlotInputs()).logits[0]
    (logits[logit] - logits.mean()).backward()
    return [(x.grad * x).detach().view(len(tokens), -1) for x in hidden]


def of_units(graph, scores):
    return np.array([float(scores[node.layer][node.position, node.index]) for node in graph.units])


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "gpt-neox-parallel"])
def test_relevance_equals_that_of_autograd(name):
    """Of components that pass back relevance, with attention held too."""
    model = boot(name, 3, 1)
    graph = trace_prompt(model, TOKENS, TraceSettings(most_nodes=None, constant_first=False)).graph
    components = PatternsHeld(relevance(model.components).weights, model.anatomy)
    expected = of_units(graph, hidden_scores(model, components, TOKENS, graph.logits[0].index))
    found = graph.relevance(0)[: len(graph.units)]
    assert np.allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.thorough
def test_scores_of_neurons_against_exact_ablation(stories):
    """A graph tells small from large; single neurons' ablation is told better by the plain gradient, as it also goes
    through norms and attention, which a graph holds."""
    tokens = prompt_tokens(stories, "Once upon a time, there was a little girl named")[-8:]
    traced = trace_prompt(stories, tokens, TraceSettings(most_nodes=None))
    graph = traced.graph
    drawn = np.random.default_rng(0).permutation(len(graph.units))[:300]
    exact = np.array([e.nothing_held for e in unit_effects(traced, [graph.units[place] for place in drawn])])
    by_graph = graph.relevance(0)[drawn]
    by_gradient = of_units(graph, hidden_scores(stories, stories.components, tokens, graph.logits[0].index))[drawn]
    assert spearman(np.abs(by_graph), np.abs(exact)) > 0.75
    assert spearman(by_graph, exact) > 0.1
    assert spearman(by_gradient, exact) > 0.9


def test_spearman():
    assert spearman([1, 2, 3], [5, 6, 9]) == pytest.approx(1)
    assert spearman([1, 2, 3], [5, 6, -9]) == pytest.approx(-0.5)
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(np.corrcoef([1.5, 1.5, 3], [1, 2, 3])[0, 1])
    assert spearman([1], [2]) is None
    assert spearman([1, 1], [2, 3]) is None


@pytest.fixture(scope="module")
def verified():
    traced = trace_prompt(boot("llama", 3, 1), TOKENS, TraceSettings(most_nodes=60, node_share=0.95))
    return traced, verify_graph(traced, traced.graph.prune())


def test_direct_effects_are_those_of_the_graph(verified):
    _, found = verified
    assert len(found.effects) > 10
    assert found.largest_error < 1e-12


def test_effects_equal_single_settings(verified):
    """And what is set to zero at the last layer has the same effect by all measures but the norm's."""
    traced, found = verified
    last = [effect for effect in found.effects if effect.id.startswith("m2.")]
    assert last and all(effect.direct == pytest.approx(effect.total) for effect in last)
    assert all(effect.attention_held == pytest.approx(effect.nothing_held) for effect in last)


def test_kept_nodes_alone(verified):
    traced, found = verified
    for one in found.kept_alone:
        assert one.full == pytest.approx(traced.graph.logits[0].value)
        assert one.share(one.full) == 1 and one.share(one.none) == 0
        assert one.count == sum(node.is_unit for node in traced.graph.kept(traced.graph.prune()))
        assert len({*one.random_units, *one.random_without, one.units, one.without, one.graph}) > 10


def test_keeping_all_or_nothing_changes_all_or_nothing():
    traced = trace_prompt(boot("llama", 2, 0), TOKENS, TraceSettings(most_nodes=None, node_share=1.0, edge_share=1.0))
    for one in verify_graph(traced, traced.graph.prune()).kept_alone:
        assert one.units == pytest.approx(one.full) and one.without == pytest.approx(one.none)


def test_zeros_are_zeros():
    """With all neurons at zero but those of the first token, a model without biases has its attention alone."""
    model = boot("llama", 2, 0)
    traced = trace_prompt(model, TOKENS, TraceSettings(most_nodes=5, constant_first=False))
    (_, zero) = verify_graph(traced, traced.graph.prune()).kept_alone
    hooks = [
        layer.mlp.register_forward_hook(lambda module, given, out: torch.zeros_like(out))
        for layer in model.bridge.original_model.model.layers
    ]
    logits = model.bridge(torch.tensor([TOKENS]))[0, -1].double()
    for hook in hooks:
        hook.remove()
    expected = float(logits[traced.graph.logits[0].index] - logits.mean())
    assert zero.none == pytest.approx(expected, rel=1e-5)


def test_others_at_their_corrupted_values():
    """With every MLP swapped for what it writes on the corrupted prompt: raw hooks; with all kept, the model itself."""
    model, other = boot("llama", 2, 0), [3, 8, 4, 11, 22]
    settings = TraceSettings(most_nodes=5, constant_first=False)
    traced = trace_prompt(model, TOKENS, settings)
    *usual, found = verify_graph(traced, traced.graph.prune(), corrupted=other).kept_alone
    assert [one.others for one in usual] == ["mean", "zero"] and found.others == "corrupted"
    mlps = [layer.mlp for layer in model.bridge.original_model.model.layers]
    wrote = []
    hooks = [mlp.register_forward_hook(lambda module, given, out: wrote.append(out)) for mlp in mlps]
    model.bridge(torch.tensor([other]))
    for hook in hooks:
        hook.remove()
    swaps = dict(zip(mlps, wrote, strict=True))
    hooks = [mlp.register_forward_hook(lambda module, given, out: swaps[module]) for mlp in mlps]
    logits = model.bridge(torch.tensor([TOKENS]))[0, -1].double()
    for hook in hooks:
        hook.remove()
    assert found.none == pytest.approx(float(logits[traced.graph.logits[0].index] - logits.mean()), rel=1e-5)
    assert found.none != pytest.approx(usual[1].none) and found.full == usual[0].full


@pytest.mark.parametrize(
    ("other", "says"), [([3, 8], "2 tokens and the prompt 5"), ([3, 8, 4, 11, 999], "token id 999")]
)
def test_a_corrupted_prompt_that_does_not_fit(verified, other, says):
    traced, _ = verified
    with pytest.raises(InputError, match=says):
        verify_graph(traced, traced.graph.prune(), corrupted=other)


def test_the_same_verification_again(verified):
    traced, found = verified
    assert verify_graph(traced, traced.graph.prune()) == found
    assert verify_graph(traced, traced.graph.prune(), seed=1) != found
