"""Small random models of every family, with weights large enough that every edge has an effect of order 1."""

import json
from collections.abc import Collection
from pathlib import Path

import torch
from conftest import thorough_but
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformer_lens.model_bridge.sources.native.model import NativeModel
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SeedOssConfig,
    SeedOssForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
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

_SPECIAL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}  # the defaults exceed the vocabulary
_BLOOM = {"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 4, **_SPECIAL}
_FALCON = {**_NEOX, **_SPECIAL, "ffn_hidden_size": 24, "bias": True}
_GPTJ = {**_GPT2, **_SPECIAL, "n_inner": 24, "rotary_dim": 2}
_NEO = {
    **{key: _NEOX[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings")},
    **_SPECIAL,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["local", "global"], 1]],
    "window_size": 3,
}
_OPT = {**_NEOX, **_SPECIAL, "ffn_dim": 24, "word_embed_proj_dim": 16}
_MULTIPLIERS = {
    "embedding_multiplier": 1.5,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.3,
    "logits_scaling": 2.0,
}
_EXPERTS = {"num_experts_per_tok": 2, "head_dim": 8}
_PARTIAL = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}

# families whose tests are thorough but for those of exactness: brute force has them all
MORE = {
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_GROUPED, head_dim=8)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**_GROUPED, **_SPECIAL, rope_parameters=_PARTIAL)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**_GROUPED, **_SPECIAL, sliding_window=3)),
    "stablelm": lambda: StableLmForCausalLM(
        StableLmConfig(**_GROUPED, **_SPECIAL, use_qkv_bias=True, rope_parameters=_PARTIAL)
    ),
    "stablelm-parallel": lambda: StableLmForCausalLM(
        StableLmConfig(**_GROUPED, **_SPECIAL, use_parallel_residual=True, rope_parameters=_PARTIAL)
    ),
    "stablelm-normed": lambda: StableLmForCausalLM(
        StableLmConfig(**_GROUPED, **_SPECIAL, qk_layernorm=True, use_parallel_residual=True, rope_parameters=_PARTIAL)
    ),
    "gpt_neo": lambda: GPTNeoForCausalLM(GPTNeoConfig(**_NEO)),
    "gptj": lambda: GPTJForCausalLM(GPTJConfig(**_GPTJ)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**_OPT)),
    "bloom": lambda: BloomForCausalLM(BloomConfig(**_BLOOM)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**_GROUPED, **_SPECIAL, **_MULTIPLIERS, attention_bias=True)),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**_GROUPED, **_SPECIAL, no_rope_layers=[1, 0])),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**_GROUPED, **_SPECIAL, **_EXPERTS, num_experts=3, moe_intermediate_size=12)
    ),
    "qwen3_moe-dense": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**_GROUPED, **_SPECIAL, **_EXPERTS, num_experts=3, moe_intermediate_size=12, mlp_only_layers=[0])
    ),
    "seed_oss": lambda: SeedOssForCausalLM(SeedOssConfig(**_GROUPED, **_SPECIAL, head_dim=8, attention_out_bias=True)),
    "starcoder2": lambda: Starcoder2ForCausalLM(Starcoder2Config(**_GROUPED, **_SPECIAL, sliding_window=3)),
    "cohere": lambda: CohereForCausalLM(CohereConfig(**_GROUPED, **_SPECIAL, logit_scale=0.5)),
    "cohere-normed": lambda: CohereForCausalLM(
        CohereConfig(**_GROUPED, **_SPECIAL, logit_scale=0.5, use_qk_norm=True, attention_bias=True)
    ),
    "falcon": lambda: FalconForCausalLM(FalconConfig(**_FALCON, multi_query=True, parallel_attn=True)),
    "falcon-sequential": lambda: FalconForCausalLM(FalconConfig(**_FALCON, multi_query=False, parallel_attn=False)),
    "gpt_oss": lambda: GptOssForCausalLM(
        GptOssConfig(**_GROUPED, **_SPECIAL, **_EXPERTS, num_local_experts=3, sliding_window=3, layer_types=_LAYERS)
    ),
}
# with another seed some destination of these has no effect to speak of
_SEEDS = dict.fromkeys(("gpt_neo", "opt", "falcon", "falcon-sequential", "stablelm-normed"), 4) | {"starcoder2": 1}

# options that are refused
REFUSED = {
    "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**_GROUPED, **_SPECIAL)),
    "phi-normed": lambda: PhiForCausalLM(
        PhiConfig(**_GROUPED, **_SPECIAL, qk_layernorm=True, rope_parameters=_PARTIAL)
    ),
    "opt-after": lambda: OPTForCausalLM(OPTConfig(**_OPT, do_layer_norm_before=False)),
    "opt-narrow": lambda: OPTForCausalLM(OPTConfig(**{**_OPT, "word_embed_proj_dim": 8})),
    "bloom-normed": lambda: BloomForCausalLM(BloomConfig(**_BLOOM, apply_residual_connection_post_layernorm=True)),
    "falcon-alibi": lambda: FalconForCausalLM(FalconConfig(**_FALCON, alibi=True)),
    "falcon-grouped": lambda: FalconForCausalLM(FalconConfig(**_FALCON, new_decoder_architecture=True, num_kv_heads=2)),
}
ALL = HUGGING_FACE | MORE | REFUSED

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


def thorough_if_more(others: list[str], without: Collection[str] = ()) -> list:
    """Families as parameters of a test: these, and those of MORE, which are thorough."""
    return thorough_but(others, [*others, *(name for name in MORE if name not in without)])


# unlike each other in what components compute; their tests are run on every commit
UNLIKE = ["gpt2", "llama", "qwen3", "gemma2", "mixtral", "gpt-neox-parallel"]
UNLIKE += ["native-attention-only", "native-bidirectional"]


def thorough_if_alike(without: Collection[str] = ()) -> list:
    """All families as parameters of a test, which is thorough for those that are like another."""
    return thorough_but(UNLIKE, [name for name in (*HUGGING_FACE, *NATIVE, *MORE) if name not in without])


WITH_EXPERTS = ["mixtral", "qwen3_moe", "qwen3_moe-dense", "gpt_oss"]

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
    return prepare(ALL[name](), seed=_SEEDS.get(name, 0))


def prepare(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random float64 weights, eager attention and experts."""
    model = randomise(model.double(), seed)
    model.set_attn_implementation("eager")
    if hasattr(model.config, "num_local_experts"):
        model.set_experts_implementation("eager")
    return model


def boot(name: str, layers: int, seed: int, dtype: str = "float64") -> Model:
    """A random model of a family with so many layers, as the package sees it."""
    if name in ALL:
        like = ALL[name]()
        config = like.config
        config.use_cache = False
        config.update({"n_layer": layers} if "n_layer" in config.to_dict() else {"num_hidden_layers": layers})
        for one_a_layer in ("layer_types", "attention_layers", "no_rope_layers"):
            if values := getattr(config, one_a_layer, None):
                setattr(config, one_a_layer, (values * layers)[:layers])
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
    if name in ALL:
        config = ALL[name]().config
        config.architectures = [type(ALL[name]()).__name__]
        config.save_pretrained(folder)
    else:
        (folder / "config.json").write_text(json.dumps({"architecture": NATIVE_ARCHITECTURE, **NATIVE[name]}))
    return folder
