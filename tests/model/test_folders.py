"""What of a model's folder is loaded: weights that an index names, adapters, types of numbers, sizes, special files."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from families import NATIVE, hugging_face
from safetensors.torch import load_file, save_file
from test_load import native_parameters, save_native

from acdc.errors import AcdcWarning, InputError
from acdc.model.load import load_model
from acdc.model.sources import BUNDLED, find_source, model_files

LAST = "transformer.ln_f.weight"


@pytest.fixture
def folder(tmp_path) -> Path:
    """The bundled model, to change."""
    return Path(shutil.copytree(BUNDLED["trio"], tmp_path / "m"))


def sharded(folder: Path, place: str = "") -> dict[str, str]:
    """Cut the weights into two files, under a folder if one is named; where each tensor is."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    (folder / "model.safetensors").unlink()
    (folder / place).mkdir(exist_ok=True, parents=True)
    where = {}
    for number, part in enumerate((names[:9], names[9:])):
        file = f"{place}part{number}.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    write_index(folder, where)
    return where


def write_index(folder: Path, where: dict[str, str]) -> None:
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_in_a_folder_of_their_own_are_loaded_hashed_and_packed(folder, trio):
    sharded(folder, "weights/")
    model = load_model(str(folder), dtype="float64")
    tokens, last = torch.tensor([[3, 1, 4]]), torch.tensor([2])
    assert torch.equal(model.executor().run(tokens, last).logits, trio.executor().run(tokens, last).logits)
    packed = {path.relative_to(folder).as_posix() for path in model_files(folder)}
    assert packed >= {"weights/part0.safetensors", "weights/part1.safetensors", "model.safetensors.index.json"}
    path = folder / "weights/part1.safetensors"
    weights = load_file(path)
    weights[LAST] = weights[LAST] * 2
    save_file(weights, path, metadata={"format": "pt"})
    assert find_source(str(folder)).content_hash() != model.content_hash


def test_the_hash_is_of_what_is_loaded_alone(folder, trio):
    assert find_source(str(folder)).content_hash() == trio.content_hash
    save_file({"more": torch.ones(2)}, folder / "consolidated.safetensors")
    assert find_source(str(folder)).content_hash() == trio.content_hash


def test_links_into_a_cache_are_followed(folder, trio, tmp_path):
    (tmp_path / "blobs").mkdir()
    for path in list(folder.iterdir()):
        blob = path.rename(tmp_path / "blobs" / f"blob-of-{path.stem}")
        path.symlink_to(os.path.relpath(blob, folder))
    assert load_model(str(folder)).content_hash == trio.content_hash


@pytest.mark.parametrize("outside", ["../other.safetensors", "a/../../other.safetensors", "ABSOLUTE"])
def test_an_index_that_leads_out_of_the_folder_is_refused(folder, tmp_path, outside):
    where = sharded(folder)
    shutil.copy(folder / "part1.safetensors", tmp_path / "other.safetensors")
    outside = str(tmp_path / "other.safetensors") if outside == "ABSOLUTE" else outside
    write_index(folder, {name: outside if file == "part1.safetensors" else file for name, file in where.items()})
    with pytest.raises(InputError, match="within the model's folder"):
        load_model(str(folder))


INDICES = [
    ("[]", "weight_map"),
    ('{"weight_map": {}}', "weight_map"),
    ('{"weight_map": {"a": 5}}', "weight_map"),
    ('{"weight_map": {"a": "gone.safetensors"}}', "'gone.safetensors', which is not there"),
    ('{"weight_map": {"a": "part0.bin"}}', "must be .safetensors files"),
]


@pytest.mark.parametrize("text, message", INDICES)
def test_other_indices_are_refused(folder, text, message):
    sharded(folder)
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match=message):
        load_model(str(folder))


