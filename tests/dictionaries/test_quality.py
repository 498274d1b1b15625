"""Figures of quality against a plain reading of the model's own hooks; what does not reconstruct is refused with the
cause; sets that are larger than memory are read by rows and stay within it."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import EACH, boot, random_rows
from safetensors.torch import save_file

from acdc.attribution.trace import TraceSettings, trace_prompt
from acdc.attribution.verification import verify_graph
from acdc.dictionaries.dictionary import Activation, ActivationKind, Dictionary, Features, Normalisation
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.open import open_for
from acdc.dictionaries.quality import check_reconstructs, measure_quality
from acdc.dictionaries.run import SiteRun, sites_of
from acdc.dictionaries.tensors import Held, Stored, TensorFile
from acdc.dictionaries.units import TracedFeatures
from acdc.errors import InputError

FAMILIES = [name for name in EACH if name != "mixtral"]
# Hugging Face's RMS norms compute in float32, whatever the type of the model.
COARSE = {"rtol": 1e-5, "atol": 3e-4}
FINE = {"rtol": 1e-10, "atol": 1e-10}
TOKENS = torch.tensor([[3, 9, 1, 4, 22, 6], [8, 2, 5, 30, 7, 11]])


def close(model):
    rms = [not layer.mlp_norm.centred for layer in model.components.weights.layers if layer.mlp_norm]
    return COARSE if any(rms) and model.family != "native" else FINE


def bridge_cache(model, tokens, names):
    """What TransformerLens' own hooks give."""
    found = {}
    hooks = [(name, lambda x, hook, name=name: found.__setitem__(name, x.detach())) for name in names]
    with torch.no_grad():
        logits = model.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    return found, logits


@pytest.mark.parametrize("family", FAMILIES)
def test_sites_equal_the_model_s_own_hooks(family):
    model = boot(family, 2, 0)
    sites = (Site.resid_pre, Site.resid_post, Site.attn_out, Site.mlp_added, Site.mlp_normed)
    if model.anatomy.parallel:
        sites = sites[:-1]
    hooks = [Hook(layer, site) for layer in range(2) for site in sites]
    names = {hook.lens_name: hook for hook in hooks if hook.site is not Site.mlp_normed}
    expected, logits = bridge_cache(model, TOKENS, names)
    run = SiteRun(model, wanted=hooks)
    assert torch.allclose(run.logits(TOKENS), logits, **close(model))
    for name, values in expected.items():
        assert torch.allclose(run.found[names[name]], values, **close(model)), name


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "gpt-neox-parallel"])
def test_mlp_sites(family):
    """What enters the MLP's module, and what leaves it, by hooks of PyTorch."""
    model, seen = boot(family, 2, 0), {}
    module = model.bridge.blocks[1].mlp.original_component
    handle = module.register_forward_hook(lambda m, given, out: seen.update(into=given[0], out=out))
    model.bridge(TOKENS)
    handle.remove()
    hooks = [Hook(1, site) for site in (Site.mlp_in, Site.mlp_out, Site.z)]
    found = sites_of(model, TOKENS, hooks)
    assert torch.allclose(found[hooks[0]], seen["into"].view_as(found[hooks[0]]), **close(model))
    assert torch.allclose(found[hooks[1]], seen["out"].view_as(found[hooks[1]]), **close(model))
    attention = model.components.weights.layers[1].attention.out.weight.flatten(0, 1)
    assert found[hooks[2]].shape[-1] == len(attention)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_an_edit_changes_all_that_follows(family):
    model = boot(family, 2, 0)
    hook = Hook(0, Site.mlp_added)
    found = SiteRun(model, {hook: lambda x: x * 0}).logits(TOKENS)
    block = model.bridge.blocks[0]
    module = getattr(block, "ln2_post", None) or block.mlp
    handle = module.register_forward_hook(lambda m, given, out: out * 0)
    expected = model.bridge(TOKENS)
    handle.remove()
    assert torch.allclose(found, expected, **close(model))


def identity_sae(hook, width=16, **changes):
    """Features x and -x: what they reconstruct is x itself."""
    both = torch.cat([torch.eye(width), -torch.eye(width)]).double()
    zero = torch.zeros(width, dtype=torch.float64)
    usual = {
        "reads": hook, "writes": (hook,), "encoder": Held(both), "bias": torch.zeros(2 * width).double(),
        "decoders": (Held(both),), "constant": zero,
    }  # fmt: skip
    return Features(**(usual | changes))


def as_dictionary(*sets):
    return Dictionary("d", "by hand", sets, "0" * 64)


PROMPTS = [row.clean for row in random_rows([6, 9, 9, 4, 12, 5, 8, 7]).rows]


