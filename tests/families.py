"""Small random models of every family, with weights large enough that every edge has an effect of order 1."""

import json
from pathlib import Path

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformer_lens.model_bridge.sources.native.model import NativeModel
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from acdc.model.functional import FunctionalComponents
from acdc.model.load import DTYPES, Model, read_anatomy
from acdc.model.sources import NATIVE as NATIVE_ARCHITECTURE
from acdc.model.weights import read_weights
from acdc.task.rows import Row, Task

VOCABULARY = 40
_GROUPED = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
_NEOX = {key: value for key, value in _GROUPED.items() if key != "num_key_value_heads"}
_GPT2 = {"vocab_size": VOCABULARY, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 4}
_GEMMA = {**_GROUPED, "head_dim": 8, "sliding_window": 3}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.3],
    "long_factor": [2.0, 5.0],
    "original_max_position_embeddings": 6,
    "factor": 4.0,
}
_LAYERS = ["sliding_attention", "full_attention"]

HUGGING_FACE = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**_GPT2, bos_token_id=0, eos_token_id=0)),
    "gpt2-scaled": lambda: GPT2LMHeadModel(
        GPT2Config(**_GPT2, bos_token_id=0, eos_token_id=0, scale_attn_by_inverse_layer_idx=True)
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_GROUPED)),
    "llama-biased": lambda: LlamaForCausalLM(LlamaConfig(**_GROUPED, attention_bias=True, mlp_bias=True)),
    "llama-ungrouped": lambda: LlamaForCausalLM(LlamaConfig(**{**_GROUPED, "num_key_value_heads": 4})),
    "llama-longrope": lambda: LlamaForCausalLM(LlamaConfig(**_GROUPED, rope_parameters=_LONGROPE)),
    "qwen2": lambda: Qwen2ForCausalLM(
        Qwen2Config(**_GROUPED, use_sliding_window=True, sliding_window=3, layer_types=_LAYERS)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_GROUPED, head_dim=8)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_GROUPED, sliding_window=3)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**_GROUPED, num_local_experts=3)),
    "gpt-neox-parallel": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_NEOX)),
    "gpt-neox-sequential": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_NEOX, use_parallel_residual=False)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_GEMMA, layer_types=_LAYERS)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_GEMMA, layer_types=_LAYERS)),
    "gemma3-bidirectional": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**_GEMMA, layer_types=_LAYERS, use_bidirectional_attention=True)
    ),
}

_NATIVE = {"d_model": 16, "d_head": 4, "n_heads": 4, "n_layers": 2, "n_ctx": 16, "d_vocab": VOCABULARY}
NATIVE = {
    "native": {**_NATIVE, "act_fn": "gelu"},
    "native-no-norm": {**_NATIVE, "act_fn": "relu", "normalization_type": None},
    "native-attention-only": {**_NATIVE, "attn_only": True, "normalization_type": "LNPre"},
    "native-bidirectional": {**_NATIVE, "act_fn": "relu", "attention_dir": "bidirectional"},
    "native-rotary-gated": {
        **_NATIVE,
        "act_fn": "silu",
        "gated_mlp": True,
        "normalization_type": "RMS",
        "positional_embedding_type": "rotary",
        "n_key_value_heads": 2,
    },
}

# one of each family; the others differ from these in an option
EACH = ["gpt2", "llama", "qwen2", "qwen3", "mistral", "mixtral", "gpt-neox-parallel", "gemma2", "gemma3", "native"]

# for tests built by hand, not part of the grid over families
BY_HAND = {
    "native-attention-only-no-norm": {**_NATIVE, "attn_only": True, "normalization_type": None},
    "native-no-norm-mlp-alone": {**_NATIVE, "act_fn": "relu", "normalization_type": None, "n_heads": 1},
}


def randomise(model: torch.nn.Module, seed: int = 0, scale: float = 0.8) -> torch.nn.Module:
    """Independent normal weights in every parameter, norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale)
    return model.eval()


def hugging_face(name: str) -> torch.nn.Module:
    """A random model of a Hugging Face family, in float64, with eager attention and experts."""
    return prepare(HUGGING_FACE[name](), seed=0)


def prepare(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random float64 weights, eager attention and experts."""
    model = randomise(model.double(), seed)
    model.set_attn_implementation("eager")
    if hasattr(model.config, "num_local_experts"):
        model.set_experts_implementation("eager")
    return model


def boot(name: str, layers: int, seed: int, dtype: str = "float64") -> Model:
    """A random model of a family with so many layers, as the package sees it."""
    if name in HUGGING_FACE:
        like = HUGGING_FACE[name]()
        config = like.config
        config.use_cache = False
        config.update({"n_layer": layers} if "n_layer" in config.to_dict() else {"num_hidden_layers": layers})
        if getattr(config, "layer_types", None):
            config.layer_types = (config.layer_types * layers)[:layers]
        plain = prepare(type(like)(config), seed)
        kind = DTYPES[dtype]
        bridge = build_bridge_from_module(plain.to(kind), type(plain).__name__, hf_config=plain.config, dtype=kind)
    else:
        config = TransformerBridgeConfig.from_dict(
            {**(NATIVE | BY_HAND)[name], "n_layers": layers, "dtype": torch.float64}
        )
        plain = randomise(NativeModel(config).double(), seed, 0.3 if config.normalization_type is None else 0.8)
        bridge = build_bridge_from_module(plain, "TransformerLensNative", tl_config=config)
    bridge.original_model.requires_grad_(False)
    anatomy = read_anatomy(bridge)
    return Model(
        name=name,
        family=name,
        revision=None,
        content_hash=f"{name}-{layers}-{seed}",
        dtype_name=dtype,
        device=torch.device("cpu"),
        bridge=bridge,
        components=FunctionalComponents(read_weights(bridge), anatomy),
        anatomy=anatomy,
        tokenizer=None,
    )


def random_rows(lengths: list[int]) -> Task:
    """Rows of different lengths over the vocabulary of the families."""
    ids = [[(7 * i + 3 * j) % VOCABULARY for j in range(length + 4)] for i, length in enumerate(lengths)]
    rows = (
        Row(str(i), tuple(r[:-4]), tuple(r[1:-3]), (r[-2],), ((r[-2] + 1) % VOCABULARY,), len(r) - 5)
        for i, r in enumerate(ids)
    )
    return Task("random", tuple(rows), "logit_diff")


def config_folder(name: str, folder: Path) -> Path:
    """A folder with a family's configuration and nothing else."""
    if name in HUGGING_FACE:
        config = HUGGING_FACE[name]().config
        config.architectures = [type(HUGGING_FACE[name]()).__name__]
        config.save_pretrained(folder)
    else:
        (folder / "config.json").write_text(json.dumps({"architecture": NATIVE_ARCHITECTURE, **NATIVE[name]}))
    return folder
