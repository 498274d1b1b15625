"""What is said of a unit, against the model's own modules and plain sums over all prompts."""

import json

import numpy as np
import pytest
import torch
from families import boot

from acdc.dictionaries.corpus import TaskCorpus
from acdc.dictionaries.open import open_for
from acdc.errors import InputError
from acdc.explanation.examples import collect
from acdc.explanation.explain import explain_unit, feature_json
from acdc.explanation.patterns import pattern_shares
from acdc.explanation.tokens import input_tokens, output_tokens, ov_pairs, qk_pairs
from acdc.explanation.units import parse_unit
from acdc.interventions.hooks import _OUTPUTS
from acdc.model.feed_forward import unwrapped

TOKENS = torch.tensor([[3, 9, 1, 4, 22, 6], [8, 2, 5, 30, 7, 11]])


def hidden(model, layer, tokens):
    """What the MLP's output projection reads, by a hook of PyTorch."""
    mlp, seen = unwrapped(model.bridge.blocks[layer].mlp), []
    down = unwrapped(next(child for name in _OUTPUTS if (child := getattr(mlp, name, None)) is not None))
    handle = down.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    model.bridge(tokens)
    handle.remove()
    return seen[0].view(*tokens.shape, -1)


def patterns(model, layer, tokens):
    """By TransformerLens' own hook, [B, H, P, P]."""
    seen, name = [], f"blocks.{layer}.attn.hook_pattern"
    with torch.no_grad():
        model.bridge.run_with_hooks(tokens, fwd_hooks=[(name, lambda x, hook: seen.append(x.detach()))])
    return seen[0]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "native"])