def test_a_tensor_in_two_files_is_refused(folder):
    sharded(folder)
    weights = load_file(folder / "part0.safetensors")
    save_file(weights | {LAST: torch.ones(64)}, folder / "part0.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"{LAST!r} is both in"):
        load_model(str(folder))


def test_weights_under_another_name_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with pytest.raises(InputError, match="weights.safetensors is neither model.safetensors nor"):
        load_model(str(folder))
    (folder / "weights.safetensors").rename(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": "x.safetensors"}))
    with pytest.raises(InputError, match="'transformers_weights' is not supported"):
        load_model(str(folder))


TYPES = [torch.bool, torch.int8, torch.uint8, torch.int32, torch.int64, torch.complex64, torch.float8_e4m3fn]


@pytest.mark.parametrize("type", TYPES)
def test_weights_that_are_no_floating_point_numbers_are_refused(folder, tmp_path, type):
    weights = load_file(folder / "model.safetensors")
    weights[LAST] = weights[LAST].to(type)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"tensor {LAST!r} .* is of type .*: weights must be floating-point"):
        load_model(str(folder))
    config = NATIVE["native-no-norm"]
    parameters = native_parameters(config)
    parameters["unembed.W_U"] = parameters["unembed.W_U"].to(type)
    with pytest.raises(InputError, match="'unembed.W_U' .* is of type"):
        load_model(str(save_native(tmp_path / "n", config, parameters)))


def test_masks_of_earlier_libraries_are_no_weights(folder, trio):
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_model(str(folder)).anatomy == trio.anatomy


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", [LAST, "transformer.wte.weight", "transformer.h.1.attn.c_attn.weight"])
def test_one_number_that_is_not_finite_is_refused_with_its_weights_name(folder, name, value):
    """Also of a token that no prompt has, and in float32 of what the check against the bridge cannot see."""
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"weight {name!r} of .* not finite"):
        load_model(str(folder))


def test_a_weight_that_a_smaller_type_cannot_hold_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights[LAST][0] = 1e30
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not finite in float16"):
        load_model(str(folder), dtype="float16")


SIZES = [
    ({"n_head": -4}, "n.*head.* -4 must be between 1 and"),
    ({"n_head": 0}, "n.*head.* 0 must be between 1 and"),
    ({"n_layer": 1_000_000}, "layer.* 1000000 must be between 1 and 1,000"),
    ({"n_layer": -1}, "layer.* -1 must be"),
    ({"n_positions": 10**12}, "positions 1000000000000 must be"),
    ({"vocab_size": 10**40}, "vocab_size of more than 20 digits must be"),
    ({"n_embd": 2**20}, "describes a model of .* parameters, and its weights hold"),
]


@pytest.mark.parametrize("changes, message", SIZES)
def test_sizes_that_no_model_has_are_refused_before_anything_is_built(folder, changes, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=message):
        load_model(str(folder))


@pytest.mark.parametrize("key, value", [("n_layers", 10**6), ("n_heads", -4), ("n_ctx", 10**9), ("d_model", 10**12)])
def test_so_are_those_of_native_models(tmp_path, key, value):
    config = NATIVE["native-no-norm"]
    folder = save_native(tmp_path / "m", config | {key: value}, native_parameters(config))
    with pytest.raises(InputError, match=f"{key} {value} must be between 1 and"):
        load_model(str(folder))


FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]


@pytest.mark.parametrize("name", FILES)
def test_a_named_pipe_in_a_folder_is_refused_and_not_waited_for(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match="is a named pipe, not an ordinary file|has no config.json"):
        load_model(str(folder))


