"""What is traced: logits, units, the first token; and what is refused."""

import numpy as np
import pytest
import torch
from families import boot
from safetensors.torch import save_file

from acdc.artefacts.attribution.nodes import NodeKind
from acdc.attribution.logits import LogitChoice
from acdc.attribution.prompts import logit_token, prompt_tokens
from acdc.attribution.trace import TraceSettings, retrace, trace_prompt
from acdc.dictionaries.open import open_for
from acdc.dictionaries.units import TracedFeatures
from acdc.errors import InputError

TOKENS = [3, 9, 4, 17, 22]


@pytest.fixture(scope="module")
def gpt2():
    return boot("gpt2", 3, 1)


@pytest.fixture(scope="module")
def llama():
    return boot("llama", 3, 1)


def logits_of(model, **choice):
    return trace_prompt(model, TOKENS, TraceSettings(LogitChoice(**choice), most_nodes=5)).graph.logits


def test_likeliest_logits(llama):
    with torch.no_grad():
        probabilities = llama.bridge(torch.tensor([TOKENS]))[0, -1].double().softmax(-1)
    order = probabilities.argsort(descending=True)
    few = logits_of(llama, share=float(probabilities[order[:2]].sum()) - 1e-6)
    assert [node.index for node in few] == order[:2].tolist()
    assert [node.weight for node in few] == pytest.approx(probabilities[order[:2]].tolist(), rel=1e-5)
    assert len(logits_of(llama, share=1.0, most=7)) == 7


def test_given_logits_and_a_difference(llama):
    one, other = logits_of(llama, tokens=(5, 8))
    (difference,) = logits_of(llama, tokens=(5, 8), difference=True)
    assert difference.id == "logit:5-8" and difference.weight == 1
    assert difference.value == pytest.approx(one.value - other.value)


def test_a_difference_is_explained_by_the_difference_of_rows(llama):
    both = trace_prompt(llama, TOKENS, TraceSettings(LogitChoice((5, 8)), most_nodes=None)).graph
    one = trace_prompt(llama, TOKENS, TraceSettings(LogitChoice((5, 8), True), most_nodes=None)).graph
    assert np.allclose(one.weights[-1], both.weights[-2] - both.weights[-1], atol=1e-12)


def test_units_of_most_influence_are_visited(gpt2):
    """In the order of the whole graph's influence, but for what ties or nearly so."""
    every = trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=None)).graph
    few = trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=100)).graph
    order = np.argsort(-every.influence[: len(every.units)])
    best = {every.units[place].id for place in order[:100]}
    assert len(few.units) == 100
    assert len(best & {node.id for node in few.units}) > 80


def test_kept_units_have_the_weights_of_the_whole_graph(gpt2):
    every = trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=None)).graph
    few = trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=40)).graph
    for one, column in ((every, every.index), (few, few.index)):
        assert one.weights.shape == (len(one.targets), len(one.sources)) and column
    rows = [[node.id for node in every.targets].index(node.id) for node in few.targets]
    shared = [node.id for node in few.sources if node.kind is not NodeKind.REST]
    ours, theirs = (one.weights[:, [one.index[name] for name in shared]] for one in (few, every))
    assert np.allclose(ours, theirs[rows], atol=1e-12)


def test_mlps_at_the_first_token_are_one_node(gpt2):
    one = trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=None)).graph
    every = trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=None, constant_first=False)).graph
    assert "first" in one.index and "first" not in every.index
    assert {node.position for node in one.units} == {1, 2, 3, 4}
    first = every.mask(NodeKind.NEURON) & np.array([node.position == 0 for node in every.nodes])
    total = every.weights[-1][first[: len(every.sources)]].sum()
    assert one.weights[-1, one.index["first"]] == pytest.approx(total)


def test_a_prompt_of_one_token(gpt2):
    graph = trace_prompt(gpt2, [3], TraceSettings(most_nodes=None)).graph
    assert np.allclose(graph.row_sums(), [node.value for node in graph.targets], rtol=1e-10)
    assert graph.units and "first" not in graph.index


def test_the_same_again(gpt2):
    one, other = (trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=50)).graph for _ in range(2))
    assert one.nodes == other.nodes and (one.weights == other.weights).all()


def test_relevance_is_shared_out_completely(llama):
    """What leaves get of a logit's value along all paths is that value."""
    graph = trace_prompt(llama, TOKENS, TraceSettings(most_nodes=None)).graph
    leaves = ~np.array([node.is_target for node in graph.nodes])
    assert graph.relevance(0)[leaves].sum() == pytest.approx(graph.logits[0].value, rel=1e-9)


