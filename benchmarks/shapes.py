"""Models of a shape with random weights, and random prompts for them: what the benchmarks of speed run on."""

import torch
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import GPT2Config, GPT2LMHeadModel

from acdc.model.functional import FunctionalComponents
from acdc.model.load import Model, read_anatomy
from acdc.model.weights import read_weights
from acdc.task.rows import Row, Task


def random_gpt2(layers: int, heads: int, width: int, vocabulary: int, seed: int) -> Model:
    """A GPT-2 with Hugging Face's initialisation under a seed, in float32 on the CPU."""
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
    plain = GPT2LMHeadModel(config).eval().requires_grad_(False)
    plain.set_attn_implementation("eager")
    bridge = build_bridge_from_module(plain, "GPT2LMHeadModel", hf_config=config, dtype=torch.float32)
    bridge.original_model.requires_grad_(False)
    anatomy = read_anatomy(bridge)
    return Model(
        name=f"random {layers}x{heads} d{width}",
        family="gpt2",
        revision=None,
        content_hash=f"{layers}-{heads}-{width}-{vocabulary}-{seed}",
        dtype_name="float32",
        device=torch.device("cpu"),
        bridge=bridge,
        components=FunctionalComponents(read_weights(bridge), anatomy),
        anatomy=anatomy,
        tokenizer=None,
    )


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