def adapted(folder: Path, **changes) -> Path:
    """A small LLaMA with a LoRA adapter of rank 2 beside its weights."""
    hugging_face("llama").float().save_pretrained(folder)
    draw = torch.Generator().manual_seed(3)
    tensors, rank = {}, 2
    for layer in range(2):
        for module in ("self_attn.q_proj", "mlp.down_proj"):
            weight = load_file(folder / "model.safetensors")[f"model.layers.{layer}.{module}.weight"]
            name = f"base_model.model.model.layers.{layer}.{module}.lora"
            tensors[f"{name}_A.weight"] = torch.randn(rank, weight.shape[1], generator=draw)
            tensors[f"{name}_B.weight"] = torch.randn(weight.shape[0], rank, generator=draw)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"]}
    config |= {"task_type": "CAUSAL_LM", "base_model_name_or_path": "some/base"} | changes
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_an_adapter_is_merged_as_its_formula_says(tmp_path):
    """W + alpha / r * B A, written out, against the same folder with these weights and no adapter."""
    pytest.importorskip("peft")
    folder = adapted(tmp_path / "m")
    with pytest.warns(AcdcWarning, match="LoRA adapter in .* is merged"):
        merged = load_model(str(folder), dtype="float64")
    weights, lora = load_file(folder / "model.safetensors"), load_file(folder / "adapter_model.safetensors")
    base = load_model(str(plain(folder, tmp_path / "base", weights)), dtype="float64")
    for name in [name for name in lora if "lora_A" in name]:
        place = name.removeprefix("base_model.model.").replace(".lora_A", "")
        change = 6 / 2 * lora[name.replace("lora_A", "lora_B")].double() @ lora[name].double()
        weights[place] = weights[place].double() + change
    by_hand = load_model(str(plain(folder, tmp_path / "hand", weights)), dtype="float64")
    tokens, last = torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([4])
    expected, got, without = (m.executor().run(tokens, last).logits for m in (by_hand, merged, base))
    assert (got - expected).abs().max() < 1e-9 < 0.1 < (without - expected).abs().max()
    assert len({merged.content_hash, base.content_hash}) == 2


def plain(folder: Path, to: Path, weights: dict) -> Path:
    to.mkdir()
    shutil.copy(folder / "config.json", to)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_the_hash_covers_the_adapter(tmp_path):
    pytest.importorskip("peft")
    first = find_source(str(adapted(tmp_path / "m"))).content_hash()
    assert find_source(str(adapted(tmp_path / "m", lora_alpha=7))).content_hash() != first


def test_an_adapter_alone_is_refused_as_what_it_is(tmp_path):
    folder = adapted(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds an adapter .LoRA. alone, which changes the weights of some/base"):
        load_model(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="holds an adapter .LoRA. alone, which changes the weights of some/base"):
        load_model(str(folder))


def test_without_the_library_an_adapter_is_refused_with_how_to_get_it(tmp_path, monkeypatch):
    from acdc.model import adapter

    monkeypatch.setattr(adapter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the library peft: pip install \"acdc\[lora\]\""):
        find_source(str(adapted(tmp_path / "m")))


OTHER_ADAPTERS = [
    ({"peft_type": "PREFIX_TUNING"}, "only adapters of peft_type 'LORA' are merged"),
    ({"init_lora_weights": "pissa"}, "'pissa' changes the base model too"),
    ({"target_modules": ["q_proj"]}, "surplus"),
    ({"target_modules": ["q_proj", "down_proj", "k_proj"]}, "missing"),
    ({"target_modules": ["nothing"]}, "cannot be loaded"),
]


@pytest.mark.parametrize("changes, message", OTHER_ADAPTERS)
def test_other_adapters_are_refused(tmp_path, changes, message):
    pytest.importorskip("peft")
    with pytest.raises(InputError, match=message):
        load_model(str(adapted(tmp_path / "m", **changes)))


def test_a_pickled_adapter_is_never_loaded(tmp_path):
    folder = adapted(tmp_path / "m")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match="pickled adapters are never loaded"):
        load_model(str(folder))


def test_a_notebook_shows_a_model_and_a_task_in_a_line(trio, induction):
    assert repr(trio) == "<Model: trio (gpt2), 4 layers of 4 heads, width 64, float64 on cpu>"
    assert repr(induction) == "<Task: induction, 128 rows, logit_diff>"
