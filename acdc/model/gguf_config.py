"""The configuration of the Hugging Face model that a GGUF file holds, from the file's metadata.

Everything that the metadata says of the architecture is either applied or known to change nothing; a file that says
more is refused. Where llama.cpp computes something that the file does not say, as Gemma's attention scale, so does
this.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acdc.errors import InputError
from acdc.model.gguf_file import GgufFile, StoredTensor, quoted

_EMBEDDING, _POSITIONS, _UNEMBEDDING = "token_embd.weight", "position_embd.weight", "output.weight"
# Keys that say nothing about what is computed, and values of others that mean: as usual.
_IDLE = {"vocab_size", "rope.scaling.original_context_length", "rope.scaling.finetuned"}
_USUAL = {
    "expert_count": 0,
    "expert_used_count": 0,
    "rope.scaling.type": "none",
    "rope.scaling.factor": 1.0,
    "attention.causal": True,
}
_GEMMA_LARGEST = {"gemma2": 46, "gemma3": 62}  # layers of the 27B models
_GEMMA_PERIOD = {"gemma2": 2, "gemma3": 6}  # every so many layers, one attends to all positions


class _Keys:
    """The metadata of a file's architecture, of which every key has to be asked for."""

    def __init__(self, file: GgufFile):
        self.path, self.architecture, self.tensors = file.path, file.architecture, file.tensors
        prefix = f"{file.architecture}."
        self._values = {k.removeprefix(prefix): v for k, v in file.metadata.items() if k.startswith(prefix)}
        self._unread = set(self._values) - _IDLE

    def get(self, key: str, kind: type[int] | type[float] | type[str], default: Any = None) -> Any:
        """A text, or a positive number. Raises InputError for another value, and for none without a default."""
        self._unread.discard(key)
        value: Any = self._values.get(key, default)
        name = quoted(f"{self.architecture}.{key}")
        if value is None:
            raise InputError(f"{self.path} lacks {name}")
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or (kind is not str and not 0 < float(value) < math.inf):
            wanted = {int: "a positive whole number", float: "a positive number", str: "text"}[kind]
            raise InputError(f"{self.path} says {quoted(value)} for {name}, which must be {wanted}")
        return value

    def tensor(self, name: str) -> StoredTensor:
        """A tensor that every such model has."""
        if name not in self.tensors:
            raise InputError(f"{self.path} lacks the tensor {name!r}")
        return self.tensors[name]

    def finish(self) -> None:
        """Raises InputError for a key that nobody has asked for, unless its value is the usual one."""
        for key in sorted(self._unread):
            value = self._values[key]
            if key not in _USUAL or value != _USUAL[key]:
                raise InputError(
                    f"{self.path} says {quoted(value)} for {quoted(f'{self.architecture}.{key}')}, which acdc does not "
                    "apply to GGUF files: convert the model to a Hugging Face folder"
                )


@dataclass(frozen=True)
class _Architecture:
    """What a Hugging Face class is called, and how to configure it."""

    name: str
    model_type: str
    configure: Callable[[_Keys], dict[str, Any]]


def configure(file: GgufFile) -> dict[str, Any]:
    """A configuration as `config.json` has it. Raises InputError for a file of another architecture, one that says what
    would not be applied, and one whose tensors are not what it says."""
    if file.architecture not in ARCHITECTURES:
        named = f"holds the architecture {quoted(file.architecture)}" if file.architecture else "names no architecture"
        raise InputError(f"{file.path} {named}: of GGUF files {', '.join(ARCHITECTURES)} are supported")
    architecture, keys = ARCHITECTURES[file.architecture], _Keys(file)
    embedding = keys.tensor(_EMBEDDING)
    _check_tensors(keys, embedding)
    found = architecture.configure(keys)
    keys.finish()
    return {
        "architectures": [architecture.name],
        "model_type": architecture.model_type,
        "vocab_size": embedding.shape[0],
        "tie_word_embeddings": _UNEMBEDDING not in file.tensors,
        **found,
    }


def _check_tensors(keys: _Keys, embedding: StoredTensor) -> None:
    """Raises InputError where tensors are of another width or of other layers than a file says."""
    layers, width = keys.get("block_count", int), keys.get("embedding_length", int)
    if len(embedding.shape) != 2 or embedding.shape[1] != width:
        raise InputError(f"{keys.path} says that it is {width} wide, but holds embeddings {list(embedding.shape)}")
    there = {name.split(".")[1] for name in keys.tensors if name.startswith("blk.")}
    if len(there) != layers or there != {str(layer) for layer in range(layers)}:
        raise InputError(f"{keys.path} says that it has {layers} layers, but holds tensors of {len(there)}")