def test_retracing_gives_the_sources_of_a_graph(gpt2, llama):
    traced = trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=20))
    again = retrace(gpt2, traced.graph)
    for one, other in zip(traced.sources.rest, again.sources.rest, strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    with pytest.raises(InputError, match="of another model"):
        retrace(llama, traced.graph)


def test_prompts(trio):
    ids = prompt_tokens(trio, "Mary and John")
    assert trio.tokenizer.decode(ids[-3:]).replace(" ", "") == "MaryandJohn"
    assert prompt_tokens(trio, [1, 2]) == (1, 2)
    assert logit_token(trio, "Mary and", "John") == ids[-1]
    assert logit_token(trio, [1], 7) == 7
    with pytest.raises(InputError, match="--logit 'Mary John' is not one token"):
        logit_token(trio, "Mary and", "Mary John")


def test_prompts_of_a_model_without_a_tokenizer(gpt2):
    assert prompt_tokens(gpt2, "3, 9 4") == (3, 9, 4)
    assert logit_token(gpt2, "3", "12") == 12
    with pytest.raises(InputError, match="has no tokenizer: give the prompt as token ids, not 'the'"):
        prompt_tokens(gpt2, "the cat")


@pytest.mark.parametrize(
    ("tokens", "settings", "says"),
    [
        ([], {}, "the prompt has no tokens"),
        ([3] * 40, {}, "the prompt has 40 tokens, and the model takes 32"),
        ([3, 99], {}, "token id 99 is not one of the model's: 0 to 39"),
        (TOKENS, {"most_nodes": 0}, "--max-nodes 0 must be at least 1"),
        (TOKENS, {"node_share": 1.5}, "--node-share 1.5 must be above 0 and at most 1"),
        (TOKENS, {"edge_share": 0.0}, "--edge-share 0 must be above 0"),
        (TOKENS, {"logits": LogitChoice(share=0)}, "share 0 of the probability"),
        (TOKENS, {"logits": LogitChoice(most=0)}, "number of logits 0 must be at least 1"),
        (TOKENS, {"logits": LogitChoice((99,))}, "token id 99 is not one of the model's outputs: 0 to 39"),
        (TOKENS, {"logits": LogitChoice((1, 1))}, "given twice"),
        (TOKENS, {"logits": LogitChoice((1, 2, 3), True)}, "a difference is that of two logits, and 3 tokens"),
    ],
)
def test_what_cannot_be_traced(gpt2, tokens, settings, says):
    with pytest.raises(InputError, match=says):
        trace_prompt(gpt2, tokens, TraceSettings(**settings))


def test_coarse_numbers_are_refused():
    with pytest.raises(InputError, match="use --dtype float32 or float64, not bfloat16"):
        trace_prompt(boot("llama", 2, 0, "bfloat16"), TOKENS)


def test_an_activation_that_mixes_units_is_refused(tmp_path):
    from acdc.attribution.neurons import Neurons
    from acdc.model.feed_forward import FeedForward, Linear
    from acdc.model.layers import Layer

    linear = Linear(torch.ones(3, 3), None)
    mlp = FeedForward(linear, None, linear, lambda x: x * x.softmax(-1))
    layer = Layer(None, None, None, None, mlp, 0, None)

    class Weights:
        layers = (layer,)

    with pytest.raises(InputError, match="mixes the units"):
        Neurons(Weights())


def transcoder(folder, layer, width=16, **changes):
    folder.mkdir(exist_ok=True)
    tensors = {
        "W_enc": torch.zeros(6, width),
        "W_dec": torch.zeros(6, width),
        "b_enc": torch.zeros(6),
        "b_dec": torch.zeros(width),
    }
    tensors = {name: value for name, value in (tensors | changes).items() if value is not None}
    save_file(tensors, folder / f"layer_{layer}.safetensors")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"W_dec": None}, "layer_1.safetensors lacks 'W_dec'"),
        ({"W_dec": torch.zeros(16, 6)}, r"W_dec has shape \[16, 6\], not \[6, 16\]"),
        ({"W_gate": torch.ones(4)}, "holds 'W_gate', which is not read"),
        ({"b_enc": torch.full((6,), torch.nan)}, "b_enc holds numbers that are not finite"),
    ],
)
def test_damaged_dictionaries(gpt2, tmp_path, changes, says):
    for layer in range(3):
        transcoder(tmp_path / "d", layer, **(changes if layer == 1 else {}))
    with pytest.raises(InputError, match=says):
        TracedFeatures(open_for(tmp_path / "d", gpt2), gpt2)


def test_dictionaries_that_do_not_fit(gpt2, tmp_path):
    for says in ("is not a folder", "is in no known format", "lacks layer_0", "has 4 layers, and the model 3"):
        with pytest.raises(InputError, match=says):
            TracedFeatures(open_for(tmp_path / "d", gpt2), gpt2)
        if says.startswith("is not"):
            (tmp_path / "d").mkdir()
        elif says.startswith("is in"):
            transcoder(tmp_path / "d", 3)
        else:
            for layer in range(4):
                transcoder(tmp_path / "d", layer)


def test_jump_relu(gpt2, tmp_path):
    """Features below their threshold are not active; the threshold is of the activation, not of what is above it."""
    generator = torch.Generator().manual_seed(0)
    for layer in range(3):
        weights = {name: torch.randn(6, 16, generator=generator) for name in ("W_enc", "W_dec")}
        transcoder(tmp_path / "d", layer, **weights, **{"activation_function.threshold": torch.full((6,), 2.0)})
    dictionary = TracedFeatures(open_for(tmp_path / "d", gpt2), gpt2)
    graph = trace_prompt(gpt2, TOKENS, TraceSettings(most_nodes=None), dictionary).graph
    assert min(node.value for node in graph.units) > 2
    assert np.allclose(graph.row_sums(), [node.value for node in graph.targets], rtol=1e-10)
