"""Edge patching the slow way: raw torch hooks on the plain model, one edge at a time. The judge of the executor.

It knows each family's module names and nothing of the package under test. A component's contribution is what it adds
to the residual; patching an edge recomputes the one slot from the residual with that contribution exchanged.
"""

import dataclasses
import sys
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Names:
    """Where a family keeps its parts; `joint` is how q, k and v share a projection, if they do."""

    blocks: str
    attention: str
    out: str
    norm1: str
    norm2: str | None  # None: the MLP reads what norm1 gives
    final: str
    q: str = "q_proj"
    k: str = "k_proj"
    v: str = "v_proj"
    joint: str | None = None
    post1: str | None = None
    post2: str | None = None
    mlp: str = "mlp"


LLAMA = Names("model.layers", "self_attn", "o_proj", "input_layernorm", "post_attention_layernorm", "model.norm")
GEMMA = Names(
    "model.layers", "self_attn", "o_proj", "input_layernorm", "pre_feedforward_layernorm", "model.norm",
    post1="post_attention_layernorm", post2="post_feedforward_layernorm",
)  # fmt: skip
GPT2 = Names("transformer.h", "attn", "c_proj", "ln_1", "ln_2", "transformer.ln_f", *["c_attn"] * 3, joint="blocks")
NEOX = Names(
    "gpt_neox.layers", "attention", "dense", "input_layernorm", "post_attention_layernorm",
    "gpt_neox.final_layer_norm", *["query_key_value"] * 3, joint="interleaved",
)  # fmt: skip
PHI = Names("model.layers", "self_attn", "dense", "input_layernorm", None, "model.final_layernorm")
FUSED = dataclasses.replace(LLAMA, q="qkv_proj", k="qkv_proj", v="qkv_proj", joint="blocks")
NEO = Names("transformer.h", "attn.attention", "out_proj", "ln_1", "ln_2", "transformer.ln_f")
GPTJ = Names("transformer.h", "attn", "out_proj", "ln_1", None, "transformer.ln_f")
OPT = Names(
    "model.decoder.layers", "self_attn", "out_proj", "self_attn_layer_norm", "final_layer_norm",
    "model.decoder.final_layer_norm", mlp="fc2",
)  # fmt: skip
BLOOM = Names(
    "transformer.h", "self_attention", "dense", "input_layernorm", "post_attention_layernorm", "transformer.ln_f",
    *["query_key_value"] * 3, joint="interleaved", mlp="mlp.dense_4h_to_h",
)  # fmt: skip
FALCON = dataclasses.replace(BLOOM, norm2=None, joint="blocks", mlp="mlp")
SEQUENTIAL = dataclasses.replace(BLOOM, mlp="mlp")
SHARED = dataclasses.replace(LLAMA, norm2=None)
NATIVE = Names("layers", "attn", "o", "ln1", "ln2", "ln_out", "q", "k", "v")


def names_of(family: str) -> Names:
    named = {
        "bloom": BLOOM, "cohere": SHARED, "falcon": FALCON, "falcon-sequential": SEQUENTIAL, "gemma2": GEMMA,
        "gemma3": GEMMA, "gpt": NEOX, "gpt2": GPT2, "gpt_neo": NEO, "gptj": GPTJ, "native": NATIVE, "opt": OPT,
        "phi": PHI, "phi3": FUSED, "stablelm-normed": SHARED, "stablelm-parallel": SHARED,
    }  # fmt: skip
    return named.get(family) or named.get(family.split("-")[0], LLAMA)


def _rotate_pairs(q, k, cos, sin, unsqueeze_dim=1):
    """Cohere's rotation, which is of float32 there."""

    def rotate(x):
        partner = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
        return x * cos.unsqueeze(unsqueeze_dim) + partner * sin.unsqueeze(unsqueeze_dim)

    return rotate(q), rotate(k)


class _Float64:
    """torch, for a file that makes float32 of its scores."""

    float32 = torch.float64

    def __getattr__(self, name: str):
        return getattr(torch, name)


@contextmanager
def float64_throughout(model: nn.Module):
    """Hugging Face computes norms and softmax in float32 whatever the weights are, and some families the scores too;
    undo that, to compare sharply."""
    softmax, forwards, file = nn.functional.softmax, {}, sys.modules[type(model).__module__]

    def keep_dtype(x, dim=None, _stacklevel=3, dtype=None):
        return softmax(x, dim=dim)

    def normalise(self, x):
        eps = self.variance_epsilon if hasattr(self, "variance_epsilon") else self.eps
        weight = 1 + self.weight if type(self).__name__.startswith("Gemma") else self.weight
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight

    def centre(self, x):
        x = x - x.mean(-1, keepdim=True)
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps)

    def centre_and_weigh(self, x):
        x = x - x.mean(-1, keepdim=True)
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.variance_epsilon) * self.weight

    for module in model.modules():
        kind = type(module)
        exact = {"NativeLayerNormPre": centre, "CohereLayerNorm": centre_and_weigh}.get(kind.__name__, normalise)
        if kind.__name__.endswith(("RMSNorm", "LayerNormPre", "CohereLayerNorm")) and kind not in forwards:
            forwards[kind], kind.forward = kind.forward, exact
    nn.functional.softmax = keep_dtype
    replaced = {}
    if type(model).__name__ in ("GPTJForCausalLM", "GPTNeoForCausalLM"):
        replaced = {"torch": _Float64()}
    if type(model).__name__ == "CohereForCausalLM":
        replaced = {"apply_rotary_pos_emb": _rotate_pairs}
    before = {name: getattr(file, name) for name in replaced}
    vars(file).update(replaced)
    try:
        yield
    finally:
        nn.functional.softmax = softmax
        vars(file).update(before)
        for kind, forward in forwards.items():
            kind.forward = forward