def test_figures():
    """Unexplained variance, L0 and dead features, of features of which some are taken away."""
    model, hook = boot("gpt2", 2, 0), Hook(1, Site.resid_pre)
    whole = identity_sae(hook)
    assert measure_quality(as_dictionary(whole), model, PROMPTS)[0].unexplained == pytest.approx(0, abs=1e-20)
    encoder = whole.encoder.values.clone()
    encoder[:3] = 0.0
    found = measure_quality(as_dictionary(identity_sae(hook, encoder=Held(encoder))), model, PROMPTS)[0]
    x = [sites_of(model, torch.tensor([prompt]), [hook])[hook][0, 1:] for prompt in PROMPTS]
    x = torch.cat(x).numpy()
    missing = np.maximum(x[:, :3], 0.0)
    expected = (missing**2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert found.unexplained == pytest.approx(expected, rel=1e-10)
    active = np.concatenate([x, -x], 1) > 0
    active[:, :3] = False
    assert found.l0 == pytest.approx(active.sum() / len(x)) and found.dead == (active.sum(0) == 0).sum()


def turned(features):
    """Its square encoder the wrong way round."""
    return Held(features.values.T.contiguous())


def test_a_transposed_square_encoder_is_named():
    model, hook = boot("gpt2", 2, 0), Hook(1, Site.resid_pre)
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))[0]
    bias = torch.full((16,), 1e3).double()
    right = identity_sae(hook, encoder=Held(turn), decoders=(Held(turn),), bias=bias, constant=-(bias @ turn))
    assert check_reconstructs(as_dictionary(right), model, PROMPTS)[0].unexplained < 1e-8
    wrong = identity_sae(
        hook, encoder=turned(right.encoder), decoders=right.decoders, bias=bias, constant=right.constant
    )
    with pytest.raises(InputError, match="its encoder is stored transposed: so read, 0.0% is unexplained"):
        check_reconstructs(as_dictionary(wrong), model, PROMPTS)


def points_at(model, hook):
    """What a model has at a hook on all prompts, each vector once."""
    values = torch.cat([sites_of(model, torch.tensor([prompt]), [hook])[hook][0, 1:] for prompt in PROMPTS])
    kept = [n for n, x in enumerate(values) if n == 0 or (values[:n] - x).norm(dim=1).min() > 1e-6]
    return values[kept]


def test_a_normalised_input_is_named():
    """Features of single directions of norm sqrt(d), active where nearly nothing but their direction is read."""
    model, hook = boot("gpt2", 2, 0), Hook(1, Site.resid_pre)
    x = points_at(model, hook)
    unit = x / x.norm(dim=1, keepdim=True) * 4.0  # norms of sqrt(16)
    jump = Activation(ActivationKind.jumprelu, threshold=torch.full((len(x),), 0.9999).double())
    zero = torch.zeros(16).double()
    right = Features(
        hook, (hook,), Held(unit / 16.0), torch.zeros(len(x)).double(), (Held(unit),), zero, jump,
        normalisation=Normalisation.constant_norm,
    )  # fmt: skip
    assert check_reconstructs(as_dictionary(right), model, PROMPTS)[0].unexplained < 0.01
    with pytest.raises(InputError, match=r"trained on a normalised input \(constant_norm\)"):
        check_reconstructs(as_dictionary(replace(right, normalisation=Normalisation.none)), model, PROMPTS)


def test_another_place_is_named():
    """A feature for each point, of which the one of the nearest is active, of another place than is said."""
    model, large = boot("gpt2", 2, 0), 1e9
    near, hook = Hook(1, Site.resid_mid), Hook(1, Site.resid_pre)
    x = points_at(model, near)
    one = Activation(ActivationKind.topk, k=1)
    bias, zero = large - x.square().sum(1) / 2, torch.zeros(16).double()
    right = Features(near, (near,), Held(x), bias, (Held(x / large),), zero, one)
    found = check_reconstructs(as_dictionary(right), model, PROMPTS)[0]
    assert found.unexplained < 1e-6 and found.l0 == 1
    with pytest.raises(InputError, match="it reads another place, resid_mid1: so read, 0.0% is unexplained"):
        check_reconstructs(as_dictionary(replace(right, reads=hook, writes=(hook,))), model, PROMPTS)


def test_what_does_not_fit_the_model(tmp_path):
    model = boot("gpt2", 2, 0)
    save_file(
        {"W_enc": torch.zeros(6, 8), "W_dec": torch.zeros(6, 8), "b_enc": torch.zeros(6), "b_dec": torch.zeros(8)},
        tmp_path / "layer_0.safetensors",
    )
    with pytest.raises(InputError, match="has features of 8 numbers at mlp_in0, and model 'gpt2' has 16 there"):
        open_for(tmp_path, model)