def test_neurons_are_those_of_the_model(family):
    model = boot(family, 2, 0)
    expected = hidden(model, 1, TOKENS)
    for index in (0, 7):
        found = parse_unit(f"m1.n{index}", model).activations(TOKENS)
        assert torch.allclose(found, expected[..., index], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_heads_are_those_of_the_model(family):
    """The sum of what all heads write, and the bias, is what attention adds; patterns are the library's own."""
    from acdc.dictionaries.hooks import Hook, Site
    from acdc.dictionaries.run import sites_of

    model = boot(family, 2, 0)
    runs = [parse_unit(f"a1.h{head}", model).run(TOKENS) for head in range(4)]
    total = sum(written for _, written in runs)
    bias = model.components.attention_bias(1)
    hook = Hook(1, Site.attn_out)
    expected = sites_of(model, TOKENS, [hook])[hook]
    assert torch.allclose(total if bias is None else total + bias, expected, rtol=1e-9, atol=1e-9)
    own = patterns(model, 1, TOKENS)
    assert torch.allclose(torch.stack([pattern for pattern, _ in runs], 1), own, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def corpus(trio, induction):
    return TaskCorpus((induction,))


@pytest.fixture(scope="module")
def found(trio, corpus):
    return collect(parse_unit("m2.n5", trio), trio, corpus, 10**6, seed=3)


@pytest.fixture(scope="module")
def plain(trio, corpus):
    """Activations of the neuron at every prompt, one by one."""
    return [hidden(trio, 2, torch.tensor([prompt]))[0, 1:, 5].numpy() for prompt in corpus.prompts()]


def test_figures_are_those_of_all_tokens(found, plain):
    values = np.concatenate(plain)
    assert (found.prompts, found.tokens) == (len(plain), len(values))
    assert found.frequency == pytest.approx((values > 0).mean())
    assert (found.smallest, found.largest) == pytest.approx((values.min(), values.max()))
    assert sum(found.histogram) == (values > 0).sum()
    assert dict(found.quantiles)[0.9] == pytest.approx(np.quantile(values[values > 0], 0.9))


def test_examples_are_the_strongest_and_some_of_every_interval(found, plain, corpus):
    highest = np.array([one.max() for one in plain])
    top = found.groups[0]
    assert top.name == "Top Activations"
    strongest = [one.activations[one.at] for one in top.examples]
    assert np.allclose(strongest, np.sort(highest)[::-1][: len(strongest)])
    prompts = list(corpus.prompts())
    for one in top.examples:
        assert np.allclose(one.activations[1:], plain[prompts.index(one.tokens)])
    for group in found.groups[1:]:
        if group.name.startswith("Subsample"):
            place = int(group.name.split()[-1])
            for one in group.examples:
                share = one.activations[one.at] / highest.max()
                assert 1 - (place + 1) / 4 <= share <= 1 - place / 4 + 1e-12


def test_the_same_for_a_seed(trio, corpus, found):
    unit = parse_unit("m2.n5", trio)
    assert collect(unit, trio, corpus, 10**6, seed=3) == found
    assert collect(unit, trio, corpus, 10**6, seed=4).groups != found.groups


def test_a_limit_reads_less(trio, corpus):
    few = collect(parse_unit("m2.n5", trio), trio, corpus, 100)
    assert 100 <= few.tokens < 140


def test_tokens_by_weights(trio):
    """By NumPy, from the parameters of the library's own model."""
    unit = parse_unit("m3.n244", trio)
    block = trio.bridge.blocks[3].mlp.original_component
    wrote = unwrapped(block.c_proj).weight.detach().numpy()[244]
    read = unwrapped(block.c_fc).weight.detach().numpy()[:, 244]
    embed = unwrapped(trio.bridge.embed).weight.detach().numpy()
    final = trio.components.weights.final_norm.weight.detach().numpy()
    norm = trio.components.weights.layers[3].mlp_norm.weight.detach().numpy()
    logits = ((wrote - wrote.mean()) * final) @ embed.T
    raises, lowers = output_tokens(unit)
    names = [trio.tokenizer.decode([token]) for token in np.argsort(-(logits - logits.mean()), kind="stable")]
    assert [token for token, _ in raises] == names[:10] and [token for token, _ in lowers] == names[::-1][:10]
    assert raises[0][1] == pytest.approx((logits - logits.mean()).max())
    score = embed @ (read * norm - (read * norm).mean())
    excited, _ = input_tokens(unit)
    assert excited[0][1] == pytest.approx((score - score.mean()).max())


def test_pairs_of_heads(trio):
    unit, sources = parse_unit("a1.h3", trio), [5, 9, 40, 77]
    layer = trio.components.weights.layers[1]
    x = layer.attention_norm(unwrapped(trio.bridge.embed).weight[sources])
    final = trio.components.weights.final_norm.weight
    wrote = x @ layer.attention.v.weight[3] @ layer.attention.out.weight[3]
    logits = ((wrote - wrote.mean(1, keepdim=True)) * final) @ trio.components.weights.unembed
    logits = logits - logits.mean(1, keepdim=True)
    pairs = ov_pairs(unit, sources, 3)
    assert pairs[0][1] == pytest.approx(float(logits.max()))
    row, column = divmod(int(logits.argmax()), logits.shape[1])
    assert pairs[0][0] == f"{trio.tokenizer.decode([sources[row]])!r} -> {trio.tokenizer.decode([column])!r}"
    query = x @ layer.attention.q.weight[3] + layer.attention.q.bias[3]
    scores = query @ (x @ layer.attention.k.weight[3]).T * layer.attention.scale
    scores = scores - scores.mean(1, keepdim=True)
    assert qk_pairs(unit, sources, 1)[0][1] == pytest.approx(float(scores.max()))


def test_shares_of_attention(trio, induction):
    """Summed token by token over the library's own patterns."""
    rows = induction.rows[:6]
    corpus = TaskCorpus((type(induction)("few", rows, induction.metric),))
    unit, sums, count = parse_unit("a2.h1", trio), np.zeros(6), 0
    for prompt in corpus.prompts():
        pattern = patterns(trio, 2, torch.tensor([prompt]))[0, 1].numpy()
        for q in range(1, len(prompt)):
            count += 1
            sums[5] -= sum(p * np.log(p) for p in pattern[q] if p > 0)
            for k in range(q + 1):
                p = pattern[q, k]
                same = k > 0 and k < q and prompt[k] == prompt[q]
                after = k > 0 and prompt[k - 1] == prompt[q] and k - 1 < q
                sums[:5] += p * np.array([k == 0, k == q, k == q - 1 and k > 0, same, after])
    shares, common = pattern_shares(unit, trio, corpus, 10**6)
    found = [shares.first, shares.itself, shares.previous, shares.same, shares.after_same, shares.entropy]
    assert np.allclose(found, sums / count, rtol=1e-6, atol=1e-8)
    assert common[0] == 0


def test_the_form_of_front_ends(trio, corpus):
    made = feature_json(explain_unit(trio, "m2.n5", corpus, most_tokens=500), 5)
    json.dumps(made, allow_nan=False)
    assert {"index", "examples_quantiles", "top_logits", "bottom_logits", "act_min", "act_max"} <= made.keys()
    example = made["examples_quantiles"][0]["examples"][0]
    assert set(example) == {"tokens", "tokens_acts_list", "train_token_ind", "is_repeated_datapoint"}
    assert len(example["tokens"]) == len(example["tokens_acts_list"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("m9.n1", "the model has layers 0 to 3"),
        ("m1.n4000", "MLP 1 has neurons 0 to 255"),
        ("a1.h9", "layers have heads 0 to 3"),
        ("m1.f3", "give the dictionary that it is in with --dictionary"),
        ("m1", "is no unit: expected a neuron"),
    ],
)
def test_units_that_are_not_there(name, says, trio):
    with pytest.raises(InputError, match=says):
        parse_unit(name, trio)


def test_features(trio, corpus):
    """Of the bundled transcoders, by the encoder itself."""
    dictionary = open_for("trio-transcoders", trio)
    unit = parse_unit("m2.f7", trio, dictionary)
    prompt = torch.tensor([next(iter(corpus.prompts()))])
    from acdc.dictionaries.run import sites_of

    features = dictionary.of_layer(2)
    x = sites_of(trio, prompt, [features.reads])[features.reads]
    assert torch.equal(unit.activations(prompt), features.encode(x)[..., 7])
    assert torch.equal(unit.written, features.decoders[0].rows(slice(7, 8))[0])
    with pytest.raises(InputError, match="there are features 0 to 511 at mlp_in2"):
        parse_unit("m2.f512", trio, dictionary)
