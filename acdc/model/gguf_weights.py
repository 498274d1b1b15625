"""Weights and tokenizer of a GGUF file, as the Hugging Face model of its architecture has them.

transformers could read the weights too, but takes ten times as long and passes over tensors that it has no use for.
"""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from acdc.errors import AcdcWarning, InputError
from acdc.model.gguf_config import ARCHITECTURES
from acdc.model.gguf_file import GgufFile, StoredTensor, quoted
from acdc.model.weight_store import model_around

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_ROPE_FACTORS = "rope_freqs.weight"  # what each rotary frequency is divided by (Llama 3.1 and later)
# How texts are split before byte pairs are merged, by what files call it: the ways that transformers knows, and those
# that are GPT-2's, but for digits, which stand alone.
_KNOWN = {"llama3", "llama-v3", "llama-bpe", "smaug-bpe", "tekken", "qwen2", "deepseek-r1-qwen", "gpt-2", "default"}
_SINGLE_DIGITS = {"smollm", "starcoder", "refact", "codeshell"}


def load_gguf_model(
    file: GgufFile, config: "PretrainedConfig", dtype: torch.dtype, where: dict[str, str] | None
) -> "tuple[PreTrainedModel, dict]":
    """The model of a file in a dtype, on the devices `where`, and transformers' report of what was missing.

    Raises InputError for a file with tensors that the model has no place for.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        names = list(AutoModelForCausalLM.from_config(config).state_dict())
    model, report = model_around(_read_tensors(file, names, config, dtype), config, dtype, where)
    slow_down(model, file)
    return model, report


def _read_tensors(
    file: GgufFile, names: list[str], config: "PretrainedConfig", dtype: torch.dtype
) -> dict[str, Tensor]:
    """Tensors by their `names` in the Hugging Face model, but for those that the file lacks."""
    stored = _stored_names(file.architecture, names, config.num_hidden_layers)
    known = {*stored.values(), *([_ROPE_FACTORS] if file.architecture == "llama" else [])}
    if surplus := [name for name in file.tensors if name not in known]:
        raise InputError(
            f"{file.path} holds the tensor {quoted(surplus[0])}, which has no place in "
            f"{ARCHITECTURES[file.architecture].name}"
        )
    found = {}
    for name, place in stored.items():
        if place in file.tensors:
            read = _laid_out(file.architecture, place, _dequantise(file, file.tensors[place]), config)
            found[name] = torch.from_numpy(np.ascontiguousarray(read)).to(dtype)
    return found


def _stored_names(architecture: str, names: list[str], layers: int) -> dict[str, str]:
    """What files call the parameters of a Hugging Face model."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    known = get_tensor_name_map(next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == architecture), layers)
    return {name: found for name in names if (found := known.get_name(name, (".weight", ".bias"))) is not None}


def _dequantise(file: GgufFile, tensor: StoredTensor) -> np.ndarray:
    """A tensor in float32, as it is in the file."""
    from gguf import GGMLQuantizationType, dequantize

    content = np.fromfile(file.path, np.uint8, tensor.length, offset=tensor.start)
    return dequantize(content.reshape(*tensor.shape[:-1], -1), GGMLQuantizationType[tensor.type])


def _laid_out(architecture: str, name: str, weights: np.ndarray, config: "PretrainedConfig") -> np.ndarray:
    """A tensor as the Hugging Face model has it, which llama.cpp's conversion has changed for some architectures."""
    part = name.split(".")[-2]
    if architecture == "llama" and part in ("attn_q", "attn_k"):
        # rotary positions turn neighbours there, and what is half a head apart here
        heads = config.num_attention_heads if part == "attn_q" else config.num_key_value_heads
        return weights.reshape(heads, -1, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)
    if architecture.startswith("gemma") and part.endswith("norm"):
        return weights - 1
    if architecture == "gpt2" and name.startswith("blk.") and weights.ndim == 2:
        return weights.T
    return weights


def bytes_to_read(file: GgufFile, dtype: torch.dtype) -> int:
    """Bytes that the largest tensor takes while it is read, besides the weights: as it is stored, and in float32, of
    which dequantising makes two."""
    return max(tensor.length + tensor.size * max(8, 4 + dtype.itemsize) for tensor in file.tensors.values())


def slow_down(model: "PreTrainedModel", file: GgufFile) -> None:
    """Divide the frequencies of a model's rotary positions by what a file says, if it does."""
    if _ROPE_FACTORS in file.tensors:
        factors = torch.from_numpy(_dequantise(file, file.tensors[_ROPE_FACTORS]))
        rotary: Any = model.get_submodule("model.rotary_emb")
        for frequencies in (rotary.inv_freq, rotary.original_inv_freq):
            frequencies.div_(factors.to(frequencies))


def load_gguf_tokenizer(file: GgufFile) -> "PreTrainedTokenizerBase | None":
    """The tokenizer in a file, None where it has none; whatever else is in its folder is not read."""
    from transformers import PreTrainedTokenizerFast

    if not file.has_tokenizer:
        return None
    path = file.path.absolute()
    tokenizer = PreTrainedTokenizerFast(gguf_file=str(path), name_or_path=str(path.parent))
    if file.metadata.get("tokenizer.ggml.model") == "gpt2":
        way = file.metadata.get("tokenizer.ggml.pre", "default")
        if way in _SINGLE_DIGITS:
            tokenizer.backend_tokenizer.pre_tokenizer = _single_digits()
        elif way not in _KNOWN:
            warnings.warn(
                f"{file.path} splits texts in the way {quoted(way)}, which acdc does not know: they are split as GPT-2 "
                "does; give token ids where that makes a difference",
                AcdcWarning,
                stacklevel=2,
            )
    return tokenizer


def _single_digits() -> "PreTokenizer":
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
