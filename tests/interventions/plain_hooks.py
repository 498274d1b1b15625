"""Interventions the slow way: raw hooks on a plain Hugging Face model. It knows each family's module names and nothing
of the package under test."""

from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

GEMMA = (
    "model.layers",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp",
    "mlp.down_proj",
    "post_feedforward_layernorm",
)
LLAMA = ("model.layers", "self_attn.o_proj", None, "mlp", "mlp.down_proj", None)
NEOX = ("gpt_neox.layers", "attention.dense", None, "mlp", "mlp.dense_4h_to_h", None)
PLACES = {
    "gpt2": ("transformer.h", "attn.c_proj", None, "mlp", "mlp.c_proj", None),
    "llama": LLAMA,
    "qwen3": LLAMA,
    "gemma2": GEMMA,
    "gemma3": GEMMA,
    "gpt-neox-parallel": NEOX,
    "gpt-neox-sequential": NEOX,
}


class Plain:
    """A plain model; the contexts change it while they are entered. `change` maps values [B, P, ...] to new ones."""

    def __init__(self, family: str, model: nn.Module):
        self.model = model
        blocks, self.out, self.post1, self.mlp, self.down, self.post2 = PLACES[family]
        self.blocks = model.get_submodule(blocks)
        self.scales: dict[nn.Module, Tensor] = {}

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:
        return self.model(tokens, use_cache=False).logits

    @contextmanager
    def residual(self, layer: int, change, after: bool = False):
        """The residual stream before a block, or after it."""
        block = self.blocks[layer]

        def entering(_, given, named):
            if given:
                return (change(given[0]), *given[1:]), named
            return given, {**named, "hidden_states": change(named["hidden_states"])}

        def leaving(_, given, output):
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        handle = (
            block.register_forward_hook(leaving)
            if after
            else block.register_forward_pre_hook(entering, with_kwargs=True)
        )
        with _removing(handle):
            yield

    @contextmanager
    def mlp_written(self, layer: int, change):
        module = self.blocks[layer].get_submodule(self.post2 or self.mlp)
        with _removing(module.register_forward_hook(lambda _, given, output: change(output))):
            yield

    @contextmanager
    def neuron(self, layer: int, unit: int, change):
        def hidden(_, given):
            x = given[0].clone()
            x[..., unit] = change(x[..., unit])
            return (x,)

        with _removing(self.blocks[layer].get_submodule(self.down).register_forward_pre_hook(hidden)):
            yield

    @contextmanager
    def head(self, layer: int, head: int, heads: int, change):
        """What a head adds to the residual stream: its share of the output projection, by the post-norm's factor, which
        may be held at a value of `scales`."""
        out, seen = self.blocks[layer].get_submodule(self.out), {}
        weight = out.weight.T if isinstance(out, nn.Linear) else out.weight
        width = len(weight) // heads
        rows = slice(head * width, (head + 1) * width)
        post = self.blocks[layer].get_submodule(self.post1) if self.post1 else None

        def keep(_, given):
            seen["written"] = given[0][..., rows] @ weight[rows]

        def exchange(module, given, output):
            written = seen["written"]
            if post is not None:  # an RMS norm multiplies each share alike
                scale = torch.rsqrt(given[0].pow(2).mean(-1, keepdim=True) + post.eps)
                written = written * (1 + post.weight) * self.scales.get(post, scale)
            return output + change(written) - written

        with ExitStack() as stack:
            stack.enter_context(_removing(out.register_forward_pre_hook(keep)))
            stack.enter_context(_removing((post or out).register_forward_hook(exchange)))
            yield


@contextmanager
def _removing(handle):
    try:
        yield
    finally:
        handle.remove()
