"""GGUF files: the same model as a Hugging Face folder of the same weights, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from families import randomise
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from acdc.model.gguf_config import configure
from acdc.model.gguf_file import read_gguf
from acdc.model.load import load_model

gguf = pytest.importorskip("gguf", reason="the library gguf is not installed: pip install 'acdc[gguf]'")
from gguf_files import llama3_factors, write_gguf  # noqa: E402

VOCABULARY = 40
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 2.0**-17,  # the same in float32
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "rope_theta": 20000.0, "factor": 4.0}
GEMMA = {**SHAPE, "head_dim": 32, "sliding_window": 3}
GEMMA3_LAYERS = {"num_hidden_layers": 6, "layer_types": ["sliding_attention"] * 5 + ["full_attention"]}
GEMMA3_ROTARY = {"full_attention": LINEAR, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}


def llama(**changes) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, "head_dim": 16, **changes}))


MODELS = {
    "llama": llama,
    "llama-tied": lambda: llama(tie_word_embeddings=True),
    "llama-biased": lambda: llama(attention_bias=True, mlp_bias=True),
    "llama-ungrouped": lambda: llama(num_key_value_heads=4),
    "llama-wide-heads": lambda: llama(head_dim=32),
    "llama-linear": lambda: llama(rope_parameters=LINEAR),
    "llama-3": lambda: llama(rope_parameters=LLAMA3),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=32)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**GEMMA, query_pre_attn_scalar=32)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**{**GEMMA, **GEMMA3_LAYERS}, query_pre_attn_scalar=32, rope_parameters=GEMMA3_ROTARY)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=64, n_layer=2, n_head=4)),
    "gpt2-untied": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=64, n_layer=2, n_head=4, tie_word_embeddings=False)
    ),
}
STORED = [
    *((name, "F32") for name in MODELS),
    *(("llama", kind) for kind in ("F16", "BF16", "Q4_0", "Q4_1", "Q5_1", "Q8_0")),
    ("qwen3", "Q8_0"),
    ("gemma2", "Q8_0"),
    ("gpt2", "F16"),
]


def save(name: str, kind: str, folder: Path) -> tuple[Path, Path]:
    """(a GGUF file, a Hugging Face folder) of the same random weights."""
    model = randomise(MODELS[name](), seed=1, scale=0.3)
    architecture = name.split("-")[0]
    metadata, tensors = {}, {}
    if name == "llama-3":
        tensors = {"rope_freqs.weight": llama3_factors(model.config)}
    file = write_gguf(folder / "m.gguf", model, architecture, kind, metadata, tensors)
    model.save_pretrained(folder / "m")
    return file, folder / "m"


def tokens() -> torch.Tensor:
    return torch.tensor([[(7 * row + 3 * place) % VOCABULARY for place in range(12)] for row in range(3)])


def logits(model) -> torch.Tensor:
    """[rows, vocabulary] at the last position."""
    return model.executor().run(tokens(), torch.full((3,), 11)).logits


@pytest.mark.parametrize(("name", "kind"), STORED)
def test_the_same_as_a_folder_of_the_same_weights(tmp_path, name, kind):
    file, folder = save(name, kind, tmp_path)
    stored, plain = (load_model(str(path), dtype="float64") for path in (file, folder))
    assert stored.components.kind == plain.components.kind == "functional"
    assert stored.family == plain.family and stored.anatomy == plain.anatomy
    found, expected = (model.bridge.original_model.state_dict() for model in (stored, plain))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)
    tolerance = 1e-6 if name == "llama-3" else 1e-9  # its rotary factors are rounded to float32 in the file
    assert (logits(stored) - logits(plain)).abs().max() < tolerance
    assert logits(plain).std() > 0.1, "a comparison of nothing"
    assert stored.quantisation.type == kind and plain.quantisation is None


@pytest.mark.parametrize(
    ("name", "kind"), [("llama", "F32"), ("llama", "Q4_1"), ("llama", "Q8_0"), ("qwen2", "Q4_1"), ("gpt2", "F16")]
)
def test_the_same_as_transformers_reads(tmp_path, name, kind):
    """Its own loader of GGUF files, and its plain forward pass."""
    file, _ = save(name, kind, tmp_path)
    config = MODELS[name]().config  # which transformers does not read in full, of gpt2
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32, config=config)
    with torch.no_grad():
        expected = plain(tokens()).logits[:, -1]
    assert (logits(load_model(str(file))) - expected).abs().max() < 1e-5


def test_the_scale_of_the_largest_gemma(tmp_path):
    """Files do not say it: llama.cpp goes by the number of layers, and so do we."""
    for layers, scale in ((2, 32), (46, 16)):
        config = Gemma2Config(**{**GEMMA, "num_hidden_layers": layers})
        file = write_gguf(tmp_path / f"{layers}.gguf", Gemma2ForCausalLM(config), "gemma2")
        assert configure(read_gguf(file))["query_pre_attn_scalar"] == scale


TEXTS = [
    "When Mary and John went to the store, John gave a drink to",
    "In 1987, 3 cats   sat;  42 more",
    "x  7\n\n  It's 100% fine",
    " leading and trailing ",
    "",
]


def byte_pairs(way: list) -> PreTrainedTokenizerFast:
    """A small tokenizer of byte pairs that splits texts in a way."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(way)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def tokenizer_metadata(tokenizer: PreTrainedTokenizerFast, pre: str) -> dict:
    """As the conversion writes a tokenizer of byte pairs."""
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.token_type": [3 if token in tokenizer.all_special_tokens else 1 for token in vocabulary],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


