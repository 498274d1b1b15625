"""Loading: native parameter names, refusals, and the check against the bridge."""

import json
from dataclasses import replace

import pytest
import torch
from families import NATIVE, VOCABULARY, hugging_face
from safetensors.torch import save_file

from acdc.errors import AcdcWarning, InputError
from acdc.model.load import choose_components, load_model

WIDTH, HEADS, HEAD, MLP = 16, 4, 4, 64


def native_parameters(config: dict, scale: float = 0.5) -> dict[str, torch.Tensor]:
    """Random weights under TransformerLens's names and shapes."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return (torch.randn(*shape, generator=generator) * scale).contiguous()

    kv = config.get("n_key_value_heads") or HEADS
    # TransformerLens keeps the key and value of grouped heads under names of their own.
    k, v = ("_K", "_V") if kv != HEADS else ("K", "V")
    parameters = {"embed.W_E": draw(VOCABULARY, WIDTH), "unembed.W_U": draw(WIDTH, VOCABULARY)}
    if config.get("positional_embedding_type") != "rotary":
        parameters["pos_embed.W_pos"] = draw(config["n_ctx"], WIDTH)
    for layer in range(config["n_layers"]):
        at = f"blocks.{layer}"
        parameters |= {
            f"{at}.attn.W_Q": draw(HEADS, WIDTH, HEAD),
            f"{at}.attn.W_{k}": draw(kv, WIDTH, HEAD),
            f"{at}.attn.W_{v}": draw(kv, WIDTH, HEAD),
            f"{at}.attn.W_O": draw(HEADS, HEAD, WIDTH),
            f"{at}.attn.b_O": draw(WIDTH),
        }
        if not config.get("attn_only"):
            parameters |= {f"{at}.mlp.W_in": draw(WIDTH, MLP), f"{at}.mlp.W_out": draw(MLP, WIDTH)}
            if config.get("gated_mlp"):
                parameters[f"{at}.mlp.W_gate"] = draw(WIDTH, MLP)
    return parameters


def save_native(folder, config: dict, parameters: dict[str, torch.Tensor]):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architecture": "TransformerLensNative", **config}))
    save_file(parameters, folder / "model.safetensors")
    return folder


def test_native_folder_is_the_function_of_its_parameters(tmp_path):
    """One attention-only layer without norm, written out by hand."""
    config = {**NATIVE["native-no-norm"], "attn_only": True, "n_layers": 1}
    p = native_parameters(config)
    model = load_model(str(save_native(tmp_path / "m", config, p)), dtype="float64")
    p = {name: value.double() for name, value in p.items()}
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    x = p["embed.W_E"][tokens[0]] + p["pos_embed.W_pos"][:5]
    out = x + p["blocks.0.attn.b_O"]
    for head in range(HEADS):
        q, k, v = (x @ p[f"blocks.0.attn.W_{name}"][head] for name in "QKV")
        scores = (q @ k.T / HEAD**0.5).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        out = out + scores.softmax(-1) @ v @ p["blocks.0.attn.W_O"][head]
    expected = out[-1] @ p["unembed.W_U"]
    got = model.executor().run(tokens, torch.tensor([4])).logits[0]
    assert (got - expected).abs().max() < 1e-12


def test_unscaled_attention_is_unscaled(tmp_path):
    """use_attn_scale=false means no division by sqrt(d_head): the same as queries grown by it."""
    config = {**NATIVE["native-no-norm"], "attn_only": True, "n_layers": 1}
    p = native_parameters(config)
    plain = load_model(str(save_native(tmp_path / "a", {**config, "use_attn_scale": False}, p)), dtype="float64")
    grown = {name: value * HEAD**0.5 if name.endswith("W_Q") else value for name, value in p.items()}
    scaled = load_model(str(save_native(tmp_path / "b", config, grown)), dtype="float64")
    tokens, last = torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([4])
    difference = plain.executor().run(tokens, last).logits - scaled.executor().run(tokens, last).logits
    assert difference.abs().max() < 1e-12


@pytest.mark.parametrize("name", ["native-no-norm", "native-bidirectional"])
def test_native_variants_load(tmp_path, name):
    config = NATIVE[name]
    parameters = native_parameters(config)
    if config.get("normalization_type", "LN") == "LN":
        for at in [*(f"blocks.{i}.{n}" for i in range(2) for n in ("ln1", "ln2")), "ln_final"]:
            parameters |= {f"{at}.w": torch.ones(WIDTH), f"{at}.b": torch.zeros(WIDTH)}
    model = load_model(str(save_native(tmp_path / "m", config, parameters)))
    assert model.anatomy.bidirectional == (name == "native-bidirectional")


def test_missing_and_surplus_parameters_are_refused(tmp_path):
    config = NATIVE["native-no-norm"]
    parameters = native_parameters(config)
    lacking = {name: value for name, value in parameters.items() if name != "blocks.1.attn.W_O"}
    with pytest.raises(InputError, match="lack"):
        load_model(str(save_native(tmp_path / "a", config, lacking)))
    with pytest.raises(InputError, match="do not fit"):
        load_model(str(save_native(tmp_path / "b", config, {**parameters, "blocks.9.attn.W_O": torch.ones(1)})))
    with pytest.raises(InputError, match="do not fit"):
        load_model(str(save_native(tmp_path / "c", {**config, "n_heads": 2, "d_head": 8}, parameters)))


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "mixtral", "gpt-neox-parallel"])
def test_hugging_face_folder(tmp_path, family):
    plain = hugging_face(family).float()
    plain.save_pretrained(tmp_path / "m")
    model = load_model(str(tmp_path / "m"))
    assert model.family in ("gpt2", "llama", "gemma2", "mixtral", "gpt-neox")
    assert len(model.content_hash) == 64
    again = load_model(str(tmp_path / "m"), dtype="float64")
    assert again.content_hash == model.content_hash, "the hash is of the files, not of the arithmetic"


def test_missing_weights_are_never_made_up(tmp_path):
    """Hugging Face fills missing parameters with random numbers and a warning; that must be an error."""
    from safetensors.torch import load_file

    hugging_face("llama").float().save_pretrained(tmp_path / "m")
    weights = load_file(tmp_path / "m/model.safetensors")
    del weights["model.layers.1.self_attn.k_proj.weight"]
    save_file(weights, tmp_path / "m/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="k_proj"):
        load_model(str(tmp_path / "m"))


def test_disagreement_with_the_bridge_is_refused(trio, monkeypatch):
    """What no implementation reproduces must not pass: here a bridge whose logits are slightly off."""
    original = type(trio.bridge).run_with_cache

    def off(self, *given, **named):
        logits, cache = original(self, *given, **named)
        return logits * 1.001, cache

    monkeypatch.setattr(type(trio.bridge), "run_with_cache", off)
    with pytest.raises(InputError, match="does not reproduce: logits differs"):
        choose_components(trio.bridge, trio.anatomy, trio.graph, "trio", "gpt2")


@pytest.mark.parametrize(
    ("part", "destination"),
    [("q", r"a1\.h0<q>"), ("v", r"a1\.h0<v>"), ("out", "m1"), ("mlp", r"a2\.h0<q>"), ("final_norm", "logits")],
)
def test_weights_read_wrongly_are_run_by_modules(trio, monkeypatch, part, destination):
    """The warning names the first destination that gets something else than in the bridge."""
    weights = trio.components.weights
    layer = weights.layers[1]
    attention = layer.attention
    if part in ("q", "v", "out"):
        projection = getattr(attention, part)
        changed = replace(
            layer, attention=replace(attention, **{part: replace(projection, weight=projection.weight * 1.01)})
        )
    else:
        changed = replace(layer, mlp=lambda x: layer.mlp(x) * 1.01)
    wrong = replace(weights, layers=(weights.layers[0], changed, *weights.layers[2:]))
    if part == "final_norm":
        wrong = replace(weights, final_norm=replace(weights.final_norm, eps=0.5))
    monkeypatch.setattr("acdc.model.load.read_weights", lambda bridge: wrong)
    with pytest.warns(AcdcWarning, match=f"run by its own modules.*weights, {destination} differs"):
        components = choose_components(trio.bridge, trio.anatomy, trio.graph, "trio", "gpt2")
    assert components.kind == "replay"


def test_an_unknown_norm_is_run_by_modules(trio, monkeypatch):
    def unknown(bridge):
        raise InputError("norm ManifoldNorm is not supported")

    monkeypatch.setattr("acdc.model.load.read_weights", unknown)
    with pytest.warns(AcdcWarning, match="ManifoldNorm"):
        assert choose_components(trio.bridge, trio.anatomy, trio.graph, "trio", "gpt2").kind == "replay"


def test_model_that_computes_nan_is_refused(tmp_path):
    config = NATIVE["native-no-norm"]
    parameters = native_parameters(config)
    parameters["unembed.W_U"][0, 0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        load_model(str(save_native(tmp_path / "m", config, parameters)))
