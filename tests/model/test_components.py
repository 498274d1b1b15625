"""One interface, two implementations: what components compute from weights, and what the model's own modules give."""

from dataclasses import replace

import pytest
import torch
from brute_force import float64_throughout
from conftest import thorough_but
from families import VOCABULARY, boot, thorough_if_alike

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.components import Positions
from acdc.graph import ATTENTION_SLOTS
from acdc.model.functional import FunctionalComponents
from acdc.model.replay import ReplayComponents
from acdc.progress import silent
from acdc.search.acdc.search import acdc
from acdc.search.options import OrderOptions
from acdc.task.metrics import METRICS
from acdc.task.rows import Row, Task

ROWS, LENGTH, LAYER = 3, 6, 1
EITHER = ["gpt2", "llama", "gemma3", "gpt-neox-parallel", "mixtral", "native-attention-only"]


ROTATED_IN_FLOAT32 = ("cohere", "cohere-normed")  # by the bridge, whatever its dtype: it cannot judge to 1e-12


@pytest.fixture(params=thorough_if_alike(without=ROTATED_IN_FLOAT32))
def pair(request):
    """(components from weights, by modules), with every norm and softmax in float64 on both sides."""
    model = boot(request.param, layers=2, seed=0)
    with float64_throughout(model.bridge.original_model), torch.no_grad():
        yield model.components, ReplayComponents(model.bridge, model.anatomy)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-12 * max(1.0, theirs.abs().max().item())


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def test_embeddings(pair):
    functional, replay = pair
    tokens = torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    close(functional.embed(tokens), replay.embed(tokens))


def test_projections(pair):
    functional, replay = pair
    shared, own = noise(1, ROWS, LENGTH, 16), noise(2, ROWS, LENGTH, 16)
    for kind in ATTENTION_SLOTS:
        close(functional.project(LAYER, kind, shared), replay.project(LAYER, kind, shared))
        some = [1, 0] if functional.anatomy.n_kv_heads > 1 else [0]
        own = own[: len(some)]
        close(functional.project(LAYER, kind, own, some), replay.project(LAYER, kind, own, some))


def test_heads_everywhere_and_at_one_position(pair):
    functional, replay = pair
    q, k, v = (functional.project(LAYER, kind, noise(1, ROWS, LENGTH, 16)) for kind in ATTENTION_SLOTS)
    close(functional.attend(LAYER, q, k, v, Positions(LENGTH)), replay.attend(LAYER, q, k, v, Positions(LENGTH)))
    heads, at = [1, 3, 0], Positions(LENGTH, torch.tensor([5, 3, 0]))
    own_k, own_v = noise(3, *k.shape[1:]), noise(3, *v.shape[1:])  # unlike even where heads share a slot
    some = (LAYER, at.take(q[heads]), own_k, own_v, at, heads)
    close(functional.attend(*some), replay.attend(*some))
    everywhere = functional.attend(LAYER, q[heads], own_k, own_v, Positions(LENGTH), heads)
    close(functional.attend(*some), at.take(everywhere))


def test_mlps_and_logits(pair):
    functional, replay = pair
    x = noise(ROWS, LENGTH, 16)
    if not functional.anatomy.attn_only:
        close(functional.mlp(LAYER, x), replay.mlp(LAYER, x))
    close(functional.unembed(x), replay.unembed(x))
    columns = torch.tensor([[3, 1], [5, 5], [0, 9]])
    close(functional.unembed(x[:, 0], columns), replay.unembed(x[:, 0], columns))
    close(functional.unembed(x[:, 0]).gather(-1, columns), functional.unembed(x[:, 0], columns))


def test_biases_and_scales(pair):
    functional, replay = pair
    total = noise(ROWS, LENGTH, 16)
    for ours, theirs in (
        (functional.attention_bias(LAYER), replay.attention_bias(LAYER)),
        (functional.attention_scale(LAYER, total), replay.attention_scale(LAYER, total)),
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            close(ours, theirs)


@pytest.mark.parametrize("family", thorough_but(["gpt2", "gemma3"], EITHER))
def test_decisions_are_those_of_either_implementation(family):
    model = boot(family, layers=2, seed=3)
    kept = {}
    with float64_throughout(model.bridge.original_model):
        for components in (model.components, ReplayComponents(model.bridge, model.anatomy)):
            this = replace(model, components=components)
            behaviour = Behaviour(this, task(), range(3), METRICS["kl"], direct_edges=True)
            kept[components.kind] = acdc(behaviour, OrderOptions(threshold=0.01), silent).kept
    ours, theirs = kept.values()
    assert len(kept) == 2 and (ours == theirs).all() and 0 < ours.sum() < len(ours)


def task() -> Task:
    generator = torch.Generator().manual_seed(2)

    def prompt() -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCABULARY, (LENGTH,), generator=generator).tolist())

    return Task("noise", tuple(Row(str(i), prompt(), prompt(), (1,), (2,), LENGTH - 1 - i) for i in range(3)), "kl")


def test_kinds_say_what_was_run():
    assert boot("llama", 2, 0).components.kind == "functional"
    assert boot("mixtral", 2, 0).components.kind == "functional, MLPs by the model's own modules"
    assert isinstance(boot("native", 2, 0).components, FunctionalComponents)


def test_hooks_of_a_user_stay(trio):
    seen = []
    point = trio.bridge.blocks[1].attn.hook_z
    point.add_hook(lambda value, hook: seen.append(1))
    try:
        ReplayComponents(trio.bridge, trio.anatomy).mlp(1, noise(1, 2, 64))
        seen.clear()
        trio.bridge(torch.tensor([[1, 2]]))
        assert seen
    finally:
        point.remove_hooks()