WHOLE_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
WAYS = {"gpt-2": [WHOLE_BYTES], "smollm": [pre_tokenizers.Digits(individual_digits=True), WHOLE_BYTES]}


@pytest.mark.parametrize("pre", WAYS)
def test_the_tokenizer_of_a_file(tmp_path, pre):
    """Splits texts as the one that the file was made of; what lies beside the file makes no difference."""
    tokenizer = byte_pairs(WAYS[pre])
    model = llama(vocab_size=len(tokenizer))
    file = write_gguf(tmp_path / "m.gguf", model, "llama", metadata=tokenizer_metadata(tokenizer, pre))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true}')
    (tmp_path / "special_tokens_map.json").write_text("{")
    loaded = load_model(str(file)).tokenizer
    assert loaded(TEXTS).input_ids == tokenizer(TEXTS).input_ids
    assert loaded.eos_token_id == 0 and [loaded.decode(ids) for ids in loaded(TEXTS).input_ids] == TEXTS


def test_a_piece_tokenizer_begins_with_bos(tmp_path, shared):
    """The one of a model that came with a sentencepiece vocabulary, whose merges follow from its scores."""
    plain = AutoTokenizer.from_pretrained(shared / "models/stories260k")
    inner = json.loads((shared / "models/stories260k/tokenizer.json").read_text())["model"]
    vocabulary = sorted(inner["vocab"], key=inner["vocab"].get)
    ranks = {"".join(pair): -float(rank) for rank, pair in enumerate(inner["merges"])}
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.scores": [ranks.get(token, -1e6) for token in vocabulary],
        "tokenizer.ggml.token_type": [2, 3, 3] + [6 if t.startswith("<0x") else 1 for t in vocabulary[3:]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    model = AutoModelForCausalLM.from_pretrained(shared / "models/stories260k", dtype=torch.float32)
    file = write_gguf(tmp_path / "stories.gguf", model, "llama", metadata=metadata)
    loaded = load_model(str(file), dtype="float64")
    texts = ["Once upon a time, there was a girl named Lily.", "Tom and Sue 12 !"]
    assert loaded.tokenizer(texts).input_ids == plain(texts).input_ids
    expected = load_model(str(shared / "models/stories260k"), dtype="float64")
    assert (logits(loaded) - logits(expected)).abs().max() < 1e-6  # the norms' epsilon is a float32 in the file
