"""Every format: encoding and decoding equal a plain NumPy reading; other files are refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from written_by_hand import CASES, Numbers, cross_layer, gemma_cross_layer

from acdc.dictionaries.formats import circuit_tracer, sae_lens
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.open import read_dictionary
from acdc.errors import InputError

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
DOUBLE = {"dtype": torch.float64}


def encoded(dictionary, x):
    one = dictionary.sets[0]
    x = torch.from_numpy(x)
    activations = one.encode(x)
    return activations.numpy(), one.decode(activations, x).numpy()


@pytest.mark.parametrize("memory", [None, 600], ids=["held", "by rows"])
@pytest.mark.parametrize("name", CASES)
def test_a_plain_reading(name, memory, tmp_path):
    x, activations, written = CASES[name](tmp_path / "d", Numbers())
    if memory and name.startswith("gemma_scope") and name != "gemma_scope_2":
        with pytest.raises(InputError, match="are read as a whole"):
            read_dictionary(tmp_path / "d", memory=memory, **DOUBLE)
        return
    found = encoded(read_dictionary(tmp_path / "d", memory=memory, **DOUBLE), x)
    assert 0 < np.count_nonzero(activations) < activations.size
    assert np.allclose(found[0], activations, **CLOSE)
    assert np.allclose(found[1], written, **CLOSE)


@pytest.mark.parametrize("memory", [None, 2000], ids=["held", "by rows"])
@pytest.mark.parametrize("write", [cross_layer, gemma_cross_layer])
def test_cross_layer(write, memory, tmp_path):
    inputs, activations, written = write(tmp_path / "d")
    found = read_dictionary(tmp_path / "d", memory=memory, **DOUBLE)
    x = {one.reads: torch.from_numpy(inputs[one.reads.layer]) for one in found.sets}
    encoded = {one.reads: one.encode(x[one.reads]) for one in found.sets}
    for hook, values in encoded.items():
        assert np.allclose(values.numpy(), activations[hook.layer], **CLOSE)
    out = found.reconstruct(x, encoded)
    assert [hook.layer for hook in out] == [0, 1, 2]
    for hook, values in out.items():
        assert np.allclose(values.numpy(), written[hook.layer], **CLOSE)


HOOKS = {
    "per_layer": ("resid_mid0", "mlp_added0"),
    "per_layer_topk": ("mlp_in0", "mlp_out0"),
    "lens_standard": ("resid_post0", "resid_post0"),
    "lens_before_6": ("resid_pre0", "resid_pre0"),
    "lens_transcoder": ("mlp_in0", "mlp_added0"),
    "gemma_scope": ("resid_post0", "resid_post0"),
    "gemma_scope_embedding": ("embed", "embed"),
    "gemma_scope_2": ("mlp_in0", "mlp_added0"),
    "sparsify_topk": ("resid_post0", "resid_post0"),
    "sparsify_groupmax": ("mlp_in0", "mlp_out0"),
    "learned_plain": ("resid_post0", "resid_post0"),
    "scopium_topk": ("resid_mid0", "mlp_added0"),
}


@pytest.mark.parametrize("name", HOOKS)
def test_where_features_read_and_write(name, tmp_path):
    CASES[name](tmp_path / "d", Numbers())
    one = read_dictionary(tmp_path / "d").sets[0]
    assert (str(one.reads), *map(str, one.writes)) == HOOKS[name]


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("gemma_scope") or name[-1] == "2"])
def test_transposed_files_are_refused(name, tmp_path):
    """An encoder that is the other way round than its format has it."""
    CASES[name](tmp_path / "d", Numbers())
    path = next((tmp_path / "d").rglob("*.safetensors"))
    tensors = load_file(path)
    encoder = next(key for key in tensors if key in ("W_enc", "W_E", "w_enc", "encoder.weight"))
    tensors[encoder] = tensors[encoder].T.contiguous()
    save_file(tensors, path)
    with pytest.raises(InputError, match="it is transposed"):
        read_dictionary(tmp_path / "d")


@pytest.mark.parametrize(
    "name", ["per_layer", "per_layer_topk", "lens_transcoder", "lens_standard", "scopium_topk", "gemma_scope_2"]
)
@pytest.mark.parametrize("writer", [circuit_tracer, sae_lens], ids=["circuit-tracer", "sae-lens"])
def test_written_and_read_again(name, writer, tmp_path):
    x, activations, written = CASES[name](tmp_path / "d", Numbers())
    dictionary = read_dictionary(tmp_path / "d", **DOUBLE)
    refused = {
        ("lens_standard", circuit_tracer): "is no set of transcoders",
        ("scopium_topk", circuit_tracer): "circuit-tracer's layouts hold",
        ("scopium_topk", sae_lens): "have no architecture",
        ("per_layer_topk", sae_lens): "transcoders with ReLU and JumpReLU",
        ("per_layer", sae_lens): "no transcoders with both",
        ("gemma_scope_2", sae_lens): "no transcoders with both",
    }.get((name, writer))
    if refused:
        with pytest.raises(InputError, match=refused):
            writer.write(dictionary, tmp_path / "again")
        return
    writer.write(dictionary, tmp_path / "again")
    again = read_dictionary(tmp_path / "again", **DOUBLE)
    assert [(one.reads, one.writes) for one in again.sets] == [(one.reads, one.writes) for one in dictionary.sets]
    found = encoded(again, x)
    assert np.allclose(found[0], activations, **CLOSE) and np.allclose(found[1], written, **CLOSE)


def test_a_cross_layer_set_is_written_as_it_was(tmp_path):
    cross_layer(tmp_path / "d")
    dictionary = read_dictionary(tmp_path / "d", **DOUBLE)
    circuit_tracer.write(dictionary, tmp_path / "again")
    for path in (tmp_path / "d").iterdir():
        before, after = load_file(path), load_file(tmp_path / "again" / path.name)
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert read_dictionary(tmp_path / "again", **DOUBLE).kind == "cross-layer transcoder"


def test_a_folder_for_each_layer(tmp_path):
    for layer in (2, 0):
        CASES["sparsify_topk"](tmp_path / "d", Numbers(layer))
        (tmp_path / "d/layers.0").rename(tmp_path / f"d/layers.{layer + 5}")
    found = read_dictionary(tmp_path / "d")
    assert [one.reads for one in found.sets] == [Hook(5, Site.resid_post), Hook(7, Site.resid_post)]
    assert found.at(Hook(7, Site.resid_post)) is found.of_layer(7) and found.size == 40
    with pytest.raises(InputError, match="no features in layer 6: it has resid_post5, resid_post7"):
        found.of_layer(6)


def test_a_place_that_a_file_does_not_say(tmp_path):
    CASES["gemma_scope"](tmp_path / "d", Numbers())
    inner = next((tmp_path / "d").rglob("params.npz")).parent
    inner.rename(tmp_path / "alone")
    with pytest.raises(InputError, match="name the place with --hook"):
        read_dictionary(tmp_path / "alone")
    hooks = [Hook.parse("blocks.3.ln2.hook_normalized"), Hook.parse("mlp_added3")]
    one = read_dictionary(tmp_path / "alone", hooks=hooks).sets[0]
    assert (one.reads, one.writes, one.kind) == (hooks[0], (hooks[1],), "transcoder")


REFUSED = [
    ("lorsa", {"sae_type": "lorsa"}, "config.json", "Lorsa .* is not read"),
    ("clt", {"sae_type": "clt"}, "config.json", "convert them to circuit-tracer's layout"),
    ("glu", {"sae_type": "sae", "use_glu_encoder": True}, "config.json", "gated linear unit"),
    ("unknown", {"trainer": {"dict_class": "CrossCoder"}}, "config.json", "dict_class 'CrossCoder' is not supported"),
]


@pytest.mark.parametrize(("name", "values", "file", "says"), REFUSED, ids=[one[0] for one in REFUSED])
def test_what_is_not_supported(name, values, file, says, tmp_path):
    (tmp_path / file).write_text(json.dumps(values))
    weights = "ae.safetensors" if "trainer" in values else "sae_weights.safetensors"
    save_file({"x": torch.zeros(1)}, tmp_path / weights)
    with pytest.raises(InputError, match=says):
        read_dictionary(tmp_path)


def test_scaling_that_is_not_in_the_file(tmp_path):
    CASES["lens_standard"](tmp_path / "d", Numbers())
    path = tmp_path / "d/cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalize_activations": "expected_average_only_in"}))
    with pytest.raises(InputError, match="fold_activation_norm_scaling_factor"):
        read_dictionary(tmp_path / "d")


def test_pickles(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/ae.pt").write_bytes(b"\x80\x04never read")
    (tmp_path / "d/config.json").write_text('{"trainer": {"dict_class": "AutoEncoder"}}')
    for place in ("d", "d/ae.pt"):
        with pytest.raises(
            InputError, match="is a pickle, which can run any code and is never loaded: convert it with"
        ):
            read_dictionary(tmp_path / place)


def test_the_advice_for_pickles_works(tmp_path, monkeypatch):
    """What the message says makes a file that is read."""
    import shlex
    import subprocess
    import sys

    x, activations, _ = CASES["learned_topk"](tmp_path / "d", Numbers())
    path = tmp_path / "d/ae.safetensors"
    torch.save(load_file(path), path.with_suffix(".pt"))
    path.unlink()
    with pytest.raises(InputError) as refused:
        read_dictionary(tmp_path / "d")
    words = shlex.split(str(refused.value).partition("convert it with ")[2])
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path / "d", check=True)
    assert np.allclose(encoded(read_dictionary(tmp_path / "d", **DOUBLE), x)[0], activations, **CLOSE)


def test_nothing_there(tmp_path):
    for place, says in (("nowhere", "is not a folder"), ("", "is in no known format")):
        with pytest.raises(InputError, match=says):
            read_dictionary(tmp_path / place)


def test_damaged_files(tmp_path):
    CASES["per_layer"](tmp_path / "d", Numbers())
    (tmp_path / "d/config.yaml").write_text("model_kind: [")
    with pytest.raises(InputError, match="config.yaml is damaged: not valid YAML"):
        read_dictionary(tmp_path / "d")
    (tmp_path / "d/config.yaml").unlink()
    (tmp_path / "d/layer_0.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="layer_0.safetensors is damaged"):
        read_dictionary(tmp_path / "d")


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("resid_post3", Hook(3, Site.resid_post)),
        ("blocks.12.attn.hook_z", Hook(12, Site.z)),
        ("blocks.1.hook_mlp_in", Hook(1, Site.resid_mid)),
        ("model.layers.4.post_feedforward_layernorm.output", Hook(4, Site.mlp_added)),
        ("model.layers.7.output", Hook(7, Site.resid_post)),
        ("hook_embed", Hook(0, Site.embed)),
    ],
)
def test_names_of_places(name, hook):
    assert Hook.parse(name) == hook and Hook.parse(hook.lens_name) == hook and Hook.parse(str(hook)) == hook


def test_names_of_no_place():
    for name in ("resid_post", "blocks.1.hook_k", "embed3", "model.layers.3"):
        with pytest.raises(InputError, match="is no place that is known"):
            Hook.parse(name)