def _decoder(keys: _Keys, default_base: float | None = 10_000.0) -> dict[str, Any]:
    """What all architectures with rotary positions and RMS norms have in common."""
    heads, width = keys.get("attention.head_count", int), keys.get("embedding_length", int)
    head = keys.get("attention.key_length", int, keys.get("rope.dimension_count", int, width // heads))
    for key in ("attention.value_length", "rope.dimension_count"):
        if keys.get(key, int, head) != head:
            raise InputError(f"{keys.path}: heads whose {key!r} is not their width of {head} are not supported")
    queries = keys.tensor("blk.0.attn_q.weight").shape
    if queries != (heads * head, width):
        raise InputError(f"{keys.path}: {heads} heads that are {head} wide do not fit queries {list(queries)}")
    return {
        "hidden_size": width,
        "num_hidden_layers": keys.get("block_count", int),
        "intermediate_size": keys.get("feed_forward_length", int),
        "max_position_embeddings": keys.get("context_length", int),
        "num_attention_heads": heads,
        "num_key_value_heads": keys.get("attention.head_count_kv", int, heads),
        "head_dim": head,
        "rms_norm_eps": keys.get("attention.layer_norm_rms_epsilon", float),
        "rope_parameters": _rotary(keys, default_base),
    }


def _rotary(keys: _Keys, default_base: float | None) -> dict[str, Any]:
    rotary = {"rope_type": "default", "rope_theta": keys.get("rope.freq_base", float, default_base)}
    if keys.get("rope.scaling.type", str, "none") == "none":
        return rotary
    if (kind := keys.get("rope.scaling.type", str)) != "linear":
        raise InputError(f"{keys.path}: rotary positions scaled in the way {quoted(kind)} are not supported: linear is")
    return rotary | {"rope_type": "linear", "factor": keys.get("rope.scaling.factor", float)}


def _llama(keys: _Keys) -> dict[str, Any]:
    biases = {"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_gate.bias"}
    return _decoder(keys) | {name: tensor in keys.tensors for name, tensor in biases.items()}


def _gemma(keys: _Keys, default_base: float | None, window: int | None) -> dict[str, Any]:
    found = _decoder(keys, default_base)
    heads, width = found["num_attention_heads"], found["hidden_size"]
    layers, family = found["num_hidden_layers"], keys.architecture
    period = keys.get("attention.sliding_window_pattern", int, _GEMMA_PERIOD[family])
    return found | {
        "query_pre_attn_scalar": width // heads if layers == _GEMMA_LARGEST[family] else found["head_dim"],
        "sliding_window": keys.get("attention.sliding_window", int, window),
        "layer_types": ["sliding_attention" if layer % period else "full_attention" for layer in range(1, layers + 1)],
    }


def _gemma2(keys: _Keys) -> dict[str, Any]:
    return _gemma(keys, 10_000.0, 4096) | {
        "attn_logit_softcapping": keys.get("attn_logit_softcapping", float, 50.0),
        "final_logit_softcapping": keys.get("final_logit_softcapping", float, 30.0),
    }


def _gemma3(keys: _Keys) -> dict[str, Any]:
    """Layers that see a window have rotary positions of their own, which are not scaled."""
    found = _gemma(keys, None, None)
    local = {"rope_type": "default", "rope_theta": keys.get("rope.freq_base_swa", float, 10_000.0)}
    return found | {"rope_parameters": {"full_attention": found["rope_parameters"], "sliding_attention": local}}


def _gpt2(keys: _Keys) -> dict[str, Any]:
    keys.get("context_length", int)  # that of the table of positions counts
    return {
        "n_embd": keys.get("embedding_length", int),
        "n_layer": keys.get("block_count", int),
        "n_head": keys.get("attention.head_count", int),
        "n_inner": keys.get("feed_forward_length", int),
        "n_positions": keys.tensor(_POSITIONS).shape[0],
        "layer_norm_epsilon": keys.get("attention.layer_norm_epsilon", float),
    }


# By what files call them; Mistral's are called llama.
ARCHITECTURES = {
    "gpt2": _Architecture("GPT2LMHeadModel", "gpt2", _gpt2),
    "llama": _Architecture("LlamaForCausalLM", "llama", _llama),
    "qwen2": _Architecture("Qwen2ForCausalLM", "qwen2", _decoder),
    "qwen3": _Architecture("Qwen3ForCausalLM", "qwen3", _decoder),
    "gemma2": _Architecture("Gemma2ForCausalLM", "gemma2", _gemma2),
    "gemma3": _Architecture("Gemma3ForCausalLM", "gemma3_text", _gemma3),
}