class BruteForce:
    """A plain model whose edges can be patched one at a time."""

    def __init__(self, model: nn.Module, names: Names, n_heads: int, d_head: int, n_kv_heads: int | None = None):
        self.model, self.names, self.n_heads, self.d_head = model, names, n_heads, d_head
        self.n_kv_heads = n_kv_heads or n_heads
        self.blocks = model.get_submodule(names.blocks)
        self.multiplier = getattr(getattr(model, "config", None), "residual_multiplier", 1.0)

    def part(self, layer: int, name: str) -> nn.Module:
        return self.blocks[layer].get_submodule(name)

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:
        out = self.model(tokens)
        return out if isinstance(out, Tensor) else out.logits

    @torch.no_grad()
    def contributions(self, tokens: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """(what every writer adds to the residual, the residual entering each block)."""
        seen, handles = {}, []

        def keep(key, index=None):
            def before(module, args, kwargs):
                seen[key] = (args[0] if args else kwargs["hidden_states"]).clone()

            def after(module, args, output):
                seen[key] = (output if isinstance(output, Tensor) else output[0]).clone()

            return before if index == "in" else after

        for layer, block in enumerate(self.blocks):
            attention = self.names.attention
            handles.append(block.register_forward_pre_hook(keep(("resid", layer), "in"), with_kwargs=True))
            out = self.part(layer, f"{attention}.{self.names.out}")
            handles.append(out.register_forward_pre_hook(keep(("z", layer), "in"), with_kwargs=True))
            handles.append(out.register_forward_hook(keep(("attn", layer))))
            if hasattr(block, self.names.mlp.split(".")[0]):
                module = self.part(layer, self.names.post2 or self.names.mlp)
                handles.append(module.register_forward_hook(keep(("mlp", layer))))
            if self.names.post1:
                handles.append(self.part(layer, self.names.post1).register_forward_hook(keep(("post", layer))))
        self.logits(tokens)
        for handle in handles:
            handle.remove()
        found = {"input": seen["resid", 0]}
        for layer in range(len(self.blocks)):
            for head in range(self.n_heads):
                found[f"a{layer}.h{head}"] = self._head(layer, head, seen)
            if ("mlp", layer) in seen:
                found[f"m{layer}"] = seen["mlp", layer].view_as(found["input"]) * self.multiplier
        return found, [seen["resid", layer] for layer in range(len(self.blocks))]

    def _head(self, layer: int, head: int, seen: dict) -> Tensor:
        """z of one head through its columns of the output projection, and through the post-norm's factor."""
        out = self.part(layer, f"{self.names.attention}.{self.names.out}")
        alone = torch.zeros_like(seen["z", layer])
        rows = slice(head * self.d_head, (head + 1) * self.d_head)
        alone[..., rows] = seen["z", layer][..., rows]
        result = out(alone) - (out.bias if out.bias is not None else 0)
        if self.names.post1:
            result = result * seen["post", layer] / seen["attn", layer]
        return result * self.multiplier

    @torch.no_grad()
    def patched(self, tokens: Tensor, target: str, change: Tensor, residuals: list[Tensor]) -> Tensor:
        """Logits with `change` added to what one slot reads; the run is `tokens`', whose residuals are given."""
        if target == "logits":
            module, hook = self.model.get_submodule(self.names.final), lambda m, args: (args[0] + change,)
            handle = module.register_forward_pre_hook(hook)
        elif target.startswith("m"):
            handle = self._patch_mlp(int(target[1:]), change, residuals)
        else:
            handle = self._patch_slot(target, change, residuals)
        logits = self.logits(tokens)
        handle.remove()
        return logits

    def _patch_mlp(self, layer: int, change: Tensor, residuals: list[Tensor]):
        if self.names.norm2 is None:
            read = self.part(layer, self.names.norm1)(residuals[layer] + change)
            return self.part(layer, self.names.mlp).register_forward_pre_hook(lambda m, args: (read, *args[1:]))
        module = self.part(layer, self.names.norm2)
        return module.register_forward_pre_hook(lambda m, args: (args[0] + change.view_as(args[0]),))

    def _patch_slot(self, target: str, change: Tensor, residuals: list[Tensor]):
        layer, rest = target[1:].split(".")
        head, slot = rest.rstrip(">").split("<")
        layer, head = int(layer), int(head.removeprefix("kv").removeprefix("h"))
        read = self.part(layer, self.names.norm1)(residuals[layer] + change)
        projection = self.part(layer, f"{self.names.attention}.{getattr(self.names, slot)}")
        columns = self._columns(slot, head)

        def replace(module, args, output):
            wanted = module.forward(read)
            output = output.clone()
            output[..., columns] = wanted[..., columns]
            return output

        return projection.register_forward_hook(replace)

    def _columns(self, slot: str, head: int) -> slice:
        place = "qkv".index(slot)
        first = {
            None: head * self.d_head,
            "blocks": (head + (self.n_heads + (place - 1) * self.n_kv_heads if place else 0)) * self.d_head,
            "interleaved": (head * 3 + place) * self.d_head,
        }[self.names.joint]
        return slice(first, first + self.d_head)
