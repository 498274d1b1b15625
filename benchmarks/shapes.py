"""Models of a shape with random weights, and random prompts for them: what the benchmarks of speed run on."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from acdc.model.functional import FunctionalComponents
from acdc.model.load import DTYPES, Model, bridge_to, read_anatomy
from acdc.model.weights import read_weights
from acdc.task.rows import Row, Task

CPU = torch.device("cpu")


def random_gpt2(
    layers: int, heads: int, width: int, vocabulary: int, seed: int, device: torch.device = CPU, dtype: str = "float32"
) -> Model:
    """A GPT-2 with Hugging Face's initialisation under a seed, made on the CPU, so that it is the same everywhere."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=layers,
        n_head=heads,
        n_embd=width,
        vocab_size=vocabulary,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    config.use_cache = False
    name = f"random {layers}x{heads} d{width}"
    return _as_model(GPT2LMHeadModel(config).to(device, DTYPES[dtype]), name, seed, device, dtype)


def random_llama(config: LlamaConfig, seed: int, device: torch.device, dtype: str) -> Model:
    """A LLaMA with random weights, made on the device itself: one of 8 billion is soon there."""
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[dtype])
    try:
        with device:
            plain = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    name = f"random {config.num_hidden_layers}x{config.num_attention_heads} d{config.hidden_size}"
    return _as_model(plain, name, seed, device, dtype)


def _as_model(plain: PreTrainedModel, name: str, seed: int, device: torch.device, dtype: str) -> Model:
    plain.eval().requires_grad_(False)
    plain.config.use_cache = False
    plain.set_attn_implementation("eager")
    bridge = bridge_to(plain, type(plain).__name__, DTYPES[dtype], device)
    bridge.original_model.requires_grad_(False)
    anatomy = read_anatomy(bridge)
    return Model(
        name=name,
        family=plain.config.model_type,
        revision=None,
        content_hash=f"{name} {anatomy.d_vocab} {seed}",
        dtype_name=dtype,
        device=device,
        bridge=bridge,
        components=FunctionalComponents(read_weights(bridge), anatomy),
        anatomy=anatomy,
        tokenizer=None,
    )


def ioi_like(vocabulary: int, rows: int, length: int, seed: int) -> Task:
    """Rows of random tokens whose corrupted prompt has another token in one place; the answers are the two tokens."""
    generator = torch.Generator().manual_seed(seed)

    def row(number: int) -> Row:
        clean = torch.randint(0, vocabulary - 1, (length,), generator=generator).tolist()
        there = length // 2
        other = (clean[there] + 1 + number) % vocabulary
        corrupted = (*clean[:there], other, *clean[there + 1 :])
        return Row(str(number), tuple(clean), corrupted, (clean[there],), (other,), length - 1)

    return Task(f"{rows} x {length} tokens, one changed", tuple(row(i) for i in range(rows)), "logit_diff")


def random_task(vocabulary: int, rows: int, length: int, seed: int) -> Task:
    """Rows of random tokens, clean and corrupted unrelated, with one correct and one incorrect answer each."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, vocabulary, (count,), generator=generator).tolist())

    return Task(
        f"{rows} x {length} random tokens",
        tuple(Row(str(i), tokens(length), tokens(length), tokens(1), tokens(1), length - 1) for i in range(rows)),
        "kl",
    )