def large_set(folder, size, layers=2, width=16, k=3):
    """Random transcoders, of which few features are active."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir()
    for layer in range(layers):
        tensors = {name: torch.randn(size, width, generator=generator) for name in ("W_enc", "W_dec")}
        tensors |= {"b_enc": torch.zeros(size), "b_dec": torch.zeros(width), "k": torch.tensor(k)}
        save_file(tensors, folder / f"layer_{layer}.safetensors")


def test_a_set_larger_than_memory(tmp_path, monkeypatch):
    """Tensors read from files are counted for as long as they live: a trace of a set ten times as large as the limit
    stays within it, and gives what the whole set in memory gives."""
    model, live, peak = boot("gpt2", 2, 0), [0], [0]
    large_set(tmp_path / "d", 4000)

    def counted(plain):
        def read(self, *where):
            found = plain(self, *where)
            live[0] += found.nbytes
            peak[0] = max(peak[0], live[0])
            weakref.finalize(found, lambda size=found.nbytes: live.__setitem__(0, live[0] - size))
            return found

        return read

    tokens, settings = list(PROMPTS[4]), TraceSettings(most_nodes=20)
    whole = TracedFeatures(open_for(tmp_path / "d", model), model)
    expected = trace_prompt(model, tokens, settings, whole)
    memory = 2 * 2 * 4000 * 16 * 8 // 10
    dictionary = open_for(tmp_path / "d", model, memory=memory)
    held = sum(one.bias.nbytes + one.constant.nbytes for one in dictionary.sets)
    monkeypatch.setattr(TensorFile, "read", counted(TensorFile.read))
    monkeypatch.setattr(Stored, "rows", counted(Stored.rows))
    by_rows = TracedFeatures(dictionary, model)
    traced = trace_prompt(model, tokens, settings, by_rows)
    verify_graph(traced, traced.graph.prune(), 0)
    assert peak[0] > 0 and peak[0] + held <= memory
    assert [node.id for node in traced.graph.nodes] == [node.id for node in expected.graph.nodes]
    assert np.allclose(traced.graph.weights, expected.graph.weights, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_features_that_read_before_the_norm_s_weight(family, tmp_path):
    """Their graph's rows sum to their values, and the features are those that the plain input has."""
    model = boot(family, 2, 0)
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "config.yaml").write_text(
        "feature_input_hook: ln2.hook_normalized\nfeature_output_hook: hook_mlp_out\n"
    )
    for layer in range(2):
        tensors = {name: torch.randn(12, 16, generator=generator) for name in ("W_enc", "W_dec")}
        tensors |= {"b_enc": torch.randn(12), "b_dec": torch.randn(16), "W_skip": torch.randn(16, 16)}
        save_file(tensors, tmp_path / f"layer_{layer}.safetensors")
    dictionary = open_for(tmp_path, model)
    prompt = PROMPTS[2]
    settings = TraceSettings(most_nodes=None, constant_first=False)
    graph = trace_prompt(model, prompt, settings, TracedFeatures(dictionary, model)).graph
    assert np.allclose(graph.row_sums(), [node.value for node in graph.targets], rtol=1e-9, atol=1e-9)
    values = sites_of(model, torch.tensor([prompt]), dictionary.hooks)
    for one in dictionary.sets:
        plain = one.encode(values[one.reads])[0]
        found = torch.zeros_like(plain)
        for node in graph.units:
            if node.layer == one.reads.layer:
                found[node.position, node.index] = node.value
        assert torch.allclose(found, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "gpt-neox-parallel"])
def test_cross_layer_graphs(family, tmp_path):
    """Rows sum to their values; setting a feature to zero, all else held, changes a logit by the graph's weight."""
    from acdc.attribution.interventions import Freeze, Setting, set_units

    model, layers = boot(family, 3, 0), 3
    generator = torch.Generator().manual_seed(1)
    for layer in range(layers):
        tensors = {
            f"W_enc_{layer}": torch.randn(10, 16, generator=generator), f"b_enc_{layer}": torch.zeros(10),
            f"b_dec_{layer}": torch.randn(16, generator=generator),
        }  # fmt: skip
        save_file(tensors, tmp_path / f"W_enc_{layer}.safetensors")
        decoder = {f"W_dec_{layer}": torch.randn(10, layers - layer, 16, generator=generator)}
        save_file(decoder, tmp_path / f"W_dec_{layer}.safetensors")
    dictionary = TracedFeatures(open_for(tmp_path, model), model)
    settings = TraceSettings(most_nodes=None, constant_first=False)
    traced = trace_prompt(model, PROMPTS[3], settings, dictionary)
    graph = traced.graph
    assert np.allclose(graph.row_sums(), [node.value for node in graph.targets], rtol=1e-9, atol=1e-9)
    node = max(graph.units, key=lambda one: abs(one.value))
    changed = set_units(traced.run, dictionary, [[Setting.of(node, 0.0)]], Freeze.everything)[0]
    change = traced.run.raw - changed
    logit = graph.logits[0].index
    weight = graph.weights[len(graph.units), graph.index[node.id]]
    assert float(change[logit] - change.mean()) == pytest.approx(weight, rel=1e-9, abs=1e-9)


def test_saes_are_not_traced():
    model = boot("gpt2", 2, 0)
    with pytest.raises(InputError, match="is of SAEs at resid_pre1: a trace needs transcoders"):
        TracedFeatures(as_dictionary(identity_sae(Hook(1, Site.resid_pre))), model)
